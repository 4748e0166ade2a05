"""Reads a renderer's results as untrusted input.

`multiprocessing` reads pickles, and a pickle can call any function. A malicious picture that has taken over a renderer
could so run code in the worker, which nothing confines. Therefore a renderer's pickles may name only the types of
results and errors; any other name is replaced by `UntrustedObject`, which does nothing.
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
    "gallery.renderers.confinement": {"Confinement"},
    "gallery.rendering.rendered": {"Rendered", "RenderedPicture", "Rendition"},
    "gallery.rendering.probe": {"Format"},
}


class UntrustedObject(Exception):
    """Replaces an object or an error of a type that is not allowed."""


class RestrictedContext(SpawnContext):
    """Makes pipes whose parent end reads with `restricted_loads`; the child's end is the usual one."""

    def Pipe(self, duplex: bool = True) -> "tuple[Connection, Connection]":  # noqa: N802
        reader, writer = super().Pipe(duplex)

        def receive() -> Any:
            return restricted_loads(reader.recv_bytes())

        reader.recv = receive  # type: ignore[method-assign]  # of this instance only
        return reader, writer


def restricted_loads(data: bytes) -> Any:
    """The unpickled object. Raises `PicklingError`."""
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
