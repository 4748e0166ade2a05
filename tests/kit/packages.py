"""Packages of npm and PyPI that only the tests of this folder use, installed by their locks when a test needs them."""

import asyncio
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

QUIET_NPM = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
INSTALL_SECONDS = 300
ROOT = Path(__file__).resolve().parents[2]


async def install_npm(folder: Path) -> Path:
    """Installs what the `package-lock.json` in this folder names, if need be. Returns its `node_modules`.

    Skips the test where there is no npm.
    """
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    installed = modules / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        await run(npm(), "ci", *QUIET_NPM, cwd=folder, seconds=INSTALL_SECONDS)
    return modules


async def install_python(lock: Path, folder: Path) -> Path:
    """A new virtual environment in `folder` with the packages of the lock, by their hashes. Returns its `bin`."""
    await run(sys.executable, "-m", "venv", folder)
    install = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock)
    await run(*install, cwd=folder, seconds=INSTALL_SECONDS)
    return folder / "bin"


def npm() -> str:
    found = shutil.which("npm")
    if not found:
        pytest.skip("There is no npm.")
    return found


async def run(*command: object, cwd: Path | None = None, seconds: float = 120, **environment: str) -> str:
    """The program's output. Fails the test with all that it has written, unless it ends with 0 in time."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail(f"{command[0]} has not ended within {seconds} seconds.")
    text = output.decode(errors="replace")
    assert process.returncode == 0, f"{' '.join(map(str, command))}\n{text}"
    return text


async def install_python_client(folder: Path) -> Path:
    """A new environment with the wheel of the Python client, and the packages that it needs from this one."""
    build = ("--no-deps", "--no-build-isolation", "--quiet", "-w", folder, ROOT / "clients" / "python")
    await run(sys.executable, "-m", "pip", "wheel", *build)
    [wheel] = folder.glob("*.whl")
    environment = folder / "venv"
    await run(sys.executable, "-m", "venv", environment)
    await run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    [packages] = (environment / "lib").glob("*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return environment
