"""Functions that the tests of the renderer pool run in a child process."""

import os
import signal
import socket
import sys
from pathlib import Path

from gallery.errors import DamagedPicture
from gallery.renderers.confinement import Confinement

MEMORY_BYTES = 512 * 1024 * 1024


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def exhaust_memory():
    return len(bytearray(4 * MEMORY_BYTES))


def loaded_packages() -> set[str]:
    return {name.partition(".")[0] for name in sys.modules}


def raise_damaged():
    raise DamagedPicture(reason="bits")


def try_read(path: str) -> str:
    """Tries to read `path`: returns "read", or the name of the error."""
    try:
        Path(path).read_bytes()
    except OSError as error:
        return type(error).__name__
    return "read"


def try_write(path: str) -> str:
    try:
        Path(path).write_bytes(b"ours")
    except OSError as error:
        return type(error).__name__
    return "written"


def try_signal(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return type(error).__name__
    return "signalled"


def try_connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


def unconfined_report():
    """The result of `examine` on an older kernel."""
    return Confinement(environment=[], privileges=True, files=True, programs=False, network=False)
