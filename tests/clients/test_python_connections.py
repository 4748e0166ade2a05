"""The Python client, where another server answers in Gallery's place, or none does."""

import asyncio
import os
import socket
import time
from contextlib import aclosing

import httpx
import pytest

from clients_proxy import canned
from gallery_client import AsyncGallery, Gallery, GalleryError
from gallery_client.cli.parser import parse

UNKNOWN = "01990000-0000-7000-8000-000000000000"
SIGN_IN = canned(200, "<h1>Sign in</h1>", Content_Type="text/html")


@pytest.fixture
def proxy_that_refuses(monkeypatch):
    """The environment's proxy, which is for other hosts."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        url = f"http://127.0.0.1:{busy.getsockname()[1]}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


async def first_event(kit) -> object:
    async with asyncio.timeout(10), aclosing(kit.events()) as events:
        return await anext(events)


@pytest.mark.parametrize("answer", [SIGN_IN, canned(204), canned(200, "{}", Content_Type="application/json")])
async def test_a_stream_of_another_server_raises(far_kit, proxy, answer):
    proxy.answers = [answer]
    with pytest.raises(GalleryError) as caught:
        await first_event(far_kit)
    assert caught.value.code == "answer_not_understood"
    assert len(proxy.requests) == 1, "trying again does not help"


async def test_an_event_that_is_not_one_of_gallerys_raises(far_kit, proxy):
    proxy.answers = [canned(200, "id: 1\ndata: <p>\n\n", Content_Type="text/event-stream; charset=utf-8")]
    with pytest.raises(GalleryError) as caught:
        await first_event(far_kit)
    assert caught.value.code == "answer_not_understood"


async def test_a_large_upload_to_another_server_raises(far_kit, proxy, large_photo):
    proxy.answers = [SIGN_IN]
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(large_photo)
    assert caught.value.code == "answer_not_understood"


async def test_the_error_says_where_another_address_is(far_kit, proxy):
    proxy.answers = [canned(308, Location="https://img.example.org/")]
    with pytest.raises(GalleryError, match=r"leads to https://img\.example\.org/") as caught:
        await far_kit.get(UNKNOWN)
    assert caught.value.code == "http_308"


async def test_proxies_of_the_environment_are_not_for_this_machine(stack, connect, proxy_that_refuses):
    for host in ("127.0.0.1", "localhost"):
        async with connect(stack.url.replace("127.0.0.1", host), retry_for=0) as kit:
            assert await kit.check(["0" * 64]) == {}
    async with connect("http://img.example.org", retry_for=0) as kit:
        with pytest.raises(GalleryError, match="cannot be reached"):
            await kit.check(["0" * 64])


@pytest.mark.parametrize("kind", [Gallery, AsyncGallery])
@pytest.mark.parametrize("url", ["img.example.org", "ftp://x", "http://", "http://x:y", "", "file:///x"])
def test_what_is_no_address_is_refused(kind, url):
    with pytest.raises(ValueError, match="address"):
        kind(url)


@pytest.mark.parametrize("token", ["secret\n", "", "se cret", "sécret", "secret\r\nX-Other: 1"])
async def test_a_token_that_no_header_can_have_is_refused_without_telling_it(stack, connect, token):
    async with connect(stack.url, token) as kit:
        with pytest.raises(ValueError, match="the token") as caught:
            await kit.get(UNKNOWN)
    assert "cret" not in str(caught.value)


def test_a_server_that_never_answers_is_told_soon(run, monkeypatch):
    monkeypatch.setattr("gallery_client.cli.main.FIRST_TIMEOUT", httpx.Timeout(1.0))
    monkeypatch.setattr("gallery_client.cli.main.RETRY_FOR", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        code, lines, error = run("upload", ".", url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert (code, lines, "cannot be reached" in error) == (3, [{"sent": 0, "skipped": 0, "refused": 0}], True)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GALLERY_URL", "http://x:y", "address"),
        ("GALLERY_TOKEN", "a b", "token"),
        ("ALL_PROXY", "socks5://x", "socksio"),
    ],
)
def test_a_wrong_environment_is_a_sentence_and_usage(run, name, value, sentence):
    code, _, error = run("show", UNKNOWN, **{"GALLERY_URL": "https://img.example.org", name: value})
    assert (code, sentence in error, "Traceback" in error) == (2, True, False), error


def test_empty_variables_count_as_not_set(monkeypatch):
    for name in ("GALLERY_URL", "GALLERY_TOKEN"):
        monkeypatch.setenv(name, "")
    options = parse(["list"], "gallery-client")
    assert (options.url, options.token) == ("http://127.0.0.1:3000", None)


async def test_a_page_in_place_of_gallery_counts_as_not_reached(start, proxy, library):
    for answer in (SIGN_IN, canned(404, "<h1>Nothing</h1>"), canned(301, Location="https://img.example.org")):
        proxy.answers = [answer]
        process = start("upload", library, "--json", url=proxy.url)
        out, error = await asyncio.to_thread(process.communicate, timeout=60)
        assert (process.returncode, out.splitlines()) == (3, ['{"sent":0,"skipped":0,"refused":0}']), error


async def test_pipes_are_files_too(kit, stack, photo, tmp_path):
    fifo = tmp_path / "photo.jpg"
    os.mkfifo(fifo)
    writing = asyncio.create_task(asyncio.to_thread(fifo.write_bytes, photo))
    image = await kit.upload(fifo)
    await writing
    async with httpx.AsyncClient(base_url=stack.url) as client:
        assert (await client.get(f"/api/v1/images/{image.id}/original")).content == photo
    assert image.title == "photo"
