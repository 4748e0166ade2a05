"""The program `gallery-renderer`: a renderer's Python, without its worker's environment.

`multiprocessing` gives a child its parent's whole environment, secrets included; only the program to start can be
chosen. This program drops the secrets and replaces itself by the real interpreter, so it imports little.
"""

import os
import sys

ALLOWED_VARIABLES = ("PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
ALLOWED_PREFIXES = ("LC_", "PYTHON", "VIPS_", "MALLOC_")


def main() -> None:
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], filtered_environment(os.environ))  # noqa: S606  arguments of this program itself


def filtered_environment(environment: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """The variables that a renderer needs: those that locate and tune programs and libraries."""
    return {n: value for n, value in environment.items() if n in ALLOWED_VARIABLES or n.startswith(ALLOWED_PREFIXES)}
