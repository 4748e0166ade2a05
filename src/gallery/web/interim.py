"""Responses with a status of 1xx before the final one, for which ASGI has no message."""

from collections.abc import Mapping
from typing import Any

from gallery.responses import SendInterim


def interim_sender(cycle: Any) -> SendInterim:
    """A function that sends status, reason and headers to the client of this request of uvicorn's.

    It sends nothing once the final response has begun or the client has gone.
    """

    def send(status: int, reason: str, headers: Mapping[str, str]) -> None:
        if cycle.response_started or cycle.disconnected or cycle.transport.is_closing():
            return
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        cycle.transport.write("\r\n".join(lines).encode("latin-1"))

    return send
