"""Parts that clients send to S3 themselves; lost answers, absent servers, AWS's variables and memory."""

import asyncio
import hashlib
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3 import HTTPResponse

from gallery.adapters.objects.parts import PartRequest
from gallery.adapters.objects.s3_calls import S3Calls
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import ObjectStoreRefused, ObjectStoreUnavailable, ObjectTaken
from gallery.settings import Settings
from multipart_stores import PART_BYTES, open_bucket
from s3 import create_bucket, environment_of
from s3_proxy import error_answer, proxy

KEY = "original/a/one"
FIRST, LAST = os.urandom(PART_BYTES), os.urandom(1000)
NOT_IMPLEMENTED = error_answer(501, "NotImplemented")
KEYS = {"S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}


@pytest.fixture
def bucket(s3) -> str:
    name = f"parts-{os.urandom(4).hex()}"
    create_bucket(s3, name)
    return name


@pytest.fixture
def objects(s3, bucket) -> ObjectStore:
    return open_bucket(s3, bucket)


async def sign(objects: ObjectStore, handle: str, number: int, content: bytes, **more: object) -> PartRequest:
    given = {"expires": timedelta(minutes=5), **more}
    signed = await objects.multipart.sign_part(KEY, handle, number, len(content), **given)
    assert signed is not None
    return signed


async def send(request: PartRequest, content: bytes) -> httpx.Response:
    """As a client without credentials does it."""
    async with httpx.AsyncClient() as client:
        return await client.request(request.method, request.url, headers=request.headers, content=content)


async def test_a_part_that_was_sent_again_a_second_later_is_listed_once(objects):
    """SeaweedFS lists both, in any order and to the second; so several uploads are tried."""
    handles = [await objects.multipart.begin(f"original/a/{number}") for number in range(6)]

    async def put_all(content: bytes) -> list[Any]:
        uploads = enumerate(handles)
        return [await objects.multipart.put_part(f"original/a/{n}", handle, 1, 0, content) for n, handle in uploads]

    await put_all(LAST)
    await asyncio.sleep(1.1)
    stored = await put_all(LAST[::-1])
    for number, handle in enumerate(handles):
        assert await objects.multipart.list_parts(f"original/a/{number}", handle) == [stored[number]]


async def test_a_client_without_credentials_sends_parts_itself(objects):
    handle = await objects.multipart.begin(KEY)
    for number, content in [(2, LAST), (1, FIRST)]:
        answer = await send(await sign(objects, handle, number, content), content)
        assert answer.status_code == 200
        assert answer.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    await objects.multipart.complete(KEY, handle, await objects.multipart.list_parts(KEY, handle))
    assert (await objects.digest(KEY)).sha256 == hashlib.sha256(FIRST + LAST).hexdigest()


async def test_a_signed_part_is_of_that_length_number_and_upload(objects):
    handle, other = await objects.multipart.begin(KEY), await objects.multipart.begin(KEY)
    signed = await sign(objects, handle, 1, FIRST)
    for content in (FIRST[:-1], FIRST + b"x", b""):
        assert (await send(signed, content)).status_code == 403
    for old, new in [("partNumber=1", "partNumber=2"), (handle, other), ("/one?", "/two?")]:
        assert old in signed.url
        assert (await send(signed._replace(url=signed.url.replace(old, new)), FIRST)).status_code in {403, 404}
    assert await objects.multipart.list_parts(KEY, handle) == []


async def test_a_signed_part_expires(objects):
    handle = await objects.multipart.begin(KEY)
    signed = await sign(objects, handle, 1, LAST, expires=timedelta(seconds=1))
    await asyncio.sleep(2.1)
    assert (await send(signed, LAST)).status_code == 403
    assert await objects.multipart.list_parts(KEY, handle) == []


def test_the_hash_of_a_part_is_in_its_signature_also_with_tls():
    """And no checksum that servers other than AWS do not know."""
    calls = S3Calls(Settings.read(KEYS).s3, "photos", "", "https://s3.test")
    sent = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request.headers)
        return AWSResponse(request.url, 200, {"ETag": "x"}, HTTPResponse(BytesIO(), preload_content=False))

    calls._client.meta.events.register("before-send.s3", answer)
    calls.put_part(KEY, "some-upload", 1, 0, BytesIO(LAST))
    headers = {name.lower(): value for name, value in sent[0].items()}
    assert headers["x-amz-content-sha256"] == hashlib.sha256(LAST).hexdigest().encode()
    assert not [name for name in headers if "checksum" in name or "trailer" in name]


