"""Pages with `gallery-client/react`, by React 18 and 19: bundled, and opened in a browser."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Browser, Page, Request, Route

import javascript_client
from javascript_client import DIST, FOLDER

ESBUILD = FOLDER / "node_modules/.bin/esbuild"
PAGES = FOLDER / "test" / "react"
REACT = {19: FOLDER / "node_modules", 18: Path(__file__).parent / "clients/react/react18/node_modules"}
HTML = "<!doctype html><title>React</title><body><div id=root>{html}</div>{before}<script>{script}</script></body>"
WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
        .observe({ type: "layout-shift", buffered: true });
"""


async def bundle(entry: Path, folder: Path, react: int, *options: str) -> Path:
    """The entry with all that it imports. Skips the test where that is not installed."""
    javascript_client.build()
    if not (REACT[react] / "react-dom").is_dir():
        pytest.skip(f"React {react} is not installed: tests/install-tools does that with npm")
    file = folder / f"{entry.stem}-{react}.js"
    aliases = {name: REACT[react] / name for name in ("react", "react-dom")}
    aliases |= {"gallery-client/react": DIST / "react/index.js", "gallery-client": DIST / "index.js"}
    process = await asyncio.create_subprocess_exec(
        str(ESBUILD), str(entry), "--bundle", "--jsx=automatic", "--log-level=error",
        f"--outfile={file}", *(f"--alias:{name}={path}" for name, path in aliases.items()), *options,
    )  # fmt: skip
    assert await process.wait() == 0
    return file


@dataclass
class ReactPage:
    """A page with a scene of `scenes.jsx`; it records its requests to the API, and all that its console says."""

    page: Page
    url: str
    script: str
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        self.page.on("request", self._note)

    def _note(self, request: Request) -> None:
        url = httpx.URL(request.url)
        if url.path.startswith("/api/v1/"):
            self.requests.append(f"{request.method} {url.path.removeprefix('/api/v1')}?{url.query.decode()}")

    def count(self, *starts: str) -> int:
        """The requests that begin so, such as `GET /images?`."""
        return sum(request.startswith(starts) for request in self.requests)

    @property
    def problems(self) -> list[str]:
        """The console's errors and warnings; an answer that the test wants refused is also one."""
        return [message for message in self.messages if message.startswith(("error", "warning"))]

    async def open(self, scene: str, options: dict[str, Any] | None = None, **props: Any) -> "ReactPage":
        """The scene, rendered by the browser."""
        query = urlencode({"page": json.dumps({"scene": scene, "props": props, "options": options or {}})})
        await self.serve()
        await self.page.goto(f"{self.url}/react?{query}")
        return self

    async def open_rendered(self, html: str, scene: str, **props: Any) -> "ReactPage":
        """The scene as a server has rendered it, hydrated by the browser."""
        rendered = json.dumps({"scene": scene, "props": props})
        before = f"<script>window.rendered = {rendered}</script>"
        await self.serve(html, before)
        await self.page.goto(f"{self.url}/react")
        return self

    async def serve(self, html: str = "", before: str = "") -> None:
        """From now on, `/react` of this Gallery is this page with the script."""
        body = HTML.format(html=html, before=before, script=self.script)

        async def answer(route: Route) -> None:
            await route.fulfill(body=body, content_type="text/html; charset=utf-8")

        await self.page.add_init_script(WATCH_SHIFTS)
        await self.page.route(re.compile(r"/react(\?|$)"), answer)

    async def layout_shift(self) -> float:
        return float(await self.page.evaluate("shifts.reduce((sum, value) => sum + value, 0)"))


async def new_page(browser: Browser, url: str, script: Path, **more: Any) -> ReactPage:
    context = await browser.new_context(viewport={"width": 800, "height": 700}, **more)
    return ReactPage(await context.new_page(), url, script.read_text().replace("</script", "<\\/script"))
