"""Public clients of tus in a browser, from another origin: tus-js-client and Uppy."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.async_api import Page, Request

import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, create_upload_ticket, make_token, upload_headers
from cutting_proxy import cutting_proxy

FOLDER = Path(__file__).parents[2] / "supertest"
ESBUILD = FOLDER / "node_modules/.bin/esbuild"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>An app"
PHOTO = photos.a_jpeg() + bytes(800_000)
REFUSED = PHOTO[2:]

# The file is always the same one, as if a visitor had chosen it again: tus-js-client finds its upload by that.
FILE = """
    window.makeFile = (text) => new File(
        [Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "lake.jpg", { type: "image/jpeg", lastModified: 1 });
    window.send = (text, options, { pauseAt, stopAt, resume } = {}) => new Promise((resolve, reject) => {
        const upload = new tus.Upload(makeFile(text), {
            metadata: { filename: "lake.jpg", filetype: "image/jpeg", title: "Zürich" },
            removeFingerprintOnSuccess: true,
            ...options,
            onSuccess: ({ lastResponse }) => resolve({ image: lastResponse.getHeader("Gallery-Image") }),
            onError: (error) => error.originalResponse
                ? resolve({ status: error.originalResponse.getStatus(), body: error.originalResponse.getBody() })
                : reject(error),
            onProgress: async (sent) => {
                if (stopAt && sent >= stopAt) {
                    stopAt = 0;
                    await upload.abort();
                    resolve({ url: upload.url });
                } else if (pauseAt && sent >= pauseAt) {
                    pauseAt = 0;
                    await upload.abort();
                    setTimeout(() => upload.start(), 300);
                }
            },
        });
        upload.findPreviousUploads().then((found) => {
            if (resume) upload.resumeFromPreviousUpload(found[0]);
            upload.start();
        });
    });
    window.sendByUppy = async (text, options) => {
        const uppy = new Uppy({ autoProceed: false }).use(Tus, options);
        uppy.addFile({ source: "a test", name: "lake.jpg", type: "image/jpeg", data: makeFile(text),
                       meta: { title: "Zürich" } });
        const { successful, failed } = await uppy.upload();
        return successful.length
            ? { url: successful[0].uploadURL }
            : { status: failed[0].response?.status, error: String(failed[0].error) };
    };
"""


class Browsing(NamedTuple):
    """A page of another origin, a client of the same gallery, and the offsets of the page's `PATCH` requests."""

    page: Page
    client: httpx.AsyncClient
    headers: dict[str, str]
    offsets: list[int]

    async def send(self, content: bytes = PHOTO, base: str = "", how: dict[str, Any] | None = None, **more: Any) -> Any:
        """What `window.send` resolves to."""
        return await self.page.evaluate("(a) => send(...a)", [_text(content), self._options(base, more), how or {}])

    async def send_by_uppy(self, content: bytes = PHOTO, base: str = "", **more: Any) -> Any:
        return await self.page.evaluate("(a) => sendByUppy(...a)", [_text(content), self._options(base, more)])

    def _options(self, base: str, more: dict[str, Any]) -> dict[str, Any]:
        endpoint = f"{base or str(self.client.base_url).rstrip('/')}/api/v1/uploads"
        return {"endpoint": endpoint, "headers": self.headers, "retryDelays": [0, 500, 1000, 3000], **more}

    async def check(self, image: str) -> None:
        found = (await self.client.get(f"/api/v1/images/{image}")).json()
        assert (found["title"], found["originalName"]) == ("Zürich", "lake.jpg")
        assert found["sha256"] == hashlib.sha256(PHOTO).hexdigest()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture(scope="session")
async def script(tmp_path_factory) -> str:
    if not ESBUILD.exists():
        pytest.skip("The clients are not installed: tests/install-tools does that with npm")
    bundle = tmp_path_factory.mktemp("uploaders") / "bundle.js"
    process = await asyncio.create_subprocess_exec(
        str(ESBUILD), "uploaders.js", "--bundle", "--log-level=error", f"--outfile={bundle}", cwd=FOLDER
    )
    assert await process.wait() == 0
    return bundle.read_text()


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """Another server, with a page of its own at every path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(PAGE)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(params=["token", "ticket"])
async def browsing(request, browser, environment, script, origin) -> AsyncIterator[Browsing]:
    settings = {"CORS_ORIGIN": origin, "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
    async with running_application(environment, **settings) as (_, client):
        client.headers.update(bearer_headers(make_token("maya")))
        headers = {"Authorization": client.headers["Authorization"]}
        if request.param == "ticket":
            headers = upload_headers((await create_upload_ticket(client, visibility="private"))["ticket"])
        context = await browser.new_context()
        page = await context.new_page()
        await page.add_init_script(script + FILE)
        await page.goto(origin)
        offsets: list[int] = []

        def note(sent: Request) -> None:
            if sent.method == "PATCH":
                offsets.append(int(sent.headers["upload-offset"]))

        page.on("request", note)
        yield Browsing(page, client, headers, offsets)
        await context.close()


# --- tus-js-client ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunkSize": 200_000}, {"uploadDataDuringCreation": True}])
async def test_a_photo(browsing, options):
    answer = await browsing.send(**options)
    await browsing.check(answer["image"])


async def test_a_pause(browsing):
    answer = await browsing.send(how={"pauseAt": 250_000}, chunkSize=100_000)
    await browsing.check(answer["image"])
    assert len(set(browsing.offsets)) > 3


async def test_a_reload_of_the_page(browsing):
    stopped = await browsing.send(how={"stopAt": 350_000}, chunkSize=100_000)
    await browsing.page.reload()
    browsing.offsets.clear()
    answer = await browsing.send(how={"resume": True}, chunkSize=100_000)
    await browsing.check(answer["image"])
    assert browsing.offsets[0] >= 200_000
    upload = (await browsing.client.get(stopped["url"])).json()
    assert upload["image"] == answer["image"]


async def test_connections_that_break(browsing):
    async with cutting_proxy(browsing.client.base_url, 300_000, 200_000) as proxy:
        answer = await browsing.send(base=proxy)
    await browsing.check(answer["image"])
    assert browsing.offsets[0] == 0 < browsing.offsets[-1]


@pytest.mark.parametrize("chunk", [100_000, 10_000_000])
async def test_a_refused_file(browsing, chunk):
    answer = await browsing.send(REFUSED, chunkSize=chunk)
    assert answer["status"] == 415
    assert '"code":"not_a_picture"' in answer["body"]


# --- Uppy -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 200_000])
async def test_a_photo_by_uppy(browsing, chunk):
    answer = await browsing.send_by_uppy(**({"chunkSize": chunk} if chunk else {}), allowedMetaFields=["title", "name"])
    upload = (await browsing.client.get(answer["url"])).json()
    await browsing.check(upload["image"])


async def test_uppy_goes_on_after_a_break(browsing):
    async with cutting_proxy(browsing.client.base_url, 300_000) as proxy:
        answer = await browsing.send_by_uppy(base=proxy)
    upload = (await browsing.client.get(f"/api/v1/uploads/{answer['url'].rpartition('/')[2]}")).json()
    await browsing.check(upload["image"])


async def test_uppy_shows_a_refusal(browsing):
    answer = await browsing.send_by_uppy(REFUSED)
    assert "415" in answer["error"]
