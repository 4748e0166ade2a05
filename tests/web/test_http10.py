"""HTTP/1.0: answers without chunks and interim answers, and the end of the connection behind each."""

import asyncio

import pytest

from conftest import running_application
from factories import post
from http_sockets import connect, read_rest, serve_app

STREAM = b"/api/v1/notifications/stream"


async def split(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head, _, body = (await read_rest(reader)).partition(b"\r\n\r\n")
    return head.lower(), body


async def test_the_stream_comes_without_chunks(environment):
    async with running_application(environment) as (gallery, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET " + STREAM + b" HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert b"connection: close" in head.lower()
        assert (await reader.readline()).startswith(b"retry: ")
        await post(client)
        event = await reader.readuntil(b"image.uploaded")
        assert not [line for line in event.split(b"\n") if line and b":" not in line], "nothing but fields"
        gallery.feed.end()
        assert (await read_rest(reader)).endswith(b"\n\n")


async def test_a_client_of_today_gets_chunks(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET " + STREAM + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"transfer-encoding: chunked" in (await reader.readuntil(b"\r\n\r\n")).lower()


async def pieces(scope, receive, send):
    """An answer in pieces, one of them empty, without a length."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one,", b"", body, b",three"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"."})


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_any_response_without_a_length(method, version):
    async with serve_app(pieces) as url, connect(url) as (reader, writer):
        fields = b"Host: x\r\nConnection: close\r\nContent-Length: 3\r\n"
        writer.write(method + b" / HTTP/" + version + b"\r\n" + fields + b"\r\ntwo")
        head, body = await split(reader)
    old = version == b"1.0"
    chunked = b"4\r\none,\r\n3\r\ntwo\r\n6\r\n,three\r\n1\r\n.\r\n0\r\n\r\n"
    assert (b"transfer-encoding" in head) is (not old and method != b"HEAD")
    assert body == (b"" if method == b"HEAD" else b"one,two,three." if old else chunked)


async def test_an_answer_with_a_length_keeps_it(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        head, body = await split(reader)
        assert b"content-length: %d" % len(body) in head
        assert body == b'{"status":"ok"}'


async def test_no_100_continue_is_sent(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(
            b"PATCH /api/v1/images/x HTTP/1.0\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
        )
        head, _ = await split(reader)
        assert head.startswith(b"http/1.1 404 ")


async def test_an_application_that_raises_answers_500():
    async def broken(scope, receive, send):
        raise ZeroDivisionError

    async with serve_app(broken) as url, connect(url) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        head, _ = await split(reader)
        assert head.startswith(b"http/1.1 500 ")
