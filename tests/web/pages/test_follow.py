"""The code of docs/app/events.md in a browser: it follows the events of another origin, also beyond its ticket."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec

from conftest import serve_api
from credentials import JWT_SECRET, bearer_headers, make_token, unique_photo, with_authentication
from factories import post
from gallery.access import sessions
from gallery.wiring import open_gallery

PAGE = (Path(__file__).parents[3] / "docs" / "app" / "events.md").read_text()
CODE = re.search(r"^```js\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
HTML = b"<!doctype html><title>app</title>"


class CuttableProxy:
    """A connection's way to a server, which can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@asynccontextmanager
async def listen(handler) -> AsyncIterator[str]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def html_app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(HTML)
    writer.write(head + HTML)
    await writer.drain()
    writer.close()


async def test_the_example_follows_the_events_beyond_the_life_of_its_ticket(settings, open_page, monkeypatch):
    monkeypatch.setattr(sessions, "TICKET_LIFETIME", timedelta(seconds=2))
    async with listen(html_app) as app:
        app_settings = msgspec.structs.replace(with_authentication(settings, jwt_secret=JWT_SECRET), cors_origin=app)
        async with open_gallery(app_settings) as gallery, serve_api(gallery) as url:
            line = CuttableProxy(int(url.rpartition(":")[2]))
            async with listen(line.handle) as way:
                visit = await open_page(app)
                await visit.page.goto("/")
                await visit.page.add_script_tag(content=CODE[1].replace("export ", "") + "window.follow = follow;")
                await visit.page.evaluate(
                    """([gallery, token]) => {
                        window.heard = [];
                        follow(gallery, async () => `Bearer ${token}`, {
                          onEvent: (type, event) => heard.push(event.title + " " + type),
                          onReset: () => heard.push("reset"),
                        });
                    }""",
                    [way, make_token("maya")],
                )
                await visit.page.wait_for_function("heard.length === 1")
                await upload(url, "first")
                await visit.page.wait_for_function("heard.includes('first image.uploaded')")
                await asyncio.sleep(2)  # the ticket expires, the stream goes on
                await upload(url, "second")
                await visit.page.wait_for_function("heard.includes('second image.uploaded')")
                line.cut()
                await upload(url, "third")  # while no stream is open
                await visit.page.wait_for_function("heard.includes('third image.uploaded')")
                heard = await visit.page.evaluate("heard")
                assert heard == ["reset", *(f"{title} image.uploaded" for title in ("first", "second", "third"))]
                assert [status for status, _ in visit.failed_responses] == [401], "the browser has tried the old ticket"


async def upload(url: str, title: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=bearer_headers(make_token("maya"))) as client:
        assert (await post(client, unique_photo(), title=title)).status_code == 201
