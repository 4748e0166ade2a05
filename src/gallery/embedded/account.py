"""The user that runs a server when Gallery is started as root, because PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from gallery.errors import CannotStart

CAPABILITY_OPTIONS = (
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",  # without it access(2), with which PostgreSQL checks programs, ignores them
)
REQUIRED_CAPABILITIES = 1 << 1 | 1 << 8  # CAP_DAC_OVERRIDE and, for the securebits, CAP_SETPCAP: linux/capability.h


@dataclass(frozen=True)
class Account:
    """An ordinary user of this machine."""

    name: str
    uid: int
    gid: int

    @classmethod
    def find(cls, user: str | None) -> "Account | None":
        """None if this process is not root: then the servers run as its user. Raises `CannotStart`."""
        if os.geteuid() != 0:
            return None
        for name in [user] if user else ["postgres", "nobody"]:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, entry.pw_uid, entry.pw_gid)
        raise CannotStart(f"PostgreSQL cannot run as root, and the user {user or 'nobody'} does not exist: create it.")

    def for_path(self, path: Path) -> "Account":
        """The user that runs a server on `path`: its owner, or this one if root has just made or copied the path."""
        owner = path.stat()
        if owner.st_uid != 0:
            return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
        try:
            for inner in [*path.rglob("*"), path]:
                os.chown(inner, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            raise CannotStart(f"{path} cannot be given to the user {self.name}: {error.strerror}.") from None
        return self

    def launch_prefix(self, program: Path, directory: Path) -> list[str]:
        """The words before a command that make it run as this user in its `directory`, wherever both are.

        A clone under /root (mode 0700) is closed to an ordinary user. Its modes stay as they are: only then the server
        gets the one capability that overrides file modes. PostgreSQL refuses user 0, not capabilities; root in a
        container has the needed ones by default. Raises `CannotStart`.
        """
        setpriv = shutil.which("setpriv", path=f"/usr/bin:/bin:{os.environ.get('PATH', '')}")
        if setpriv is None:
            raise CannotStart("PostgreSQL cannot run as root, and setpriv is missing: install util-linux.")
        closed = next(
            (path for path in _traversed_paths(program, directory) if not path.stat().st_mode & stat.S_IXOTH), None
        )
        if closed and _own_capabilities() & REQUIRED_CAPABILITIES != REQUIRED_CAPABILITIES:
            raise CannotStart(
                f"PostgreSQL cannot run as root, and the user {self.name} has no access to {closed}: "
                "start as an ordinary user, or move the data directory and the virtualenv."
            )
        caps = CAPABILITY_OPTIONS if closed else ()
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *caps, "--"]


def _traversed_paths(program: Path, directory: Path) -> list[Path]:
    """The paths that a user needs access to in order to run `program` in `directory`, from the root downwards."""
    program, directory = program.resolve(), directory.resolve()
    return [*reversed(directory.parents), *reversed(program.parents), program]


def _own_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
