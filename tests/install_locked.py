"""`.venv/bin/python tests/install_locked.py requirements.lock`: pip's install with visible progress.

Prints a line for each package, and a dot for every two seconds without output from pip.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE

DOT_INTERVAL_SECONDS = 2.0


async def main(lock: str) -> int:
    print(f"Installing the packages of {lock}; this takes a minute or two.")  # noqa: T201
    pip = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--require-hashes", "-r", lock), stdout=PIPE
    )
    assert pip.stdout
    while line := await read_line_with_dots(pip.stdout):
        show(line.decode())
    return await pip.wait()


async def read_line_with_dots(output: asyncio.StreamReader) -> bytes:
    """The next line; empty at the end."""
    while True:
        try:
            return await asyncio.wait_for(output.readline(), DOT_INTERVAL_SECONDS)
        except TimeoutError:
            print(".", end="", flush=True)  # noqa: T201


def show(line: str) -> None:
    first, _, rest = line.partition(" ")
    if first in {"Collecting", "Processing", "Building"}:
        print(" ", first, rest.partition(" (from")[0].strip(), flush=True)  # noqa: T201
    elif first == "Installing":
        print("  Unpacking", rest.count(",") + 1, "packages ", end="", flush=True)  # noqa: T201
    elif first == "Successfully":
        print(" done", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
