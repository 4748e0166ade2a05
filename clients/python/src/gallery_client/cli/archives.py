"""Reads ZIP archives, which may be damaged, encrypted, or made to do harm: nothing of them is written to disk."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

# What zipfile raises for bytes that are no archive, for encrypted entries, and for methods that it does not know.
DAMAGES = (zipfile.BadZipFile, RuntimeError, UnicodeError, EOFError, zlib.error, lzma.LZMAError, struct.error)


def entries(path: Path) -> list[zipfile.ZipInfo]:
    """Raises `OSError`."""
    with _damage_is_an_os_error():
        return _archive(path, path.stat().st_mtime_ns).infolist()


@contextmanager
def open_entry(path: Path, name: str, number: int, crc: int) -> Iterator[BinaryIO]:
    """The entry of this name, number and CRC. Raises `OSError`, also for damages that are found in the block."""
    with _damage_is_an_os_error():
        archive = _archive(path, path.stat().st_mtime_ns)
        found = archive.infolist()[number : number + 1]
        if not found or (found[0].filename, found[0].CRC) != (name, crc):
            raise OSError("the archive has changed")
        with archive.open(found[0]) as file:
            yield cast("BinaryIO", file)  # it reads and seeks as any other


@lru_cache(maxsize=4)
def _archive(path: Path, version: int) -> zipfile.ZipFile:  # noqa: ARG001  another version is read anew
    """Kept open: reading the list of all entries for each one takes minutes in a large archive."""
    return zipfile.ZipFile(path)


@contextmanager
def _damage_is_an_os_error() -> Iterator[None]:
    try:
        yield
    except DAMAGES as error:
        raise OSError(f"the archive cannot be read: {error}") from error