async def test_clients_get_the_public_endpoint(s3, bucket):
    server = urlsplit(s3["S3_ENDPOINT"])
    objects = open_bucket(s3, bucket, S3_PUBLIC_ENDPOINT=f"http://localhost:{server.port}/")
    handle = await objects.multipart.begin(KEY)
    signed = await sign(objects, handle, 1, LAST)
    assert urlsplit(signed.url).netloc == f"localhost:{server.port}"
    assert (await send(signed, LAST)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"S3_REGION": "eu-central-1"}, "https://photos.s3.eu-central-1.amazonaws.com/original/a/one"),
        (
            {"S3_ENDPOINT": "https://s3.test", "GALLERY_S3__PATH_STYLE": "false"},
            "https://photos.s3.test/original/a/one",
        ),
        ({"S3_ENDPOINT": "https://s3.test"}, "https://s3.test/photos/original/a/one"),
        (
            {"S3_PUBLIC_ENDPOINT": "https://up.test", "GALLERY_S3__PATH_STYLE": "true"},
            "https://up.test/photos/original/a/one",
        ),
    ],
)
async def test_the_bucket_is_where_the_settings_put_it(settings, url):
    signed = await sign(open_bucket(KEYS, "photos", **settings), "some-upload", 3, LAST)
    query = parse_qs(urlsplit(signed.url).query)
    assert signed.url.partition("?")[0] == url
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert (query["partNumber"], query["uploadId"]) == (["3"], ["some-upload"])


