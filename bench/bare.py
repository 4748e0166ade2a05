"""The bare answer: an application of three lines on Gallery's own server, `python -m bench.bare PORT BYTES`.

Its CPU is that of the socket, the parser, the event loop and the server, which every answer needs; the other figures
are multiples of it. The body has as many bytes as an image's JSON.
"""

import sys

import uvloop
from litestar.types import Receive, Scope, Send

from gallery.cli.sockets import listen
from gallery.settings import ServeSettings
from gallery.web.server import Server


def make_answer(size: int) -> tuple[dict[str, object], dict[str, object]]:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return start, {"type": "http.response.body", "body": b"x" * size}


async def main(port: int, size: int) -> None:
    start, body = make_answer(size)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  ASGI's signature
        await send(start)  # type: ignore[arg-type]
        await send(body)  # type: ignore[arg-type]

    with listen("127.0.0.1", port) as sock:
        await Server(answer, ServeSettings(), lambda: None).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
