"""Puts the rooms' handlers into one ASGI application; what is built already is only handed over here."""

from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ASGIApp

import gallery.access.api
import gallery.admin.api
import gallery.delivery.api
import gallery.delivery.links_api
import gallery.images.api
import gallery.notifications.api
import gallery.uploads.api
from gallery.web import docs, metrics, openapi, pages, probes, problems, queues
from gallery.web.auth_guard import Callers, Doorkeeper, caller_of
from gallery.web.middleware import wrapped
from gallery.web.streams import stream_slots
from gallery.wiring import Gallery


def make_app(house: Gallery) -> ASGIApp:
    app = Litestar(
        route_handlers=[
            gallery.access.api.router(),
            gallery.admin.api.router(),
            _images_router(),
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
            "pictures": _given(house.pictures),
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
    return wrapped(app, house, Callers(house.access))


def _images_router() -> Router:
    """One for all packages that have calls below this path: Litestar takes no path from two routers."""
    packages = gallery.uploads.api, gallery.images.api, gallery.delivery.api, gallery.delivery.links_api
    handlers = [handler for package in packages for handler in package.HANDLERS]
    return Router("/api/v1/images", route_handlers=handlers, tags=["images"])


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
    return wrapped(app, house, Callers(house.access))


def _given(value: Any) -> Provide:
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)