async def test_without_keys_the_clouds_own_credentials_sign(monkeypatch, tmp_path):
    """Those of the environment, as obstore finds them; not those of a profile of AWS's command line."""
    for name, value in {"ACCESS_KEY_ID": "of-the-environment", "SECRET_ACCESS_KEY": "x", "SESSION_TOKEN": "t"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_PROFILE", "missing")
    (tmp_path / "credentials").write_text("[missing]\naws_access_key_id=of-the-file\naws_secret_access_key=x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    query = parse_qs(urlsplit((await sign(open_bucket({}, "photos"), "some-upload", 1, LAST)).url).query)
    assert query["X-Amz-Credential"][0].startswith("of-the-environment/")
    assert query["X-Amz-Security-Token"] == ["t"]


async def test_missing_credentials_are_named(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ObjectStoreUnavailable, match="There are no credentials: set S3_ACCESS_KEY and S3_SECRET_KEY"):
        await open_bucket({"S3_ENDPOINT": "http://127.0.0.1:1"}, "photos").multipart.begin(KEY)


async def test_with_keys_in_the_settings_variables_of_aws_are_ignored(s3, bucket, monkeypatch):
    variables = {
        "AWS_SESSION_TOKEN": "of-another-login",
        "AWS_PROFILE": "missing",
        "AWS_DEFAULT_REGION": "eu-west-9",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_CONFIG_FILE": "/dev/full",
        "AWS_DATA_PATH": "/nowhere",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_SUPPORTED",
        "AWS_RETRY_MODE": "nonsense",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    objects = open_bucket(s3, bucket)
    handle = await objects.multipart.begin(KEY)
    part = await objects.multipart.put_part(KEY, handle, 1, 0, LAST)
    await objects.multipart.complete(KEY, handle, [part])


@pytest.mark.parametrize(
    "name",
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT"],
)
async def test_with_keys_in_the_settings_no_variable_changes_the_address(monkeypatch, name):
    monkeypatch.setenv(name, "https://elsewhere.test" if "URL" in name else "true")
    signed = await sign(open_bucket(KEYS, "photos"), "some-upload", 1, LAST)
    assert urlsplit(signed.url).netloc == "photos.s3.amazonaws.com"


@pytest.mark.parametrize("hangs", [True, False])
async def test_an_absent_store_costs_a_bounded_time(hangs):
    async with silent_server() as endpoint, asyncio.timeout(20):
        server = {"S3_ENDPOINT": endpoint if hangs else "http://127.0.0.1:1", "GALLERY_S3__TIMEOUT": "0.5"}
        objects = open_bucket(KEYS, "photos", **server)
        began = time.monotonic()
        with pytest.raises(ObjectStoreUnavailable, match=r"did not answer in time|Nothing listens"):
            await objects.multipart.begin(KEY)
        assert time.monotonic() - began < 3
        with pytest.raises(ObjectStoreUnavailable, match=r"did not answer in time|Nothing listens"):
            await objects.multipart.put_part(KEY, "some-upload", 1, 0, LAST)
        with pytest.raises(ObjectStoreUnavailable, match=r"did not answer in time|Nothing listens"):
            [found async for found in objects.multipart.list_unfinished(datetime.now(UTC))]


async def test_a_process_ends_although_the_store_does_not_answer():
    script = """
import asyncio, sys
from multipart_stores import open_bucket

async def main(endpoint):
    objects = open_bucket({"S3_ENDPOINT": endpoint, "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}, "photos")
    task = asyncio.create_task(objects.multipart.begin("a"))
    await asyncio.sleep(2)
    task.cancel()

asyncio.run(main(sys.argv[1]))
"""
    async with silent_server() as endpoint, asyncio.timeout(15):
        tests = str(Path(__file__).parents[2])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, endpoint), env={**os.environ, "PYTHONPATH": tests}
        )
        assert await process.wait() == 0


async def test_a_key_that_may_only_read_is_refused(s3, bucket):
    with pytest.raises(ObjectStoreRefused, match="allow them to read, write"):
        await open_bucket(environment_of("reader", s3, bucket), bucket).multipart.begin(KEY)


@pytest.mark.parametrize("answer", [None, NOT_IMPLEMENTED], ids=["its answer is lost", "the condition is unknown"])
async def test_a_completion_is_sent_again_when(s3, bucket, answer):
    async with proxy(s3["S3_ENDPOINT"], rb"POST [^ ]*uploadId=.*If-None-Match", answer) as (endpoint, requests):
        objects = open_bucket({**s3, "S3_ENDPOINT": endpoint}, bucket)
        handle = await objects.multipart.begin(KEY)
        parts = [await objects.multipart.put_part(KEY, handle, 1, 0, FIRST)]
        parts.append(await objects.multipart.put_part(KEY, handle, 2, len(FIRST), LAST))
        await objects.multipart.complete(KEY, handle, parts)  # sends it again by itself
        assert len(requests) == 1
        await objects.multipart.complete(KEY, handle, parts)
        assert (await objects.digest(KEY)).sha256 == hashlib.sha256(FIRST + LAST).hexdigest()


async def test_a_completion_is_well_when_another_one_was_first(objects, monkeypatch):
    """Both have looked whether the key is free."""
    handle = await objects.multipart.begin(KEY)
    parts = [await objects.multipart.put_part(KEY, handle, 1, 0, FIRST)]
    original = S3Calls._complete

    def complete_twice(calls: S3Calls, *arguments: Any) -> None:
        original(calls, *arguments)
        original(calls, *arguments)

    monkeypatch.setattr(S3Calls, "_complete", complete_twice)
    await objects.multipart.complete(KEY, handle, parts)
    assert (await objects.digest(KEY)).sha256 == hashlib.sha256(FIRST).hexdigest()


async def test_a_completion_may_be_repeated_where_the_parts_etags_are_no_md5(objects):
    """As AWS's are with some encryptions."""
    handle = await objects.multipart.begin(KEY)
    parts = [await objects.multipart.put_part(KEY, handle, 1, 0, FIRST)]
    parts.append(await objects.multipart.put_part(KEY, handle, 2, len(FIRST), LAST))
    await objects.multipart.complete(KEY, handle, parts)
    opaque = [part._replace(etag="AK-opaque") for part in parts]
    await objects.multipart.complete(KEY, handle, opaque)
    for others in ([*opaque[:1], opaque[1]._replace(size=9)], [opaque[0]._replace(size=len(FIRST + LAST))]):
        with pytest.raises(ObjectTaken):
            await objects.multipart.complete(KEY, handle, others)


async def test_a_large_part_is_never_in_memory(objects):
    handle = await objects.multipart.begin(KEY)
    await objects.multipart.put_part(KEY, handle, 1, 0, FIRST)
    with TemporaryFile() as file:
        for _ in range(256):
            file.write(os.urandom(1024) * 1024)
        before = reset_peak()
        part = await objects.multipart.put_part(KEY, handle, 1, 0, file)
    assert part.size == 256 * 1024**2
    assert peak_memory() - before < 16 * 1024**2
    await objects.multipart.abort(KEY, handle)


def reset_peak() -> int:
    """The resident memory now, in bytes, from which the peak is measured. See proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
