"""A Gallery with a worker that takes large files from an app's page of another origin."""

import functools
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import gallery_processes
import javascript_client

LIMIT = 64 * 1024 * 1024  # bytes of a file


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def page_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the page `uploads.html`, and of the built client."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "client").symlink_to(javascript_client.build())
    (folder / "index.html").symlink_to(Path(__file__).parent / "uploads.html")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
async def large_stack(
    page_origin: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[gallery_processes.RunningGallery]:
    environment = gallery_processes.base_environment()
    settings = {"GALLERY_UPLOAD__MAX_BYTES": str(LIMIT), "CORS_ORIGIN": page_origin}
    async with gallery_processes.dev(environment, tmp_path_factory.mktemp("large"), **settings) as running:
        yield running
