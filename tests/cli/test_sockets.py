"""The listening socket."""

import asyncio
import socket

from gallery.cli.sockets import listen


async def test_a_response_is_not_held_back_until_the_one_before_is_acknowledged():
    """Clients delay an acknowledgement for 40 ms; without TCP_NODELAY, a response in two parts waits for it."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    with listen("127.0.0.1", 0) as sock:
        async with await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=sock):
            _, client = await asyncio.open_connection(*sock.getsockname())
            server = await accepted.get()
            connection = server.get_extra_info("socket")
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (server, client):
                writer.close()
