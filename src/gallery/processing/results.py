"""What comes home from a renderer, read as a stranger's word.

`multiprocessing` reads pickles, and a pickle may have any function called. A renderer that a picture has taken over
would have its say in the worker, which nothing confines. So its pickles name what results and errors are made of, and
nothing else: in place of any other name there is `UntrustedObject`, which does nothing.
"""

import builtins
import io
import pickle
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any

from gallery import errors

ALLOWED_NAMES = {
    "pebble.pool.process": {"Acknowledgement", "TaskResult", "TaskProblem"},
    "pebble.common.types": {"Result", "ResultStatus", "RemoteException.rebuild_exception"},
    "gallery.errors": {"_rebuild"},
    "gallery.processing.confinement": {"Confinement"},
    "gallery.rendering.rendered": {"Rendered", "Rendition"},
    "gallery.rendering.probe": {"Format"},
}


class UntrustedObject(Exception):
    """A thing, or an error, of which nothing is known here."""


class RestrictedContext(SpawnContext):
    """Makes pipes at whose near end pickles are read so; what a child is given of them is as ever."""

    def Pipe(self, duplex: bool = True) -> "tuple[Connection, Connection]":  # noqa: N802
        reader, writer = super().Pipe(duplex)

        def receive() -> Any:
            return restricted_loads(reader.recv_bytes())

        reader.recv = receive  # type: ignore[method-assign]  # of this one alone
        return reader, writer


def restricted_loads(data: bytes) -> Any:
    """Raises `PicklingError`."""
    try:
        return _RestrictedUnpickler(io.BytesIO(data)).load()
    except Exception as error:
        raise pickle.PicklingError(str(error)) from error


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in ALLOWED_NAMES.get(module, ()) or _is_error(module, name):
            return super().find_class(module, name)
        return UntrustedObject


def _is_error(module: str, name: str) -> bool:
    source, kind = {"builtins": (builtins, BaseException), "gallery.errors": (errors, errors.GalleryError)}.get(
        module, (None, BaseException)
    )
    found = getattr(source, name, None)
    return isinstance(found, type) and issubclass(found, kind)
