"""Text is compressed for clients that accept it, under weak ETags that work in conditional requests."""

import asyncio
import gzip
import json

import brotli
import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import photos
from factories import post, wait_until_settled
from gallery.web.middleware import compression
from gallery.web.middleware.compression import CODINGS, MIN_BYTES, CompressedCache, Compression, accepted_codings

SCRIPT = "/static/home.js"
DECOMPRESS = {
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}
BROWSER = "text/html,*/*;q=0.8"


async def raw(client, path, method="GET", **headers):
    """The answer and its body as it came over the wire."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream(method, path, headers={"Accept-Encoding": "identity", **named}) as answer:
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
    return answer, body


@pytest.fixture
async def ready(client, processing):
    """A READY image's path: its JSON is some kilobytes."""
    image = (await post(client)).json()["id"]
    await processing.process(image)
    await wait_until_settled(client, image)
    return f"/api/v1/images/{image}"


@pytest.mark.parametrize("coding", CODINGS)
async def test_text_is_compressed_for_clients_that_accept_it(client, ready, coding):
    for path in ("/api/v1/images", "/", "/static/home.js", "/static/home.css", "/api", "/api/openapi.json"):
        plain, whole = await raw(client, path, Accept=BROWSER)
        answer, body = await raw(client, path, Accept=BROWSER, Accept_Encoding=coding)
        assert answer.headers["content-encoding"] == coding, path
        assert DECOMPRESS[coding](body) == whole, path
        assert len(body) == int(answer.headers["content-length"]) < len(whole)
        assert answer.headers["content-type"] == plain.headers["content-type"]
        for one in (plain, answer):
            assert "Accept-Encoding" in one.headers["vary"], path
        assert "content-encoding" not in plain.headers


async def test_an_existing_vary_is_extended(client):
    assert (await client.get("/", headers={"Accept": BROWSER})).headers["vary"].split(", ")[-1] == "Accept-Encoding"


@pytest.mark.parametrize("coding", CODINGS)
async def test_pictures_parts_and_streams_are_never_compressed(client, ready, coding):
    image = (await client.get(ready)).json()
    for path in (image["s3Url"], image["renditions"][0]["url"]):
        answer, _ = await raw(client, path, Accept_Encoding=coding)
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers
        part, body = await raw(client, path, Accept_Encoding=coding, Range="bytes=0-4000")
        assert (part.status_code, len(body)) == (206, 4001)
        assert "content-encoding" not in part.headers
    answer, _ = await raw(client, "/api/v1/notifications/stream", "HEAD", Accept_Encoding=coding)
    assert "content-encoding" not in answer.headers


async def test_a_stream_is_not_held_back(client):
    async with client.stream("GET", "/api/v1/notifications/stream", headers={"Accept-Encoding": "gzip"}) as answer:
        async with asyncio.timeout(5):
            assert (await anext(answer.aiter_raw())).startswith(b"retry:")


async def test_little_is_left_as_it_is(client):
    answer, body = await raw(client, "/api/v1/images/nothing", Accept_Encoding="zstd, br, gzip")
    assert len(body) < MIN_BYTES
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_a_long_problem_is_compressed(client):
    answer, body = await raw(client, "/" + "a" * 2000, Accept_Encoding="gzip")
    assert (answer.status_code, answer.headers["content-encoding"]) == (404, "gzip")
    assert b'"not_found"' in gzip.decompress(body)


async def test_a_head_has_the_compressed_answers_headers(client):
    get, body = await raw(client, SCRIPT, Accept_Encoding="br")
    head, nothing = await raw(client, SCRIPT, "HEAD", Accept_Encoding="br")
    assert nothing == b""
    for name in ("content-encoding", "content-length", "etag", "vary"):
        assert head.headers[name] == get.headers[name]
    assert int(head.headers["content-length"]) == len(body)


# --- tags -----------------------------------------------------------------------------------------------------------


async def test_all_codings_share_a_weak_tag(client):
    answers = [(await raw(client, SCRIPT, Accept_Encoding=coding))[0] for coding in ("identity", *CODINGS)]
    (tag,) = {answer.headers["etag"] for answer in answers}
    assert tag.startswith('W/"')


@pytest.mark.parametrize("coding", ["identity", *CODINGS])
async def test_a_client_with_any_coding_is_not_sent_it_again(client, coding):
    tag = (await raw(client, SCRIPT, Accept_Encoding="zstd"))[0].headers["etag"]
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again, body = await raw(client, SCRIPT, Accept_Encoding=coding, If_None_Match=known)
        assert (again.status_code, body) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("coding", ["identity", *CODINGS])
