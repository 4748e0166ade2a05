"""Each test of the client's calls runs with both: `AsyncGallery`, and `Gallery` in threads. Those of its command start
the program.
"""

import asyncio
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import photos
from clients_proxy import Proxy, proxy_to
from gallery_client import AsyncGallery, Gallery
from gallery_client.cli.main import main
from gallery_processes import base_environment
from kit.packages import install_python_client

END = object()
CLIENT = Path(__file__).resolve().parents[2] / "clients" / "python" / "src"
# Root may read all files; without these capabilities it may not.
SETPRIV = [shutil.which("setpriv") or "", "--bounding-set", "-dac_override,-dac_read_search"]
WITHOUT_PRIVILEGES = SETPRIV if os.geteuid() == 0 and SETPRIV[0] else []


class InThreads:
    """A `Gallery` with the calls of an `AsyncGallery`."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._gallery, name)
        if name in {"images", "events"}:
            return lambda *args, **kwargs: self._iterate(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)

    async def _iterate(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        while (item := await asyncio.to_thread(next, items, END)) is not END:
            yield item


@pytest.fixture(params=["Gallery", "AsyncGallery"])
def connect(request) -> Callable[..., Any]:
    """`async with connect(url, …) as kit`."""

    @asynccontextmanager
    async def connect(url: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if request.param == "AsyncGallery":
            async with AsyncGallery(url, *args, **kwargs) as kit:
                yield kit
        else:
            with Gallery(url, *args, **kwargs) as kit:
                yield InThreads(kit)

    return connect


@pytest.fixture
async def kit(stack, connect) -> AsyncIterator[Any]:
    """The client of a Gallery with a worker."""
    async with connect(stack.url) as kit:
        yield kit


@pytest.fixture
async def proxy(stack) -> AsyncIterator[Proxy]:
    async with proxy_to(stack.url) as proxy:
        yield proxy


@pytest.fixture
async def far_kit(proxy, connect) -> AsyncIterator[Any]:
    """The same through a proxy."""
    async with connect(proxy.url) as kit:
        yield kit


@pytest.fixture
def photo() -> bytes:
    """A photo that has not been uploaded before."""
    return photos.a_jpeg(640, 480, comment=secrets.token_hex(8).encode())


@pytest.fixture
def large_photo(photo) -> bytes:
    """9 MB; decoders ignore bytes after a JPEG's end."""
    return photo + bytes(9_000_000 - len(photo))


@pytest.fixture
def tag() -> str:
    """Of the images of one test."""
    return secrets.token_hex(8)


def obey_interrupts() -> None:
    """A shell starts its background jobs with SIGINT ignored, and a program inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
async def program(tmp_path_factory) -> tuple[list[str], dict[str, str]]:
    """The command and its environment; `make kit-test` takes that of the published wheel."""
    if os.environ.get("KIT") != "yes":
        return [sys.executable, "-m", "gallery_client"], {"PYTHONPATH": str(CLIENT)}
    environment = await install_python_client(tmp_path_factory.mktemp("wheel"))
    return [str(environment / "bin" / "gallery-client")], {}


@pytest.fixture
def start(stack, tmp_path, program):
    """Starts `gallery-client …` in a folder of its own, with a cache of its own."""
    running = []
    command, own = program

    def start(*arguments: object, url: str = stack.url, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*WITHOUT_PRIVILEGES, *command, *map(str, arguments)],
            cwd=tmp_path,
            env={
                **base_environment(),
                **own,
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "GALLERY_URL": url,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=obey_interrupts,  # noqa: PLW1509  it calls no code of a thread
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


Ran: TypeAlias = tuple[int, list[dict], str]  # the exit code, the objects of all lines, and the errors


@pytest.fixture
def run(stack, tmp_path, monkeypatch) -> Callable[..., Ran]:
    """Runs the command with `--json` in this process, which takes half a second less than a program."""

    def run(*arguments: object, url: str = stack.url, **environment: str) -> Ran:
        given = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "GALLERY_URL": url, **environment}
        with (
            monkeypatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
            ThreadPoolExecutor(1) as thread,  # with an event loop of its own
        ):
            patch.chdir(tmp_path)
            for name, value in given.items():
                patch.setenv(name, value)
            code = thread.submit(exit_code, [*map(str, arguments), "--json"]).result(timeout=60)
        return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()

    return run


def exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:  # of a wrong command line
        return int(end.code or 0)


@pytest.fixture
def run_unprivileged(start) -> Callable[..., Ran]:
    """The same as a program, for which the permissions of files hold."""

    def run(*arguments: object) -> Ran:
        process = start(*arguments, "--json")
        out, err = process.communicate(timeout=60)
        return process.returncode, [json.loads(line) for line in out.splitlines()], err

    return run


@pytest.fixture
def library(tmp_path) -> Path:
    """A folder with photos in folders and in an archive, and with other files."""
    seed = os.urandom(8)
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.jpg").write_bytes(photos.a_jpeg(320, 240, comment=seed + b"1"))
    (folder / "deep" / "two.JPEG").write_bytes(photos.a_jpeg(320, 240, comment=seed + b"2"))
    (folder / "notes.txt").write_text("not sent")
    (folder / ".hidden.jpg").write_bytes(b"not sent")
    with zipfile.ZipFile(tmp_path / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("album/three.png", photos.a_png(64, 48) + seed)
        archive.writestr("album/readme.txt", "not sent")
    return folder
