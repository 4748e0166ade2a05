"""libvips, configured: one thread (processes run in parallel), no cache of earlier pictures, no unsafe loaders.

Importing this file loads libvips: only the renderer's process does.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import pyvips  # type: ignore[import-untyped]  # brings stubs, but no py.typed that would let mypy read them

from gallery.errors import GalleryError, NoRoom

Picture: TypeAlias = pyvips.Image
VipsError: TypeAlias = pyvips.Error
PROFILE_FIELD, EXIF_FIELD = "icc-profile-data", "exif-data"  # libvips' names for these pieces of metadata
DECODE_ERRORS = (
    pyvips.Error,
    ValueError,
    EOFError,
    SyntaxError,
    RuntimeError,
    OSError,
)  # pillow-heif documents the rest
NOT_OUT_OF_MEMORY = re.compile(  # a phrase of libvips, and two refusals by libheif
    "copy to memory|memory allocation error: (security limit|invalid image size).*"
)

pyvips.concurrency_set(1)
pyvips.cache_set_max(0)  # no picture is rendered twice in a row
pyvips.block_untrusted_set(True)


@contextmanager
def translate_errors(kind: type[GalleryError]) -> Iterator[None]:
    """Raises the libraries' many errors as `MemoryError`, as `NoRoom` (the disk is full), else as `kind`."""
    try:
        yield
    except DECODE_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        if "memory" in NOT_OUT_OF_MEMORY.sub("", reason.lower()):
            raise MemoryError(reason) from error
        if os.strerror(errno.ENOSPC).lower() in reason.lower():
            raise NoRoom(reason=reason) from error
        raise kind(reason=reason) from error


def metadata_blob(picture: Picture, name: str) -> bytes:
    """A piece of metadata, or b""."""
    value = picture.get(name) if picture.get_typeof(name) else b""
    return value if isinstance(value, bytes) else b""


def with_profile(picture: Picture, profile: bytes | None) -> Picture:
    if not profile:
        return picture
    copy = picture.copy()
    copy.set_type(pyvips.GValue.blob_type, PROFILE_FIELD, profile)
    return copy
