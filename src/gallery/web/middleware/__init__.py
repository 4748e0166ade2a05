"""ASGI middlewares, and the order in which a request passes them: `wrapped`."""

from collections.abc import Callable
from functools import partial

from litestar import Litestar
from litestar.types import ASGIApp

from gallery.ops.capacity import capacity
from gallery.settings import parse_networks, parse_origins
from gallery.web.middleware.compression import Compression
from gallery.web.middleware.cors import Cors
from gallery.web.middleware.head import HeadMethod
from gallery.web.middleware.open_mode import OpenModeGuard, RequestValidation
from gallery.web.middleware.overload import ConcurrencyLimit
from gallery.web.middleware.proxies import ProxyHeaders
from gallery.web.middleware.rate_limit import RateLimiter
from gallery.web.middleware.requests import RequestContext
from gallery.web.middleware.response_cache import ResponseCache
from gallery.web.middleware.routing import Routing
from gallery.web.middleware.security_headers import SecurityHeaders
from gallery.web.request_limits import RequestLimits, rate_limits_enabled
from gallery.wiring import Gallery


def wrapped(litestar: Litestar, gallery: Gallery) -> ASGIApp:
    """The application behind its middlewares. The server adds one more around them: `server.with_slow_body_check`."""
    settings = gallery.settings
    allowed = parse_origins(settings.cors_origin)
    limits = RequestLimits(gallery.rates, settings.rate) if rate_limits_enabled(settings) else None
    layers: list[Callable[[ASGIApp], ASGIApp]] = [  # outermost first
        partial(ProxyHeaders, trusted=parse_networks(settings.proxies)),  # the client's address and scheme
        *_response_cache(gallery, limits),  # a response that was sent before
        partial(Routing, litestar=litestar, public_url=settings.public_url),  # finds the route, for all others
        RequestContext,  # request id, span, log line, measurements
        partial(SecurityHeaders, cross_origin=bool(allowed)),
        partial(Cors, allowed=allowed),
        RequestValidation,  # one valid Host, and no transfer coding but chunked
        partial(OpenModeGuard, settings=settings),  # in open mode: a loopback Host, and writes from own pages only
        HeadMethod,  # HEAD as a GET without its body
        Compression,  # of text: zstd, Brotli, gzip
        partial(ConcurrencyLimit, max_requests=capacity().requests),  # requests under way at once
    ]
    if limits is not None:
        layers.append(partial(RateLimiter, limits=limits, access=gallery.access))
    app: ASGIApp = litestar
    for layer in reversed(layers):
        app = layer(app)
    return app


def _response_cache(gallery: Gallery, limits: RequestLimits | None) -> list[Callable[[ASGIApp], ASGIApp]]:
    """Empty where responses are not kept: by a setting, or without memory that tells of other processes' changes."""
    settings = gallery.settings.cache
    if not (settings.enabled and settings.response_bytes and gallery.change_tokens.shared):
        return []
    tokens, access = gallery.change_tokens, gallery.access
    return [partial(ResponseCache, tokens=tokens, access=access, settings=settings, limits=limits)]
