"""Apps in JavaScript: their copy of the client, a web server for their files, and a Gallery for their pages."""

import functools
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gallery_processes
import javascript_client
from credentials import JWT_SECRET
from gallery_processes import RunningGallery

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}


def copy_client(folder: Path) -> None:
    """Replaces the client in the app's `node_modules` by one that is built from the sources as they are."""
    dist = javascript_client.build()
    installed = folder / "node_modules" / "gallery-client"
    shutil.rmtree(installed / "dist", ignore_errors=True)
    shutil.copytree(dist, installed / "dist")
    shutil.copy(dist.parent / "package.json", installed)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Writes nothing."""


@contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """A web server for the files of a folder, on a free port; yields its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def gallery_for(
    origin: str, environment: Mapping[str, str], folder: Path, **settings: str
) -> AsyncIterator[RunningGallery]:
    """API and worker, which let the pages of this origin in."""
    given = {**environment, "CORS_ORIGIN": origin, **settings}
    async with gallery_processes.api(given, folder) as running, gallery_processes.worker(given, folder):
        yield running
