"""ASGI middlewares, and the order in which a request passes them: `wrapped`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from litestar import Litestar
from litestar.types import ASGIApp

from gallery.ops.capacity import capacity
from gallery.settings import parse_networks, parse_origins
from gallery.web.kept_responses import KeptResponses
from gallery.web.middleware.compression import Compression
from gallery.web.middleware.cors import Cors
from gallery.web.middleware.head import HeadMethod
from gallery.web.middleware.open_mode import OpenModeGuard, RequestValidation
from gallery.web.middleware.overload import ConcurrencyLimit
from gallery.web.middleware.proxies import Proxies, ProxyHeaders
from gallery.web.middleware.rate_limit import RateLimiter
from gallery.web.middleware.repeat import Repeater
from gallery.web.middleware.requests import RequestContext
from gallery.web.middleware.response_cache import ResponseCache
from gallery.web.middleware.routing import Routing
from gallery.web.middleware.security_headers import SecurityHeaders
from gallery.web.middleware.tus import TusVersion
from gallery.web.request_limits import RequestLimits, rate_limits_enabled
from gallery.wiring import Gallery


class Application(NamedTuple):
    """The application behind its middlewares, and what the server may answer without it."""

    asgi: ASGIApp
    repeater: Repeater | None


def wrapped(litestar: Litestar, gallery: Gallery) -> Application:
    """The server adds one more middleware around all others: `server.with_slow_body_check`."""
    settings = gallery.settings
    allowed = parse_origins(settings.cors_origin)
    limits = RequestLimits(gallery.rates, settings.rate) if rate_limits_enabled(settings) else None
    proxies = Proxies(parse_networks(settings.proxies))
    responses = _kept_responses(gallery)
    layers: list[Callable[[ASGIApp], ASGIApp]] = [  # outermost first
        partial(ProxyHeaders, proxies=proxies),  # the client's address and scheme
        *_response_cache(gallery, responses, limits),  # a response that was sent before
        partial(Routing, litestar=litestar, public_url=settings.public_url),  # finds the route, for all others
        RequestContext,  # request id, span, log line, measurements
        partial(SecurityHeaders, cross_origin=bool(allowed)),
        partial(Cors, allowed=allowed),
        TusVersion,  # in the responses to requests of tus
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
    return Application(app, Repeater(responses, proxies, limits) if responses else None)


def _kept_responses(gallery: Gallery) -> KeptResponses | None:
    """`None` where responses are not kept: by a setting, or without memory that tells of other processes' changes."""
    settings = gallery.settings.cache
    if not (settings.enabled and settings.response_bytes and gallery.change_tokens.shared):
        return None
    return KeptResponses(gallery.change_tokens, settings.response_bytes)


def _response_cache(
    gallery: Gallery, responses: KeptResponses | None, limits: RequestLimits | None
) -> list[Callable[[ASGIApp], ASGIApp]]:
    if responses is None:
        return []
    cache = partial(ResponseCache, responses=responses, tokens=gallery.change_tokens, access=gallery.access)
    return [partial(cache, settings=gallery.settings.cache, limits=limits)]