async def test_the_etag_of_an_image_is_its_version_for_every_client(client, ready, coding):
    answer, body = await raw(client, ready, Accept_Encoding=coding)
    version = json.loads(body)["version"]
    assert answer.headers["etag"] == f'"{version}"'
    assert "no-transform" in answer.headers["cache-control"], "to proxies too"
    again, _ = await raw(client, ready, Accept_Encoding=coding, If_None_Match=f'"{version}"')
    assert (again.status_code, again.headers["etag"]) == (304, f'"{version}"')
    changed = await client.patch(ready, json={"title": "a"}, headers={"If-Match": f'"{version}"'})
    assert changed.headers["etag"] == f'"{version + 1}"'


async def test_an_answer_with_a_strong_tag_is_not_compressed():
    async def app(scope, receive, send):
        headers = [(b"content-type", b"application/json"), (b"etag", b'"1"')]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"[" + b"1," * 1000 + b"1]"})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=Compression(app)), base_url="http://it") as client:
        answer = await client.get("/", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["etag"] == '"1"'
    assert "content-encoding" not in answer.headers


# --- which coding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("", []),
        ("identity", []),
        ("deflate", []),
        ("gzip", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("GZip", ["gzip"]),
        ("gzip, deflate, br, zstd", ["zstd", "br", "gzip"]),
        ("gzip;q=1.0, br;q=0.5", ["gzip", "br"]),
        ("gzip; q=0.2, br ; q=0.9", ["br", "gzip"]),
        ("gzip;q=0", []),
        ("*", ["zstd", "br", "gzip"]),
        ("*, zstd;q=0", ["br", "gzip"]),
        ("gzip, *;q=0", ["gzip"]),
        ("identity, gzip;q=0.5", []),
        ("identity;q=0.5, gzip", ["gzip"]),
        ("identity;q=0, gzip", ["gzip"]),
        ("gzip;q=2", []),
        ("gzip;q=x", []),
        ("gzip;level=9", []),
        (",, gzip ,", ["gzip"]),
    ],
)
def test_the_client_chooses_the_coding(header, codings):
    assert accepted_codings(header) == codings


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["gzip", "br", "zstd", "*", "identity", ";q=", "0", "1", ".5", ","])).map("".join)
)
def test_only_supported_codings_are_used(header):
    assert set(accepted_codings(header)) <= set(CODINGS)


# --- once -----------------------------------------------------------------------------------------------------------


async def test_a_list_that_is_read_often_is_compressed_once(client, ready, monkeypatch):
    times = []
    monkeypatch.setitem(CODINGS, "gzip", lambda body: times.append(1) or gzip.compress(body))
    bodies = [(await raw(client, "/api/v1/images", Accept_Encoding="gzip"))[1] for _ in range(5)]
    assert len(set(bodies)) == 1
    assert len(times) == 1


async def test_a_secret_is_not_kept(client, ready, monkeypatch):
    times = []
    monkeypatch.setitem(CODINGS, "gzip", lambda body: times.append(1) or gzip.compress(body))
    for _ in range(3):
        answer, _ = await raw(client, "/" + "a" * 2000, Accept_Encoding="gzip")
        assert answer.headers["cache-control"] == "no-store"
    assert len(times) == 3


def test_the_cache_is_bounded_and_evicts_the_oldest():
    kept = CompressedCache(10_000)
    for number in range(100):
        kept.put("br", bytes([number]) * 900, b"x" * 100)
        kept.find("br", b"\0" * 900)
    assert kept.find("br", b"\0" * 900), "used entries stay"
    assert kept.find("br", bytes([99]) * 900)
    assert kept.find("br", bytes([50]) * 900) is None
    assert sum(len(body) + len(result) for (_, body), result in kept._results.items()) == kept._size <= 10_000
    kept.put("br", b"y" * 9_000, b"z")
    assert kept.find("br", b"y" * 9_000) is None, "one answer does not drive all others out"


async def test_a_large_answer_is_compressed_beside_the_loop(client, gallery, monkeypatch):
    for seed in range(3):
        await post(client, photos.a_jpeg(48, 36, seed=seed), description="d" * 500)
    monkeypatch.setattr(compression, "MIN_THREAD_BYTES", MIN_BYTES)
    answer, body = await raw(client, "/api/v1/images", Accept_Encoding="zstd")
    assert answer.headers["content-encoding"] == "zstd"
    assert DECOMPRESS["zstd"](body) == (await raw(client, "/api/v1/images"))[1]
