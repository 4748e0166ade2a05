"""The API's listening socket. It is opened first, so that a port in use is reported before anything starts."""

import socket

from gallery.errors import CannotStart
from gallery.settings import Settings

USER_TIMEOUT_MS = 60_000  # the kernel closes a connection whose client leaves data unread for longer


def bind(settings: Settings) -> socket.socket:
    """Raises `CannotStart`."""
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise CannotStart(f"Cannot listen on {address}: {error.strerror}. Set PORT to a free port.") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, so that asyncio sets TCP_NODELAY
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
