"""The program `gallery-renderer`: the Python that a renderer runs in, without its worker's environment.

`multiprocessing` gives a child all of its parent's environment, where the secrets are, and lets nobody say otherwise;
what it lets be chosen is the program to start. This one replaces itself by the real interpreter, and imports little.
"""

import os
import sys

ALLOWED_VARIABLES = ("PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
ALLOWED_PREFIXES = ("LC_", "PYTHON", "VIPS_", "MALLOC_")


def main() -> None:
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], filtered_environment(os.environ))  # noqa: S606  our own arguments


def filtered_environment(environment: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """What a renderer needs of it: how to find programs and libraries, and how they are tuned."""
    return {n: value for n, value in environment.items() if n in ALLOWED_VARIABLES or n.startswith(ALLOWED_PREFIXES)}
