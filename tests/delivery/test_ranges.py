"""Parts of pictures and answers without a body, as players, download managers and link previews request them."""

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import photos
from conftest import running_application
from factories import post, wait_until_settled
from faults.proxy import Proxy
from gallery.conditions import byte_range
from gallery.delivery.responses import MAX_BUFFERED_BYTES
from gallery.errors import RangeOutside
from gallery.web.app import make_app

CONTENT = photos.a_jpeg(600, 450, seed=3)
SIZE = len(CONTENT)


@pytest.fixture
async def picture(client):
    """The URL of an original."""
    return f"/api/v1/images/{(await post(client, CONTENT)).json()['id']}/original"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-499", 0, 500),
        ("bytes=500-999", 500, 1000),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=100-", 100, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes=0-{SIZE * 2}", 0, SIZE),
        (f"bytes=7-{10**29}", 7, SIZE),
        ("Bytes = 3-5", 3, 6),
    ],
)
async def test_a_part_is_answered_with_that_part(client, picture, asked, start, end):
    answer = await client.get(picture, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["accept-ranges"] == "bytes"


async def test_a_picture_of_usual_size_is_sent_together_with_its_headers(gallery, picture):
    """So an API that is killed has answered, or has not begun to: then a balancer asks another."""
    happened = []

    async def send(message):
        happened.append(message["type"])
        asyncio.get_running_loop().call_soon(happened.append, "turn")

    async def receive():
        await asyncio.sleep(5)  # nothing more comes
        return {"type": "http.disconnect"}

    nowhere = {"root_path": "", "query_string": b"", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}
    asked = {"type": "http", "method": "GET", "path": picture, "raw_path": picture.encode()}
    asked["headers"] = [(b"host", b"127.0.0.1")]
    about = {"scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"}, "extensions": {}, "state": {}}
    await make_app(gallery).asgi({**asked, **about, **nowhere}, receive, send)
    await asyncio.sleep(0)
    assert happened[:3] == ["http.response.start", "http.response.body", "turn"]


async def test_a_failing_store_is_an_error_before_the_first_byte(environment, s3):
    async with Proxy(s3["S3_ENDPOINT"]) as cable:
        away = {**s3, "S3_ENDPOINT": cable.url, "S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-breaks-off"}
        async with running_application(environment, **away) as (_, client):
            image = (await post(client, photos.a_jpeg(1600, 1200, seed=4))).json()
            assert 150_000 < image["size"] < MAX_BUFFERED_BYTES
            cable.cut_after_bytes = 100_000  # in the middle of it: one block has come already
            answer = await client.get(f"/api/v1/images/{image['id']}/original", timeout=60)
    assert answer.status_code == 503
    assert answer.json()["code"] == "object_store_away"


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={10**29}-"])
async def test_a_part_beyond_the_end_cannot_be_answered(client, picture, asked):
    answer = await client.get(picture, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.json()["code"] == "range_outside"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-9", "bytes=5-3", "bytes=-", "bytes=a-b", "lines=0-9", "bytes 0-9", "", "bytes=" + "9" * 5000 + "-"],
)
async def test_several_or_invalid_ranges_are_answered_with_the_whole(client, picture, asked):
    answer = await client.get(picture, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "content-range" not in answer.headers
    assert answer.headers["accept-ranges"] == "bytes"


async def test_a_part_of_another_picture_is_not_mixed_in(client, picture):
    tag = (await client.head(picture)).headers["etag"]
    for if_range, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), ("Mon, 23 Nov 2026 18:00:00 GMT", 200)):
        answer = await client.get(picture, headers={"Range": "bytes=1-9", "If-Range": if_range})
        assert answer.status_code == status, if_range
        assert answer.content == (CONTENT[1:10] if status == 206 else CONTENT)


