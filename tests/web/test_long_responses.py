"""The rest of a response, which runs when its handler and all middlewares have returned."""

import asyncio

from http_sockets import connect, read_rest, serve_app

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


def leaving(rest, then=lambda: None):
    """An application that leaves `rest` behind the head."""

    async def app(scope, receive, send):
        await send(START)
        scope["extensions"]["gallery.rest"] = rest
        then()

    return app


async def write_and_end(receive, send):
    await send({"type": "http.response.body", "body": b"the rest", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_the_rest_completes_the_response_and_the_connection_goes_on():
    async with serve_app(leaving(write_and_end)) as url, connect(url) as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST)
            async with asyncio.timeout(5):
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readuntil(b"0\r\n\r\n") == b"8\r\nthe rest\r\n0\r\n\r\n"


async def test_the_rest_learns_that_its_client_has_left():
    left = asyncio.Event()

    async def wait_until_left(receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with serve_app(leaving(wait_until_left)) as url:
        async with connect(url) as (reader, writer):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            await left.wait()


async def test_the_rest_runs_although_a_middleware_fails_behind_its_handler():
    """It holds the slot of a stream, which only its end gives back."""
    ran = asyncio.Event()

    async def note(receive, send):
        ran.set()

    def fail():
        raise RuntimeError("behind the handler")

    async with serve_app(leaving(note, fail)) as url, connect(url) as (reader, writer):
        writer.write(REQUEST)
        await read_rest(reader)
    assert ran.is_set()
