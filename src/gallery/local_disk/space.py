"""A full disk of this machine, which no request or picture is to blame for."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.errors import NoRoom, describe_error

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translate_disk_full() -> Iterator[None]:
    """Raises `NoRoom` when the block fills the disk; other errors stay as they are."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise NoRoom(cause=describe_error(error)) from error
        raise
