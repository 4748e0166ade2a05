"""No other user of the machine can read Gallery's files, with any umask of the shell that started it."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

import photos
from factories import post, wait_until_settled
from gallery_processes import RunningGallery, api, base_environment, dev, run_gallery

FILE_COUNT = 400  # in one open folder: more than the walk has done at the first check


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@contextmanager
def permissive_umask() -> Iterator[None]:
    """Sets the umask for processes that are started in the block."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@asynccontextmanager
async def permissive_dev(folder: Path, **more: str) -> AsyncIterator[RunningGallery]:
    with permissive_umask():
        starting = dev(base_environment(), folder, **more)
        stack = await starting.__aenter__()
    try:
        yield stack
    finally:
        await starting.__aexit__(None, None, None)


def readable_by_others(*folders: Path) -> list[str]:
    """Everything below that other users may read, write or enter. The folder itself they may enter, not list."""
    found = [f"{folder}/" for folder in folders if mode(folder) & 0o066]
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if mode(path) & 0o077 and not path.is_symlink():
                    found.append(f"{mode(path):o} {path}")
            except FileNotFoundError:
                continue
    return sorted(found)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def upload_one(url: str, content: bytes | None = None) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        image = (await post(client, content)).json()
        assert (await wait_until_settled(client, image["id"]))["status"] == "READY"


async def wait_until_private(*folders: Path) -> None:
    async with asyncio.timeout(30):
        while readable_by_others(*folders):
            await asyncio.sleep(0.1)


async def test_all_that_gallery_dev_writes_is_private(tmp_path, temporary):
    more = {"TMPDIR": str(temporary), "GALLERY_SERVE__WORKERS": "2", "GALLERY_WORKER__METRICS_PORT": "0"}
    seen: set[str] = set()
    async with permissive_dev(tmp_path, **more) as stack:
        uploading = asyncio.create_task(upload_one(stack.url, photos.a_twelve_megapixel_photo()))
        while not uploading.done():
            assert not readable_by_others(stack.data, *temporary.iterdir())
            seen |= {path.name for path in temporary.rglob("*")}
            await asyncio.sleep(0.02)
        await uploading
        assert "original" in seen, "a worker's scratch was checked"
        assert any(name.startswith("gallery-metrics-") for name in seen)
        with permissive_umask():
            args = ("backup", "create", str(tmp_path / "backups"))
            async with run_gallery(
                {**base_environment(), "GALLERY_DATA_DIR": str(stack.data)}, tmp_path, *args
            ) as backup:
                assert await backup.process.wait() == 0
        assert list((tmp_path / "backups").rglob("manifest.json"))
        assert not readable_by_others(stack.data, tmp_path / "backups", *temporary.iterdir())
        assert {path.name for path in stack.data.iterdir()} >= {"objects", "postgres", "valkey", "logs", "run.json"}


async def test_an_installation_that_was_open_is_closed_at_its_next_start(tmp_path, temporary):
    async with dev(base_environment(), tmp_path) as stack:
        await upload_one(stack.url)
    objects = stack.data / "objects"
    for number in range(FILE_COUNT):
        (objects / "original" / f"{number}").touch()
    for path in (stack.data, *stack.data.rglob("*")):
        if stack.data / "postgres" not in (path, *path.parents):
            path.chmod(0o777 if path.is_dir() else 0o666)
    assert len(readable_by_others(objects)) > FILE_COUNT
    async with permissive_dev(tmp_path, TMPDIR=str(temporary)) as stack:
        assert not mode(objects) & 0o077, "the top, before anything is served"
        await wait_until_private(stack.data)
        await upload_one(stack.url)
        assert not readable_by_others(stack.data)


async def test_files_under_a_separate_url_are_private_too(environment, tmp_path, temporary):
    objects = tmp_path / "elsewhere" / "pictures"
    with permissive_umask():
        serving = api({**environment, "GALLERY_OBJECTS__URL": objects.as_uri(), "TMPDIR": str(temporary)}, tmp_path)
        server = await serving.__aenter__()
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            assert (await post(client)).status_code == 201
        assert list(objects.glob("original/*"))
        assert not readable_by_others(objects)
        assert mode(objects.parent) == 0o711
    finally:
        await serving.__aexit__(None, None, None)
