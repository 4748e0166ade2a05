"""Each response of tus names its version, errors included (https://tus.io/protocols/resumable-upload)."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gallery.web.routing import route_of

HEADERS = [(b"tus-resumable", b"1.0.0"), (b"tus-version", b"1.0.0")]


class TusVersion:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not route_of(scope).opt.get("tus"):
            await self._app(scope, receive, send)
            return

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_version)
