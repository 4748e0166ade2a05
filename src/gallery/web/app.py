"""Puts the packages' routers into one ASGI application. The services themselves are built in `wiring.py`."""

from functools import partial
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ASGIApp, Scope

import gallery.access.api
import gallery.admin.api
import gallery.delivery.api
import gallery.delivery.iiif_api
import gallery.delivery.links_api
import gallery.delivery.pictures_api
import gallery.delivery.presets_api
import gallery.images.api
import gallery.notifications.api
import gallery.uploads.api
import gallery.uploads.direct_api
import gallery.uploads.ietf_api
import gallery.uploads.tickets_api
import gallery.uploads.tus_api
from gallery.access.authorized import caller_of
from gallery.access.model import Caller
from gallery.delivery.pictures_api import PictureResponses
from gallery.images.schema import EventView
from gallery.web import docs, metrics, openapi, pages, probes, problems, queues
from gallery.web.auth_guard import AuthGuard
from gallery.web.clients import client_of
from gallery.web.middleware import Application, wrapped
from gallery.web.streams import stream_slots
from gallery.wiring import Gallery


def make_app(application: Gallery) -> Application:
    pictures = PictureResponses(application.pictures_on_demand, application.pictures, client_of)
    images, picture_requests = application.kept_images, application.picture_requests
    ietf_services = gallery.uploads.ietf_api.Services(
        application.ietf_uploads, application.images, application.settings
    )
    app = Litestar(
        route_handlers=[
            gallery.access.api.router(),
            gallery.admin.api.router(),
            _images_router(application, pictures),
            gallery.delivery.iiif_api.router(images, picture_requests, pictures, application.settings.public_url),
            gallery.delivery.presets_api.router(),
            gallery.notifications.api.router(EventView),
            _uploads_router(),
            probes.health,
            probes.livez,
            probes.readyz,
            metrics.metrics,
            queues.redirect_to_queues,
            queues.queues_page,
            *pages.handlers(),
        ],
        dependencies={
            "caller": Provide(_caller, sync_to_thread=False),
            "access": _provide(application.access),
            "images": _provide(application.images),
            "picture_requests": _provide(application.picture_requests),
            "links": _provide(application.links),
            "uploads": _provide(application.uploads),
            "resumable_uploads": _provide(application.resumable_uploads),
            "direct_uploads": _provide(application.direct_uploads),
            "ietf_services": _provide(ietf_services),
            "cached_reads": _provide(application.cached_reads),
            "image_details": _provide(application.image_details),
            "console": _provide(application.console),
            "scaler": _provide(application.scaler),
            "cache": _provide(application.cache),
            "feed": _provide(application.feed),
            "stream_slot": Provide(stream_slots(application.settings), sync_to_thread=False),
            "settings": _provide(application.settings),
            "health": _provide(application.health),
            "readings": _provide(application.readings),
        },
        middleware=[partial(AuthGuard, access=application.access, settings=application.settings)],
        exception_handlers=problems.HANDLERS,
        openapi_config=openapi.config(*docs.pages(application.settings)),
        template_config=pages.templates(),
        logging_config=None,
        debug=False,
    )
    return wrapped(app, application)


def _images_router(application: Gallery, pictures: PictureResponses) -> Router:
    """One router for all packages with calls below this path: Litestar does not accept a path from two routers."""
    handlers = [
        *gallery.uploads.api.HANDLERS,
        *gallery.images.api.reads(application.cached_reads, application.access, application.settings.public_url),
        *gallery.images.api.HANDLERS,
        *gallery.delivery.api.reads(application.kept_images, application.pictures),
        *gallery.delivery.links_api.HANDLERS,
        *gallery.delivery.pictures_api.reads(application.kept_images, application.picture_requests, pictures),
    ]
    return Router("/api/v1/images", route_handlers=handlers, tags=["images"])


def _uploads_router() -> Router:
    uploads = gallery.uploads
    handlers = [*uploads.tickets_api.HANDLERS, *uploads.tus_api.HANDLERS, *uploads.direct_api.HANDLERS]
    return Router("/api/v1/uploads", route_handlers=handlers, tags=["uploads"])


def make_worker_app(application: Gallery) -> ASGIApp:
    """A worker's application: its probes and metrics, behind the same middlewares and guard."""
    app = Litestar(
        route_handlers=[probes.livez, probes.readyz, metrics.metrics],
        dependencies={"health": _provide(application.health), "readings": _provide(application.readings)},
        middleware=[partial(AuthGuard, access=application.access, settings=application.settings)],
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return wrapped(app, application).asgi


def _caller(scope: Scope) -> Caller:
    return caller_of(scope)


def _provide(value: Any) -> Provide:
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)
