"""Small requests: each byte is written to the store a few times, and what waits for its part is a bounded list."""

import hashlib
import math
import os
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

import photos
import tus_requests as tus
from factories import stored_keys
from gallery.uploads.tails import Tail, keys, split
from gallery.wiring import Gallery
from resumed import MIB, execute, large_photo, sweep

CHUNK = 4096
SIZE = 8 * MIB if os.environ.get("FAULTS") == "long" else 512 * 1024


def count_written(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all puts of tails from now on."""
    sizes: list[int] = []
    put = gallery.objects.put

    async def counted(key: str, content: Any, *more: Any) -> None:
        if key.startswith("tails/"):
            sizes.append(content.seek(0, os.SEEK_END))
        await put(key, content, *more)

    monkeypatch.setattr(gallery.objects, "put", counted)
    return sizes


async def send(client: httpx.AsyncClient, content: bytes, *sizes: int) -> httpx.Response:
    """By requests of these sizes, the last one over and over."""
    url, offset, left = await tus.created(client, len(content)), 0, list(sizes)
    while True:
        size = left.pop(0) if len(left) > 1 else left[0]
        answer = await tus.patch(client, url, offset, content[offset : offset + size])
        assert answer.status_code == 204, answer.text
        offset += size
        assert answer.headers["Upload-Offset"] == str(min(offset, len(content)))
        if "Gallery-Image" in answer.headers:
            return answer


async def check(client: httpx.AsyncClient, answer: httpx.Response, content: bytes) -> None:
    image = (await client.get(answer.headers["Content-Location"])).json()
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert (await client.get(f"{answer.headers['Content-Location']}/original")).content == content


async def test_many_small_requests_write_each_byte_a_few_times(running, monkeypatch):
    """Before there was a list of tails, it was as often as there are requests: 8.6 GB for 8 MiB."""
    gallery, client = running
    written = count_written(gallery, monkeypatch)
    content = large_photo(SIZE)
    await check(client, await send(client, content, CHUNK), content)
    doublings = math.log2(SIZE / CHUNK)
    print(f"{len(written)} tails with {sum(written) / 1e6:.1f} MB for {SIZE / 1e6:.1f} MB")  # noqa: T201
    assert 0 < sum(written) <= SIZE * (doublings / 2 + 1)


@pytest.mark.parametrize(
    "sizes",
    [
        (1000, 700, 300, 90_000, 10_000, 200, MIB),
        (5 * MIB, 2 * MIB, 900_000, 100_000, 3 * MIB, 1, 2, 3, 9 * MIB),
        (8 * MIB - 1, 1, 1, 8 * MIB - 2, 700_000, 20 * MIB),
        (300_000, 17 * MIB, 600_000, 500_000, MIB),
        (10, 20 * MIB),
    ],
)
async def test_requests_of_any_sizes_are_the_file(running, sizes):
    gallery, client = running
    content = photos.a_jpeg() + os.urandom(18 * MIB)
    answer = await send(client, content, *sizes)
    await check(client, answer, content)
    await sweep(gallery)
    assert await stored_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}


async def test_an_upload_with_a_tail_of_the_version_before_goes_on(running):
    """Its key does not say where it begins."""
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[: 8 * MIB + 500_000])
    [key] = [key for key in await stored_keys(gallery) if key.startswith("tails/")]
    _, blocks = await gallery.objects.open(key)
    old = f"tails/{url.rpartition('/')[2]}/01a229d1-e87e-4724-ab88-7c4e4113768b"
    await gallery.objects.put(old, b"".join([block async for block in blocks]))
    await execute(gallery, f"UPDATE object SET key = '{old}' WHERE key = '{key}'")
    await execute(gallery, f"UPDATE upload SET tail_key = '{old}'")
    for offset in (8 * MIB + 500_000, 8 * MIB + 500_001):
        assert (await tus.patch(client, url, offset, content[offset : offset + 1])).status_code == 204
    await check(client, await tus.patch(client, url, offset + 1, content[offset + 1 :]), content)


async def test_an_upload_whose_tail_is_lost_is_gone(running):
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[: 8 * MIB + 500_000])
    await gallery.objects.delete([key for key in await stored_keys(gallery) if key.startswith("tails/")])
    answer = await tus.patch(client, url, 8 * MIB + 500_000, content[8 * MIB + 500_000 :])
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")


def test_there_are_few_tails_of_any_requests():
    tails: list[Tail] = []
    for size in [*range(4096, 1, -1), *range(1, 4096), *[1] * 4096]:
        tails, joined = split(tails, size)
        whole = sum(tail.size for tail in joined) + size
        start = sum(tail.size for tail in tails)
        tails.append(Tail(f"tails/x/{start}.h", start, whole))
        assert len(tails) <= math.log2(start + whole) + 1
        assert all(one.size >= 2 * other.size for one, other in pairwise(tails))
    assert keys(tails).count(" ") == len(tails) - 1


async def test_a_tail_that_is_longer_than_its_part_ends_all_the_same(running):
    """No version writes such a row. The loop that fills parts would never end, and stop the whole process."""
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[: 7 * MIB])
    await execute(gallery, f"UPDATE upload SET part_bytes = {6 * MIB}")
    await check(client, await tus.patch(client, url, 7 * MIB, content[7 * MIB :]), content)


async def test_a_tail_of_which_the_store_gives_less_is_read_again_later(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    url, offset = await tus.created(client, len(content)), 8 * MIB + 500_000
    await tus.patch(client, url, 0, content[:offset])
    whole = gallery.objects.open

    async def broken(key: str) -> tuple[int, Any]:
        size, blocks = await whole(key)
        part = (await anext(aiter(blocks)))[:1000]

        async def fewer() -> AsyncIterator[bytes]:
            yield part

        return size, fewer()

    with monkeypatch.context() as patched:
        patched.setattr(gallery.objects, "open", broken)
        assert (await tus.patch(client, url, offset, content[offset:])).status_code == 503
    await check(client, await tus.patch(client, url, offset, content[offset:]), content)
