"""A file over an object that is only in the store."""

import asyncio
import os

import pytest

import photos
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import ObjectNotFound
from gallery.rendering.probe import Format, Limits, probe
from multipart_stores import open_store

CONTENT = os.urandom(300_001)


@pytest.fixture(params=["files", "s3"])
def objects(request, tmp_path) -> ObjectStore:
    return open_store(request, request.param, tmp_path)


async def test_it_reads_like_the_file(objects):
    await objects.put("a/b", CONTENT)

    def read() -> None:
        with objects_file as file:
            assert (file.read(10), file.tell()) == (CONTENT[:10], 10)
            assert file.seek(-5, os.SEEK_END) == len(CONTENT) - 5
            assert (file.read(), file.read(1)) == (CONTENT[-5:], b"")
            assert file.seek(70_000) == 70_000
            assert file.seek(30_000, os.SEEK_CUR) == 100_000
            assert file.read(150_000) == CONTENT[100_000:250_000]
            file.seek(len(CONTENT) + 10)
            assert file.read(1) == b""
            file.seek(0)
            assert file.read() == CONTENT
            with pytest.raises(ValueError, match="before the beginning"):
                file.seek(-1)

    objects_file = objects.reader("a/b", len(CONTENT))
    await asyncio.to_thread(read)


async def test_a_few_bytes_cost_one_request_of_64_kib(objects, monkeypatch):
    ranges = []

    async def open_range(key: str, start: int, end: int | None, original=objects.open):
        ranges.append((start, end))
        return await original(key, start, end)

    await objects.put("a/b", CONTENT)
    monkeypatch.setattr(objects, "open", open_range)
    file = objects.reader("a/b", len(CONTENT))
    assert await asyncio.to_thread(lambda: [file.read(4) for _ in range(100)]) == [
        CONTENT[start : start + 4] for start in range(0, 400, 4)
    ]
    assert ranges == [(0, 65536)]


async def test_a_missing_object_raises_the_stores_error(objects):
    with pytest.raises(ObjectNotFound):
        await asyncio.to_thread(objects.reader("a/b", 10).read)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (photos.a_jpeg, Format.JPEG),
        (photos.a_png, Format.PNG),
        (photos.a_gif, Format.GIF),
        (photos.a_webp, Format.WEBP),
        (photos.an_avif, Format.AVIF),
        (photos.a_heic, Format.HEIC),
    ],
)
async def test_the_probe_reads_an_object_by_its_header(objects, make, kind):
    content = make(300, 202)
    await objects.put("a/b", content)
    found = await asyncio.to_thread(probe, objects.reader("a/b", len(content)), Limits())
    assert (found.format, found.width, found.height) == (kind, 300, 202)
