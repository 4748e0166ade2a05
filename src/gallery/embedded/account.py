"""As whom a server runs when we are root, which PostgreSQL refuses to be."""

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
    "--securebits=+no_setuid_fixup",  # access(2), which PostgreSQL asks about its programs, counts capabilities only so
)
REQUIRED_CAPABILITIES = 1 << 1 | 1 << 8  # CAP_DAC_OVERRIDE and, for the securebits, CAP_SETPCAP: linux/capability.h


@dataclass(frozen=True)
class Account:
    """An ordinary user."""

    name: str
    uid: int
    gid: int

    @classmethod
    def find(cls, user: str | None) -> "Account | None":
        """None if we are not root: then the servers run as we do."""
        if os.geteuid() != 0:
            return None
        for name in [user] if user else ["postgres", "nobody"]:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, entry.pw_uid, entry.pw_gid)
        raise CannotStart(f"PostgreSQL does not run as root, and there is no user {user or 'nobody'} to run it as.")

    def for_path(self, path: Path) -> "Account":
        """Who runs a server on `path`: the user who owns it; this one if it is root's, just made or copied by root."""
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
        """What to put before the program so that it runs as this user on a directory of its own, wherever both lie.

        A clone beneath /root (mode 0700) is closed to an ordinary user. Instead of opening the user's directories we
        leave the server the one capability that looks past file modes, only where it is needed. PostgreSQL refuses
        user 0, not capabilities; root in a container has what this takes, unless told otherwise. Raises `CannotStart`.
        """
        setpriv = shutil.which("setpriv", path=f"/usr/bin:/bin:{os.environ.get('PATH', '')}")
        if setpriv is None:
            raise CannotStart(
                "PostgreSQL does not run as root, and setpriv (of util-linux) is not there to change that."
            )
        closed = next(
            (path for path in _traversed_paths(program, directory) if not path.stat().st_mode & stat.S_IXOTH), None
        )
        if closed and _own_capabilities() & REQUIRED_CAPABILITIES != REQUIRED_CAPABILITIES:
            raise CannotStart(
                f"PostgreSQL does not run as root, and the user {self.name} may not pass {closed}: "
                "start as an ordinary user, or put the data directory and the virtualenv elsewhere."
            )
        caps = CAPABILITY_OPTIONS if closed else ()
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *caps, "--"]


def _traversed_paths(program: Path, directory: Path) -> list[Path]:
    """What one has to pass in order to run `program` and to stand in `directory`, from the root downwards."""
    program, directory = program.resolve(), directory.resolve()
    return [*reversed(directory.parents), *reversed(program.parents), program]


def _own_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
