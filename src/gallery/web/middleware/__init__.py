"""ASGI middlewares, and the order in which a request passes them: `LAYERS`."""

from collections.abc import Callable
from functools import partial

from litestar import Litestar
from litestar.types import ASGIApp

from gallery.adapters.valkey.rates import Rates
from gallery.ops.capacity import capacity
from gallery.settings import networks, origins
from gallery.web.middleware.compression import Compression
from gallery.web.middleware.cors import Cors
from gallery.web.middleware.head import Heads
from gallery.web.middleware.open_mode import LocalOnly, OneHost
from gallery.web.middleware.overload import Overload
from gallery.web.middleware.proxies import Proxies
from gallery.web.middleware.rate_limit import Callers, Limits, limited
from gallery.web.middleware.requests import Requests
from gallery.web.middleware.routing import Routing
from gallery.web.middleware.security_headers import SafeHeaders
from gallery.wiring import Gallery


def wrapped(litestar: Litestar, gallery: Gallery, callers: Callers) -> ASGIApp:
    """The application behind its middlewares. The rate limiter asks `callers` for the request's caller; the auth guard
    finds that caller in the request's state afterwards.
    """
    settings = gallery.settings
    allowed = origins(settings.cors_origin)
    layers: list[Callable[[ASGIApp], ASGIApp]] = [  # outermost first
        partial(Routing, litestar=litestar, public_url=settings.public_url),  # finds the route, for all others
        partial(Proxies, trusted=networks(settings.proxies)),  # the client's address and scheme
        Requests,  # request id, span, log line, measurements
        partial(SafeHeaders, shared=bool(allowed)),
        partial(Cors, allowed=allowed),
        OneHost,  # one valid Host
        partial(LocalOnly, settings=settings),  # in open mode: a loopback Host, and writes from our pages only
        Heads,  # HEAD as a GET without its body
        Compression,
        partial(Overload, most=capacity().requests),  # requests under way at once
    ]
    if limited(settings):
        layers.append(partial(Limits, rates=Rates(gallery.valkey), settings=settings, callers=callers))
    app: ASGIApp = litestar
    for layer in reversed(layers):
        app = layer(app)
    return app
