"""Holds the lock files to what the README promises: an install needs no compiler.

`python tests/check_wheels.py` resolves the lock files together with uv, for each Python and each machine that we
support, from wheels alone and by the pinned hashes. It installs nothing, prints each package that would have to be
built, and then ends with 1.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINES = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
PIN_PATTERN = re.compile(r"^(?P<name>[a-z0-9-]+)==.*(?:\n +--hash=.*)*\n", re.MULTILINE)
FROM_SOURCE = {"pyvips"}  # has no wheels; its source is Python, and it finds pyvips-binary when it is imported
REASON_PATTERN = re.compile(r"Because (.+?)(?: and you require .+)?, we can conclude", re.DOTALL)


def main() -> int:
    found = sorted(set(find_problems(merge_locks(path.read_text() for path in ROOT.glob("requirements*.lock")))))
    for line in found:
        print(line)  # noqa: T201
    return 1 if found else 0


def merge_locks(locks: Iterable[str]) -> str:
    """Each pin once; files that pin different versions cannot be resolved together, which is a complaint too."""
    return "".join(dict.fromkeys(pin[0] for lock in locks for pin in PIN_PATTERN.finditer(lock)))


def pythons() -> list[str]:
    """The versions that the package's classifiers name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = (each.rpartition(" :: ")[2] for each in project["classifiers"] if "Programming Language" in each)
    return [version for version in versions if "." in version]


def find_problems(lock: str) -> Iterator[str]:
    """A line for each package that some machine would have to build."""
    machines = list(product(pythons(), MACHINES))
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda machine: find_unmet(lock, *machine), machines)
    for (python, machine), reasons in zip(machines, answers, strict=True):
        yield from (f"CPython {python}, {machine}: {reason}" for reason in reasons)


def base_environment() -> dict[str, str]:
    """Ours, and for uv the certificates that pip was told to trust."""
    certificates = {"SSL_CERT_FILE": os.environ["PIP_CERT"]} if "PIP_CERT" in os.environ else {}
    return {**certificates, **os.environ}


def find_unmet(lock: str, python: str, machine: str) -> list[str]:
    """Why `lock` cannot be installed there from wheels."""
    from_wheels = PIN_PATTERN.sub(lambda pin: "" if pin["name"] in FROM_SOURCE else pin[0], lock)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--no-build", "--no-header"),
            *("--python", sys.executable, "--python-version", python, "--python-platform", machine),
            *("--format", "pylock.toml", "-"),
        ],
        input=from_wheels,
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        reason = REASON_PATTERN.search(said)
        return [reason[1] if reason else said]
    return [
        f"{package['name']}=={package['version']} has a wheel, but not its hash in the lock file"
        for package in tomllib.loads(done.stdout)["packages"]
        if not any(f"--hash=sha256:{wheel['hashes']['sha256']}" in lock for wheel in package["wheels"])
    ]


if __name__ == "__main__":
    sys.exit(main())
