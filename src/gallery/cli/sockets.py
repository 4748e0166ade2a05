"""The socket that the API listens on. Opened first of all, so that a port in use is told before anything starts."""

import socket

from gallery.errors import CannotStart
from gallery.settings import Settings

USER_TIMEOUT_MS = 60_000  # milliseconds that a client may leave data unread before the kernel gives the connection up


def bind(settings: Settings) -> socket.socket:
    """Raises `CannotStart`."""
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise CannotStart(f"Cannot listen on {where}: {error.strerror}. Set PORT to a free port.") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
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
