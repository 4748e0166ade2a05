"""A full disk of this machine: nothing that a request or a picture could do anything about."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.errors import NoRoom, in_words

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def needing_room() -> Iterator[None]:
    """What the block writes may find no room. Raises `NoRoom` then; other failures stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(cause=in_words(error)) from error
        raise
