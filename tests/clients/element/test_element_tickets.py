"""`<gallery-upload>` on a page of another origin, whose own server hands out upload tickets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.async_api import Browser, expect

import gallery_processes
import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from element_pages import RECORD, SCRIPT, STYLE, UploadPage, html
from gallery.cli.sockets import listen

TYPES = {".js": "text/javascript", ".css": "text/css"}


@dataclass
class App:
    """The server of an app: its page, and tickets for its visitors."""

    kit: Path
    url: str = ""
    gallery: httpx.AsyncClient | None = None
    body: str = ""
    rules: dict[str, Any] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    refuses: bool = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, kind, content = await self._answer(scope["path"], receive)
        headers = [(b"content-type", kind.encode()), (b"content-security-policy", self._policy().encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, path: str, receive: Any) -> tuple[int, str, bytes]:
        if path == "/ticket":
            return await self._ticket(json.loads((await receive())["body"]))
        if path == "/kit/page.js":
            return 200, "text/javascript", SCRIPT.encode()
        if path == "/kit/page.css":
            return 200, "text/css", STYLE.encode()
        if path.startswith("/kit/"):
            return 200, "text/javascript", (self.kit / path.removeprefix("/kit/")).read_bytes()
        return 200, "text/html", html(self.body).encode()

    async def _ticket(self, wanted: dict[str, int]) -> tuple[int, str, bytes]:
        self.asked.append(wanted["files"])
        if self.refuses or self.gallery is None:
            return 403, "application/json", b"{}"
        rules = {"uses": min(wanted["files"], 10), **self.rules}
        made = (await self.gallery.post("/api/v1/uploads/ticket", json=rules)).json()
        self.made.append(made["id"])
        return 200, "application/json", json.dumps({**made, "uses": rules["uses"]}).encode()

    def _policy(self) -> str:
        gallery = self.gallery.base_url if self.gallery else ""
        return f"default-src 'self'; connect-src 'self' {gallery}; img-src 'self' blob: {gallery}"


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[App]:
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    with listen("127.0.0.1", 0) as sock:
        app.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        task = asyncio.create_task(server.serve(sockets=[sock]))
        yield app
        server.should_exit = True
        await task


@pytest.fixture
async def app(environment, kit, tmp_path) -> AsyncIterator[App]:
    async with serving(App(kit)) as app:
        settings = {"CORS_ORIGIN": app.url, "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
        async with (
            running_application(environment, **settings) as (_, client),
            gallery_processes.worker({**gallery_processes.base_environment(), **environment}, tmp_path / "worker"),
        ):
            client.headers.update(bearer_headers(make_token("maya")))
            app.gallery = client
            app.body = f'<gallery-upload multiple url="{client.base_url}" ticket-url="/ticket"></gallery-upload>'
            yield app


@pytest.fixture
async def uploads(browser: Browser, app: App) -> AsyncIterator[UploadPage]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.add_init_script(RECORD)
    uploads = UploadPage(page)
    await page.goto(app.url)
    yield uploads
    assert await uploads.find_errors() == []
    await context.close()


async def test_photos_go_by_tickets_and_become_ready(app, uploads, a_photo):
    await uploads.choose(*(a_photo(f"{number}.jpg") for number in range(5)))
    for number in range(5):
        await uploads.expect_state(f"{number}.jpg", "ready")
    assert len(app.asked) == 1, "one ticket for all that waited"
    assert app.asked[0] >= 3
    [first, *_] = await uploads.value()
    image = (await app.gallery.get(f"/api/v1/images/{first}")).json()
    assert image["status"] == "READY"


async def test_a_ticket_for_one_photo_each(app, uploads, a_photo):
    app.rules = {"uses": 1}
    await uploads.choose(*(a_photo(f"{number}.jpg") for number in range(4)))
    for number in range(4):
        await uploads.expect_state(f"{number}.jpg", "ready")
    assert len(app.asked) == 4


async def test_a_ticket_that_was_revoked_is_replaced(app, uploads, a_photo):
    await uploads.choose(a_photo("1.jpg"), a_photo("2.jpg"))
    await uploads.expect_state("2.jpg", "ready")
    app.rules = {"uses": 7}
    await uploads.choose(a_photo("3.jpg"))
    await uploads.expect_state("3.jpg", "ready")
    await app.gallery.delete(f"/api/v1/uploads/tickets/{app.made[-1]}")
    await uploads.choose(a_photo("4.jpg"))
    await uploads.expect_state("4.jpg", "ready")
    assert len(app.asked) == 3
    assert len(await uploads.value()) == 4


async def test_a_picture_that_the_browser_cannot_show_is_shown_by_the_ticket(app, uploads):
    await uploads.choose({"name": "phone.heic", "mimeType": "image/heic", "buffer": photos.a_heic()})
    await uploads.expect_state("phone.heic", "ready")
    await expect(uploads.row("phone.heic").locator("img")).to_be_visible()


async def test_a_server_that_gives_no_ticket(app, uploads, a_photo):
    app.refuses = True
    await uploads.choose(a_photo())
    await uploads.expect_state("lake.jpg", "failed")
    await expect(uploads.row("lake.jpg")).to_contain_text("You may not upload photos here.")
    app.refuses = False
    await uploads.button("Try lake.jpg again").click()
    await uploads.expect_state("lake.jpg", "ready")


async def test_the_script_for_tickets_is_loaded_again_when_it_did_not_come(uploads, a_photo):
    await uploads.page.route("**/element/tickets.js", lambda route: route.abort())
    await uploads.choose(a_photo())
    await uploads.expect_state("lake.jpg", "failed")
    await expect(uploads.row("lake.jpg")).to_contain_text("No connection to the server.")
    await uploads.page.unroute("**/element/tickets.js")
    await uploads.button("Try lake.jpg again").click()
    await uploads.expect_state("lake.jpg", "ready")


async def test_a_function_that_brings_tickets(app, uploads, a_photo):
    await uploads.element.evaluate(
        """(element) => {
            element.removeAttribute("ticket-url");
            element.ticket = async ({ files }) =>
                (await fetch("/ticket", { method: "POST", body: JSON.stringify({ files }) })).json();
        }"""
    )
    await uploads.choose(a_photo())
    await uploads.expect_state("lake.jpg", "ready")
    assert app.asked == [1]
