"""Confinement of renderers, which decode untrusted files: a renderer reads programs and libraries, and writes below its
scratch directory only.

On every system its environment holds no secret (`interpreter.py`). On Linux it also has no capabilities, even as root,
and can gain no privileges. Where the kernel has Landlock (https://docs.kernel.org/userspace-api/landlock.html), it
opens no other file, runs no program and inspects no other process; from Linux 6.7 on it opens no TCP connection, and
from 6.12 on it signals no other process.
"""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

LIBRARIES = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39  # linux/prctl.h
CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
CAPABILITIES = ctypes.c_uint32 * 6  # effective, permitted and inheritable; two words of 32 bits each
NETWORK_VERSION = 4  # the first version of Landlock that restricts TCP
CLOSED_PORT = 1  # a TCP port without a listener: refused, unless Landlock forbids the attempt


class Confinement(Struct, frozen=True):
    """The limits that are in force in a renderer, found by trying; true means restricted."""

    environment: list[str]  # the names of its variables
    privileges: bool  # no capabilities, and none to gain
    files: bool  # no files elsewhere
    programs: bool
    network: bool  # no TCP connections

    @property
    def missing(self) -> list[str]:
        return [name for name in ("privileges", "files", "programs", "network") if not getattr(self, name)]


def confine(scratch: Path, denied: Path) -> None:
    """Confines this process and its children for good; call it before the first thread starts.

    Files can be written below `scratch` only, and nothing below `denied` can be read. Raises `OSError`.
    """
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = None  # `tempfile` reads TMPDIR again
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _restrict(scratch, denied)
    if any(_capabilities()):  # skipped when there are none: a service manager's filter may refuse the call
        _check(libc.capset(_this_process(), CAPABILITIES()))


def weakness() -> str | None:
    """Why this process's renderers are confined only in part; `None` where Landlock supports all restrictions."""
    if sys.platform != "linux":
        return "This system has no Landlock."
    from py_landlock import Landlock, LandlockError  # noqa: PLC0415  only Linux has it

    try:
        version = Landlock(strict=False).abi_version
    except LandlockError as error:
        return f"Landlock cannot be used: {error}"
    return None if version >= NETWORK_VERSION else "This kernel's Landlock cannot restrict the network; Linux 6.7 can."


def examine() -> Confinement:
    """The confinement of this process."""
    return Confinement(
        environment=sorted(os.environ),
        privileges=_unprivileged(),
        files=_refused(partial(os.listdir, "/")),
        programs=_refused(partial(subprocess.run, ["true"], check=False)),
        network=_refused(partial(socket.create_connection, ("127.0.0.1", CLOSED_PORT), timeout=1)),
    )


def _restrict(scratch: Path, denied: Path) -> None:
    """Applies Landlock as far as the kernel and the service manager allow; `weakness` names the reason for a gap."""
    from py_landlock import AccessFs, Landlock, LandlockError  # noqa: PLC0415  only Linux has it

    with suppress(LandlockError):
        rules = Landlock(strict=False).allow_read_write(scratch)
        for path in _readable(denied):
            inside = AccessFs.READ_DIR if path.is_dir() else AccessFs(0)
            rules.add_path_rule(path, access=AccessFs.READ_FILE | inside)
        rules.add_path_rule(*DEVICES, access=AccessFs.READ_FILE | AccessFs.WRITE_FILE)
        rules.apply()


def _readable(denied: Path) -> Iterator[Path]:
    """Directories of programs and libraries, without an import directory that contains `denied` (as a checkout may)."""
    imported = [Path(text).resolve() for text in sys.path if text]
    fixed = [Path(text).resolve() for text in (*LIBRARIES, sys.prefix, sys.base_prefix)]
    for path in {*fixed, *(path for path in imported if not denied.is_relative_to(path))}:
        if path.exists():
            yield path


def _unprivileged() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 and not any(_capabilities())


def _capabilities() -> "ctypes.Array[ctypes.c_uint32]":
    capabilities = CAPABILITIES()
    _check(ctypes.CDLL(None, use_errno=True).capget(_this_process(), capabilities))
    return capabilities


def _this_process() -> "ctypes.Array[ctypes.c_uint32]":
    return (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
