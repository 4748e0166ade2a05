"""The bucket at startup: created if it is missing and that is allowed; each refusal has a helpful sentence."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from urllib.parse import urlsplit

import httpx
import pytest

from gallery.adapters.objects.cloud import LARGE_BUDGET_BYTES, CloudBackend
from gallery.adapters.objects.content import CHUNK_BYTES
from gallery.adapters.objects.open import make_store
from gallery.adapters.objects.store import ObjectStore, open_objects, open_objects_at
from gallery.errors import BucketMissing, CannotStart, ObjectStoreUnavailable, ObjectTaken
from gallery.settings import Settings
from s3 import DOMAIN, create_bucket, environment_of

NUMBERS = itertools.count(1)


def open_store(environment: dict[str, str]) -> ObjectStore:
    return open_objects(Settings.read({"GALLERY_S3__TIMEOUT": "20", **environment}))


@pytest.fixture
async def bucket(s3) -> str:
    """A bucket that exists and has no owner."""
    name = f"there-{next(NUMBERS)}"
    await ObjectStore(CloudBackend(create_bucket(s3, name), 10), timeout=10).put("something", b"x")
    return name


async def test_a_missing_bucket_is_created(s3):
    name = f"created-{next(NUMBERS)}"
    objects = open_store(environment_of("maker", s3, name))
    await asyncio.gather(*(objects.take_ownership("ours") for _ in range(5)))  # the processes of one start
    assert await objects.find_owner() == "ours"
    assert await open_store({**s3, "S3_BUCKET": name}).size("installation") == 4


async def test_a_missing_bucket_that_may_not_be_created_is_named(s3):
    message = r"bucket lost is missing and Gallery may not create it.*AccessDenied"
    with pytest.raises(ObjectStoreUnavailable, match=message):
        await open_store(environment_of("writer", s3, "lost")).take_ownership("ours")
    with pytest.raises(BucketMissing, match="the bucket lost at http"):
        await open_store({**environment_of("maker", s3, "lost"), "GALLERY_S3__CREATE_BUCKET": "false"}).take_ownership(
            "ours"
        )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"S3_ACCESS_KEY": "unknown"}, "The access key is unknown: check S3_ACCESS_KEY"),
        ({"S3_SECRET_KEY": "guessed"}, "The secret key does not belong to the access key: check S3_SECRET_KEY"),
        ({"S3_ACCESS_KEY": "reader", "S3_SECRET_KEY": "reader-secret"}, "allow them to read, write, list and delete"),
    ],
)
async def test_wrong_credentials_end_the_start_with_the_reason(s3, bucket, keys, sentence):
    with pytest.raises(CannotStart, match=f"the bucket {bucket} at http.*{sentence}"):
        await open_store({**s3, "S3_BUCKET": bucket, **keys}).take_ownership("ours")


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (400, "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>", "check S3_REGION"),
        (301, "<Code>PermanentRedirect</Code>", "check S3_REGION"),
        (403, "<Code>RequestTimeTooSkewed</Code>", "clock is wrong"),
        (403, "<Code>ExpiredToken</Code>", "token has expired"),
        (503, "<Code>SlowDown</Code>", "SlowDown"),
    ],
)
async def test_a_server_error_becomes_a_sentence(status, body, sentence):
    async with serve_answer(status, body) as endpoint:
        with pytest.raises((CannotStart, ObjectStoreUnavailable), match=sentence):
            await open_store({"S3_ENDPOINT": endpoint, **S3_ENVIRONMENT, "GALLERY_S3__TIMEOUT": "1"}).take_ownership(
                "ours"
            )


@pytest.mark.parametrize("hangs", [True, False])
async def test_an_endpoint_that_does_not_answer_costs_a_bounded_time(hangs):
    async with serve_answer(None, "") as endpoint, asyncio.timeout(20):
        url = endpoint if hangs else "http://127.0.0.1:1"
        objects = open_store({"S3_ENDPOINT": url, **S3_ENVIRONMENT, "GALLERY_S3__TIMEOUT": "0.5"})
        with pytest.raises(ObjectStoreUnavailable, match=r"did not answer in time|Nothing listens"):
            await objects.take_ownership("ours")


async def test_a_bucket_can_be_in_the_host_name(s3, bucket):
    """No name server is asked, so the request goes to the server by its address."""
    server = urlsplit(s3["S3_ENDPOINT"])
    endpoint = f"http://{DOMAIN}:{server.port}"
    settings = {**s3, "S3_BUCKET": bucket, "S3_ENDPOINT": endpoint, "GALLERY_S3__PATH_STYLE": "false"}
    signed = urlsplit(str(await open_store(settings).sign("something", timedelta(minutes=1))))
    assert (signed.netloc, signed.path) == (f"{bucket}.{DOMAIN}:{server.port}", "/something")
    async with httpx.AsyncClient() as client:
        url = f"{s3['S3_ENDPOINT']}{signed.path}?{signed.query}"
        assert (await client.get(url, headers={"Host": signed.netloc})).content == b"x"
        assert (await client.get(url)).status_code == 403  # the host is signed


async def test_without_an_endpoint_it_is_amazon_s3_with_the_bucket_in_the_host_name():
    objects = open_store({**S3_ENVIRONMENT, "S3_REGION": "eu-central-1"})
    url = str(await objects.sign("a b", timedelta(minutes=1)))
    assert url.startswith("https://photos.s3.eu-central-1.amazonaws.com/a%20b?")


async def test_without_keys_the_clouds_own_credentials_are_used(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "from-the-environment" in str(await open_store({"S3_BUCKET": "photos"}).sign("a", timedelta(minutes=1)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SESSION_TOKEN", "of-another-login"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_CONDITIONAL_PUT", "disabled"),
        ("AWS_S3_EXPRESS", "true"),
        ("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms"),
        ("AWS_CHECKSUM_ALGORITHM", "nonsense"),
    ],
)
async def test_with_keys_in_the_settings_variables_of_aws_are_ignored(s3, bucket, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    objects = open_store({**s3, "S3_BUCKET": bucket})
    await objects.put(name, b"ours")
    with pytest.raises(ObjectTaken):
        await objects.put(name, b"others")
    assert os.environ[name] == value


@pytest.mark.parametrize("checksum", ["sha256", "crc64nvme"])
async def test_puts_carry_a_checksum_when_set(s3, bucket, checksum):
    objects = open_store({**s3, "S3_BUCKET": bucket, "GALLERY_S3__CHECKSUM": checksum})
    await objects.put(checksum, b"x" * 11_000_000)
    await objects.put(f"{checksum}/small", b"x")
    assert await objects.size(checksum) == 11_000_000


async def test_a_url_names_a_part_of_a_bucket_or_a_directory(s3, bucket, tmp_path):
    settings = Settings.read(s3)
    await open_objects_at(f"s3://{bucket}/some/where", settings).put("a", b"x")
    assert await open_objects_at(f"s3://{bucket}", settings).size("some/where/a") == 1
    await open_objects_at(f"{tmp_path.as_uri()}/a%20b", settings).put("a", b"x")
    assert (tmp_path / "a b" / "a").read_bytes() == b"x"


def test_urls_of_other_clouds_are_understood(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("gs://photos/path", "az://photos"):
        make_store(Settings.read({"GALLERY_OBJECTS__URL": url}))


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "photos", "file://host/x"])
def test_an_invalid_store_url_cannot_start(url):
    with pytest.raises(CannotStart, match="is not an object store URL"):
        open_objects(Settings.read({"GALLERY_OBJECTS__URL": url}))


def test_two_object_stores_cannot_start():
    with pytest.raises(CannotStart, match="GALLERY_OBJECTS__URL and S3_BUCKET"):
        open_objects(Settings.read({"GALLERY_OBJECTS__URL": "s3://a", "S3_BUCKET": "b"}))


S3_ENVIRONMENT = {"S3_BUCKET": "photos", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}


@asynccontextmanager
async def serve_answer(status: int | None, body: str) -> AsyncIterator[str]:
    """A server that always sends the same answer, or none at all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if status is None:
            await asyncio.wait([asyncio.create_task(reader.read())], timeout=20)
        else:
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(f"{head}{body}".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()


async def test_a_put_with_a_lost_answer_is_done_once_and_may_be_repeated(s3, bucket):
    settings = {**s3, "S3_BUCKET": bucket}
    objects = open_store(settings)
    async with lossy_proxy(s3["S3_ENDPOINT"], count=100) as endpoint:
        with pytest.raises(ObjectStoreUnavailable):
            await open_store({**settings, "S3_ENDPOINT": endpoint, "GALLERY_S3__TIMEOUT": "3"}).put("a", b"ours")
    assert await objects.size("a") == 4
    await objects.put("a", b"ours")
    with pytest.raises(ObjectTaken):
        await objects.put("a", b"no!!")
    assert (await objects.digest("a")).sha256 == sha256(b"ours").hexdigest()


async def test_a_put_survives_a_lost_connection(s3, bucket):
    async with lossy_proxy(s3["S3_ENDPOINT"], count=1) as endpoint:
        objects = open_store({**s3, "S3_BUCKET": bucket, "S3_ENDPOINT": endpoint})
        await objects.put("b", BytesIO(b"ours"))
        assert (await objects.digest("b")).sha256 == sha256(b"ours").hexdigest()


@asynccontextmanager
async def lossy_proxy(url: str, count: int) -> AsyncIterator[str]:
    """A proxy that forwards requests, and drops the answers of the first `count` connections."""
    server, connections = urlsplit(url), itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = next(connections) < count
        back, upstream = await asyncio.open_connection(server.hostname, server.port)
        pumps = [asyncio.create_task(pump(reader, upstream)), asyncio.create_task(pump(back, writer, lost=lost))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (upstream, writer):
            end.transport.abort()
        await asyncio.wait(pumps)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lost: bool = False) -> None:
        with suppress(OSError):
            while (data := await reader.read(65536)) and not lost:
                writer.write(data)

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    finally:
        proxy.close()  # no wait_closed: from Python 3.12 on, it waits for the connections that the store keeps


async def test_small_contents_do_not_wait_behind_large_ones(s3):
    cloud = CloudBackend(create_bucket(s3, f"budget-{os.urandom(4).hex()}"), 10)
    objects = ObjectStore(cloud, timeout=10)
    async with cloud._large_budget.acquire(LARGE_BUDGET_BYTES):
        large = asyncio.create_task(objects.put("large", BytesIO(bytes(CHUNK_BYTES + 1))))
        await asyncio.gather(*(objects.put(f"small/{number}", bytes(CHUNK_BYTES)) for number in range(20)))
        assert await objects.size("large") is None
        assert not large.done()
    await large
    assert await objects.size("large") == CHUNK_BYTES + 1


async def test_a_put_that_waits_too_long_fails_as_unavailable(s3):
    cloud = CloudBackend(create_bucket(s3, f"budget-{os.urandom(4).hex()}"), 10)
    async with cloud._large_budget.acquire(LARGE_BUDGET_BYTES):
        with pytest.raises(ObjectStoreUnavailable):
            await ObjectStore(cloud, timeout=0.05).put("large", bytes(CHUNK_BYTES + 1))
    await ObjectStore(cloud, timeout=10).put("large", bytes(CHUNK_BYTES + 1))
