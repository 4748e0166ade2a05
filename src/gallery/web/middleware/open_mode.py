"""Checks of `Host`, and in open mode of `Origin`. Open mode needs no credentials, so a page of another site could
otherwise use Gallery through a browser on this machine.
"""

import re

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gallery.access.open_mode import is_loopback, is_open
from gallery.errors import Forbidden, ForeignHost, ForeignOrigin, MalformedHost, MalformedRequest
from gallery.settings import Settings, parse_origins
from gallery.web.middleware.cors import may_write_from, same_origin
from gallery.web.problems import send_problem
from gallery.web.routing import route_of

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)?(:[0-9]*)?")  # RFC 3986, without the comma


class RequestValidation:
    """Refuses a request without exactly one valid `Host`: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.

    Also refuses every transfer coding but `chunked` (section 6.1): the parser would read the body as plain chunks.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif rule := _find_host_error(scope):
            await send_problem(scope, send, MalformedHost(rule))
        elif not _transfer_codings(scope) <= {b"chunked"}:
            await send_problem(
                scope, send, MalformedRequest("Send the body without a Transfer-Encoding other than chunked.")
            )
        else:
            await self._app(scope, receive, send)


class OpenModeGuard:
    """In open mode by default: only a loopback `Host`, against DNS rebinding, and writes only from Gallery's own pages.

    With `GALLERY_ACCESS__OPEN=true` any host is allowed; writes from pages of other origins are refused even then,
    unless `CORS_ORIGIN` allows them. Where credentials are required, this class checks nothing, and
    `web/auth_guard.py` checks the origin of writes by the cookie. A probe without `Host` is answered: load balancers
    send such probes by HTTP/1.0, browsers never do.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._open = is_open(settings)
        self._any_host = settings.access.open is True
        self._allowed_origins = parse_origins(settings.cors_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open and scope["type"] == ScopeType.HTTP and (error := self._find_error(scope)):
            await send_problem(scope, send, error)
        else:
            await self._app(scope, receive, send)

    def _find_error(self, scope: HTTPScope) -> Forbidden | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not (self._any_host or is_loopback(_host_name(host)) or _is_probe_without_host(scope)):
            return ForeignHost(host=host)
        if b"origin" not in headers or scope["method"] in SAFE_METHODS:
            return None
        origin = headers[b"origin"].decode("latin-1")
        if not same_origin(origin, host) and not may_write_from(self._allowed_origins, scope, origin):
            return ForeignOrigin(origin=origin)
        return None


def _find_host_error(scope: HTTPScope) -> str | None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        return None if scope["http_version"] == "1.0" else "Send the header Host with the name of this server."
    if len(hosts) > 1:
        return "Send one Host header; this request has more."
    return (
        None
        if HOST.fullmatch(hosts[0])
        else "Host must be a name or an address, and may have a port: example.org:3000."
    )


def _transfer_codings(scope: HTTPScope) -> set[bytes]:
    return {value.strip().lower() for name, value in scope["headers"] if name == b"transfer-encoding"}


def _is_probe_without_host(scope: HTTPScope) -> bool:
    return bool(route_of(scope).opt.get("probe")) and all(name != b"host" for name, _ in scope["headers"])


def _host_name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
