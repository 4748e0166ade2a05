"""Puts the rooms' handlers into one ASGI application; what is built already is only handed over here."""

from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

import gallery.access.api
import gallery.admin.api
import gallery.images.api
import gallery.notifications.api
from gallery.adapters.rates import Rates
from gallery.ops.capacity import capacity
from gallery.settings import networks, origins
from gallery.web import docs, metrics, openapi, pages, probes, problems, queues
from gallery.web.compression import Compression
from gallery.web.cors import Cors
from gallery.web.doors import Callers, Doorkeeper, caller_of
from gallery.web.guards import LocalOnly, OneHost
from gallery.web.headers import SafeHeaders
from gallery.web.heads import Heads
from gallery.web.limits import Limits, limited
from gallery.web.middleware import Requests
from gallery.web.overload import Overload
from gallery.web.proxies import Proxies
from gallery.web.routing import Routing
from gallery.web.streams import stream_slots
from gallery.wiring import Gallery


def make_app(house: Gallery) -> ASGIApp:
    app = Litestar(
        route_handlers=[
            gallery.access.api.router(),
            gallery.admin.api.router(),
            gallery.images.api.router(),
            gallery.notifications.api.router(),
            probes.health,
            probes.livez,
            probes.readyz,
            metrics.metrics,
            queues.front,
            queues.page,
            *pages.handlers(),
        ],
        dependencies={
            "caller": Provide(caller_of, sync_to_thread=False),
            "access": _given(house.access),
            "images": _given(house.images),
            "links": _given(house.links),
            "uploads": _given(house.uploads),
            "answers": _given(house.answers),
            "dossiers": _given(house.dossiers),
            "console": _given(house.console),
            "scaler": _given(house.scaler),
            "cache": _given(house.cache),
            "feed": _given(house.feed),
            "stream_slot": Provide(stream_slots(house.settings), sync_to_thread=False),
            "settings": _given(house.settings),
            "health": _given(house.health),
            "readings": _given(house.readings),
        },
        guards=[Doorkeeper(house.access, house.settings)],
        exception_handlers=problems.HANDLERS,
        openapi_config=openapi.config(*docs.pages(house.settings)),
        template_config=pages.templates(),
        logging_config=None,
        debug=False,
    )
    return _guarded(app, house)


def make_worker_app(house: Gallery) -> ASGIApp:
    """What a worker answers: how it is, at the same doors."""
    app = Litestar(
        route_handlers=[probes.livez, probes.readyz, metrics.metrics],
        dependencies={"health": _given(house.health), "readings": _given(house.readings)},
        guards=[Doorkeeper(house.access, house.settings)],
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return _guarded(app, house)


def _guarded(litestar: Litestar, house: Gallery) -> ASGIApp:
    """The application behind its doors; the last one here is the outermost."""
    settings = house.settings
    app: ASGIApp = litestar
    welcome = origins(settings.cors_origin)
    if limited(settings):
        app = Limits(app, Rates(house.valkey), settings, Callers(house.access))
    app = Overload(app, capacity().requests)
    app = OneHost(LocalOnly(Heads(Compression(app)), settings))
    app = Cors(app, welcome)
    app = SafeHeaders(app, shared=bool(welcome))
    app = Requests(app)
    app = Proxies(app, networks(settings.proxies))
    return Routing(app, litestar, settings.public_url)


def _given(value: Any) -> Provide:
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)
