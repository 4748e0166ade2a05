"""Responses to HTTP/1.0 clients, which cannot read chunks (RFC 9112, 6.1): closing the connection ends a body."""

from typing import Any


def disable_chunking(cycle: Any) -> None:
    """Make uvicorn's cycle of a request send its response without chunks."""
    send = cycle.send
    has_length = False

    async def send_until_close(message: Any) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message["headers"])
            if not has_length:
                cycle.chunked_encoding = False
        elif not has_length:
            cycle.expected_content_length = len(message.get("body", b""))  # which uvicorn compares with each piece
        await send(message)

    cycle.send = send_until_close
    cycle.keep_alive = False
    cycle.waiting_for_100_continue = False  # HTTP/1.0 has no interim responses (RFC 9110, 10.1.1)
