"""Files that a page in a browser sends by tus-js-client, through breaks, and counts what it sends again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from browsers import chromium

FOLDER = Path(__file__).parent / "supertest"
ESBUILD = FOLDER / "node_modules/.bin/esbuild"
AT_ONCE = 4  # files of the page
RETRIES = 60

SEND = """
    window.send = (input, { endpoint, chunkSize, atOnce, retries }) => {
        const waiting = [...input.files].entries(), images = {};
        const one = (number, file) => new Promise((resolve, reject) => new tus.Upload(file, {
            endpoint, chunkSize, retryDelays: Array(retries).fill(1000), storeFingerprintForResuming: false,
            metadata: { filename: file.name },
            onBeforeRequest: (request) => {
                if (request.getMethod() === "PATCH") progress(number, Number(request.getHeader("Upload-Offset")));
            },
            onProgress: (sent) => progress(number, sent),
            onShouldRetry: (error) => {
                const status = error.originalResponse?.getStatus() ?? 0;
                if (status) refused(number);
                return status === 0 || status === 409 || status === 423 || status >= 500;
            },
            onSuccess: ({ lastResponse }) => resolve(lastResponse.getHeader("Gallery-Image")),
            onError: reject,
        }).start());
        const client = async () => {
            for (const [number, file] of waiting) images[number] = await one(number, file);
        };
        return Promise.all(Array.from({ length: atOnce }, client)).then(() => images);
    };
"""


class BrowserFile:
    """A file of the page, with the bytes that the page has handed to its network.

    `sent_again` are those that were lost with their connections; `refused` those of requests with an error as the
    answer, such as 423 for as long as a killed process has its hold: a client has sent them before it reads it.
    `lost_at_once` is the most that one broken connection cost.
    """

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.sent = self.sent_again = self.refused = self.lost_at_once = 0
        self._at = 0
        self._was_refused = False

    def move(self, sent: int) -> None:
        """The page has sent so much of the file, or goes on from there."""
        if sent < self._at and self._was_refused:
            self.refused += self._at - sent
        elif sent < self._at:
            self.sent_again += self._at - sent
            self.lost_at_once = max(self.lost_at_once, self._at - sent)
        self._was_refused = False
        self.sent += max(0, sent - self._at)
        self._at = sent

    def refuse(self) -> None:
        """The request that was sent last has an error as its answer."""
        self._was_refused = True


async def bundle(folder: Path) -> str:
    """tus-js-client as one script. Skips the test where it is not installed."""
    if not ESBUILD.exists():
        pytest.skip("The clients are not installed: tests/install-tools does that with npm")
    file = folder / "bundle.js"
    process = await asyncio.create_subprocess_exec(
        str(ESBUILD), "uploaders.js", "--bundle", "--log-level=error", f"--outfile={file}", cwd=FOLDER
    )
    assert await process.wait() == 0
    return file.read_text()


@asynccontextmanager
async def a_page(url: str, folder: Path) -> AsyncIterator[Page]:
    """A page of this server's origin, with tus-js-client."""
    script = await bundle(folder)
    async with chromium() as browser:
        page = await browser.new_page(bypass_csp=True)
        await page.goto(f"{url}/livez")
        await page.set_content("<input type=file multiple>")
        await page.add_script_tag(content=script + SEND)
        yield page


async def send(page: Page, url: str, files: list[BrowserFile], paths: list[Path], chunk: int) -> dict[int, str]:
    """The image of each file, by its number. Fails where the page gives up."""
    await page.expose_function("progress", lambda number, sent: files[number].move(sent))
    await page.expose_function("refused", lambda number: files[number].refuse())
    await page.set_input_files("input", paths)
    options = {"endpoint": f"{url}/api/v1/uploads", "chunkSize": chunk, "atOnce": AT_ONCE, "retries": RETRIES}
    found = await page.evaluate("(options) => send(document.querySelector('input'), options)", options)
    return {int(number): image for number, image in found.items()}
