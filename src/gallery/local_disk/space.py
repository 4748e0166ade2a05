"""A full disk of this machine: nothing that a request or a picture could do anything about."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.errors import NoRoom, describe_error

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translate_disk_full() -> Iterator[None]:
    """What the block writes may find no room. Raises `NoRoom` then; other failures stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise NoRoom(cause=describe_error(error)) from error
        raise