async def test_a_matching_etag_gets_no_part(client, picture):
    tag = (await client.head(picture)).headers["etag"]
    answer = await client.get(picture, headers={"Range": "bytes=0-9", "If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert "vary" not in answer.headers


async def test_a_broken_download_goes_on_where_it_ended(client, picture):
    got = b""
    while len(got) < SIZE:
        answer = await client.get(picture, headers={"Range": f"bytes={len(got)}-{len(got) + 7999}"})
        got += answer.content
    assert got == CONTENT


async def test_renditions_have_parts_too(client, processing):
    image = (await post(client)).json()["id"]
    await processing.process(image)
    url = (await wait_until_settled(client, image))["renditions"][0]["url"]
    whole = await client.get(url)
    answer = await client.get(url, headers={"Range": "bytes=10-19", "If-Range": whole.headers["etag"]})
    assert (answer.status_code, answer.content) == (206, whole.content[10:20])
    assert answer.headers["cache-control"] == whole.headers["cache-control"]


@pytest.mark.parametrize(("visibility", "scope"), [("private", "private"), ("public", "public")])
async def test_shared_caches_may_keep_public_pictures_only(client, processing, visibility, scope):
    image = (await post(client, visibility=visibility)).json()["id"]
    await processing.process(image)
    ready = await wait_until_settled(client, image)
    url = ready["renditions"][0]["url"]
    assert (await client.head(url)).headers["cache-control"] == f"{scope}, max-age=31536000, immutable"
    for changing in (url.split("?")[0], url + "x", ready["s3Url"]):
        assert (await client.head(changing)).headers["cache-control"] == f"{scope}, no-cache"


# --- HEAD -----------------------------------------------------------------------------------------------------------


async def test_a_head_has_the_headers_of_the_get_and_no_body(client, processing):
    image = (await post(client)).json()["id"]
    await processing.process(image)
    ready = await wait_until_settled(client, image)
    paths = [
        "/", "/health", "/livez", "/readyz", "/api", "/api/openapi.json", "/static/home.js", "/favicon.ico",
        "/api/v1/images", f"/api/v1/images/{image}", f"/api/v1/images/{image}/download",
        ready["s3Url"], ready["renditions"][0]["url"], "/api/v1/images/nothing", "/nothing",
    ]  # fmt: skip
    for path in paths:
        head, get = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        own = {"date", "x-request-id", "content-length"}
        assert {n: v for n, v in head.headers.items() if n not in own} == {
            n: v for n, v in get.headers.items() if n not in own
        }, path
        if path not in ("/health", "/livez"):
            assert head.headers["content-length"] == get.headers["content-length"], path


async def test_a_head_reads_no_object(client, picture, tmp_path):
    (tmp_path / "data" / "objects").rename(tmp_path / "data" / "elsewhere")
    answer = await client.head(picture)
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(SIZE))
    assert (await client.get(picture)).status_code == 404


async def test_a_head_of_a_part_is_that_of_the_whole(client, picture):
    answer = await client.head(picture, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(SIZE))


async def test_a_head_of_the_stream_ends(client, gallery):
    async with asyncio.timeout(5):
        answer = await client.head("/api/v1/notifications/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    async with asyncio.timeout(5):
        while gallery.feed.subscriber_count:
            await asyncio.sleep(0.01)


async def test_a_call_without_get_has_no_head(client):
    answer = await client.put("/api/v1/images")
    assert answer.status_code == 405
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_the_connection_goes_on_after_a_head(client, picture):
    url = httpx.URL(str(client.base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for _ in range(2):
        writer.write(f"HEAD {picture} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 200 " in head
    writer.close()


# --- the arithmetic -------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 10**12)
NUMBERS = st.integers(0, 10**13)


@given(size=SIZES, first=NUMBERS, last=NUMBERS | st.none())
def test_a_range_is_within_the_picture_and_as_long_as_it_can_be(size, first, last):
    asked = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert byte_range(asked, None, "t", size) is None
    elif first >= size:
        with pytest.raises(RangeOutside):
            byte_range(asked, None, "t", size)
    else:
        assert byte_range(asked, None, "t", size) == (first, size if last is None else min(last + 1, size))


@given(size=SIZES, suffix=NUMBERS)
def test_a_suffix_ends_with_the_picture(size, suffix):
    if suffix == 0:
        with pytest.raises(RangeOutside):
            byte_range("bytes=-0", None, "t", size)
        return
    start, end = byte_range(f"bytes=-{suffix}", None, "t", size)
    assert end == size
    assert end - start == min(suffix, size)


@given(size=SIZES, asked=st.text(max_size=40) | st.from_regex(r"bytes=[0-9,\- ]{0,20}", fullmatch=True))
def test_every_part_lies_within_the_picture(size, asked):
    try:
        found = byte_range(asked, None, "t", size)
    except RangeOutside:
        return
    assert found is None or 0 <= found[0] < found[1] <= size
