"""The object store: the same behaviour from a directory and from S3."""

import asyncio
import hashlib
import io
from datetime import timedelta

import httpx
import pytest

from gallery.adapters.objects.cloud import CloudBackend
from gallery.adapters.objects.content import DownloadHeaders, PutRequest
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.errors import (
    CannotStart,
    ForeignStore,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreUnavailable,
    ObjectTaken,
    StoreClosed,
)
from gallery.settings import Settings
from s3 import bucket_client, create_bucket

BIG_CONTENT = bytes(range(256)) * 4096 * 12  # 12 MiB: several parts


@pytest.fixture(params=["files", "s3"])
def objects(request, tmp_path) -> ObjectStore:
    if request.param == "files":
        return open_objects(Settings(data_dir=str(tmp_path)))
    environment = request.getfixturevalue("s3")
    return ObjectStore(
        CloudBackend(create_bucket(environment, f"bucket-{abs(hash(tmp_path)) % 10**9}"), 10), timeout=10
    )


async def read_content(objects: ObjectStore, key: str) -> bytes:
    _, chunks = await objects.open(key)
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("content", [b"", b"a few", BIG_CONTENT], ids=["none", "few", "many"])
async def test_a_put_can_be_read(objects, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    await objects.put("a/file", tmp_path / "file")
    await objects.put("a/stream", io.BytesIO(content))
    assert await read_content(objects, "a/file") == await read_content(objects, "a/stream") == content
    assert (await objects.open("a/file"))[0] == len(content)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, None), (7, None), (3_000_000, 9_000_000), (len(BIG_CONTENT) - 1, len(BIG_CONTENT))]
)
async def test_a_range_can_be_read(objects, start, end):
    await objects.put("a", BIG_CONTENT)
    size, chunks = await objects.open("a", start, end)
    assert (size, b"".join([chunk async for chunk in chunks])) == (len(BIG_CONTENT), BIG_CONTENT[start:end])


async def test_several_objects_are_put_together(objects):
    puts = [PutRequest(f"a/{number}", f"{number}".encode()) for number in range(6)]
    await objects.put_all(puts[:3])
    await objects.put_all(puts)  # three of them again
    assert [await read_content(objects, put.key) for put in puts] == [put.content for put in puts]
    with pytest.raises(ObjectTaken) as taken:
        await objects.put_all([PutRequest("a/6", b"6"), PutRequest("a/2", b"others")])
    assert taken.value.facts == {"key": "a/2"}
    assert await read_content(objects, "a/2") == b"2"


async def test_the_cloud_gets_all_objects_of_a_put_at_the_same_time():
    puts = [PutRequest(f"a/{number}", b"x") for number in range(6)]
    arrived = asyncio.Barrier(len(puts))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nx")
        await arrived.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        keys = {"S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}
        assert await CloudBackend(bucket_client(keys, "bucket"), 5).put(puts) == set()


async def test_a_missing_object_is_not_found(objects):
    with pytest.raises(ObjectNotFound):
        await objects.open("nothing")


async def test_deleting_twice_is_no_error(objects):
    await objects.put("a/b", b"x")
    await objects.delete(["a/b", "nothing"])
    await objects.delete(["a/b"])
    with pytest.raises(ObjectNotFound):
        await objects.open("a/b")


async def test_a_copy_is_never_written_through_a_link(objects, tmp_path):
    await objects.put("a", b"whole")
    (tmp_path / "elsewhere").write_bytes(b"ours")
    (tmp_path / "copy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        await objects.fetch("a", tmp_path / "copy", size=5, sha256=hashlib.sha256(b"whole").hexdigest())
    assert (tmp_path / "elsewhere").read_bytes() == b"ours"


async def test_unexpected_bytes_are_refused(objects, tmp_path):
    await objects.put("a", b"whole")
    good = hashlib.sha256(b"whole").hexdigest()
    await objects.fetch("a", tmp_path / "copy", size=5, sha256=good)
    assert (tmp_path / "copy").read_bytes() == b"whole"
    for size, sha256 in ((6, good), (5, hashlib.sha256(b"other").hexdigest())):
        with pytest.raises(ObjectDamaged):
            await objects.fetch("a", tmp_path / "copy", size=size, sha256=sha256)


async def test_a_store_belongs_to_one_installation(objects):
    assert await objects.find_owner() is None
    await objects.take_ownership("ours")
    await objects.take_ownership("ours")
    assert await objects.find_owner() == "ours"
    with pytest.raises(ForeignStore):
        await objects.take_ownership("theirs")
    await objects.ping()


async def test_only_s3_signs_urls_that_can_be_read(objects):
    await objects.put("a/photo", b"x")
    url = await objects.sign("a/photo", timedelta(minutes=1))
    if url is None:
        assert not (await objects.sign("a/photo", timedelta(minutes=1)))
        return
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).content == b"x"
        assert (await client.get(url.partition("?")[0])).status_code == 403


async def test_a_missing_server_is_unavailable():
    nowhere = {"S3_ENDPOINT": "http://127.0.0.1:1", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    objects = ObjectStore(CloudBackend(bucket_client(nowhere, "bucket"), 5), timeout=5)
    for call in (objects.put("a", b"x"), objects.open("a"), objects.delete(["a"]), objects.ping()):
        with pytest.raises(ObjectStoreUnavailable):
            await call


def test_an_endpoint_without_a_bucket_cannot_start():
    with pytest.raises(CannotStart, match="S3_BUCKET"):
        open_objects(Settings.read({"S3_ENDPOINT": "http://127.0.0.1:9000"}))


async def test_nothing_is_overwritten_and_the_same_bytes_may_be_put_again(objects):
    for content in (b"first", BIG_CONTENT):
        key = f"a/{len(content)}"
        await objects.put(key, content)
        await objects.put(key, io.BytesIO(content))  # the answer was lost, the put was not
        with pytest.raises(ObjectTaken):
            await objects.put(key, content[::-1])
        assert (await objects.digest(key)).sha256 == hashlib.sha256(content).hexdigest()


async def test_a_signed_url_serves_a_picture_as_an_attachment_of_its_type(objects):
    await objects.put("a/photo", b"x", DownloadHeaders("image/png", "Lac Léman\r\n.png"))
    url = await objects.sign("a/photo", timedelta(minutes=1))
    if url is None:
        return
    async with httpx.AsyncClient() as client:
        headers = (await client.get(url)).headers
    assert headers["content-type"] == "image/png"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''Lac%20L%C3%A9man%0D%0A.png"


async def test_only_its_own_installation_can_reopen_a_closed_store(objects):
    await objects.take_ownership("ours")
    await objects.mark_closed("ours")
    with pytest.raises(StoreClosed):
        await objects.ping()
    with pytest.raises(StoreClosed):
        await objects.take_ownership("ours")
    with pytest.raises(ForeignStore):
        await objects.take_ownership("theirs", reopen=True)
    await objects.take_ownership("ours", reopen=True)
    await objects.ping()


async def test_a_store_that_was_emptied_is_not_ready(objects):
    await objects.take_ownership("ours")
    await objects.delete(["installation"])
    with pytest.raises(ObjectNotFound):
        await objects.ping()
