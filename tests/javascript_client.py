"""The JavaScript client: built from its sources as they are, and run in Node."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import gallery_processes

FOLDER = Path(__file__).parents[1] / "clients" / "javascript"
DIST = FOLDER / "dist"
NODE = shutil.which("node")
REASON = "the JavaScript client cannot be built: it takes Node.js 20 or newer and npm, then tests/install-tools"


def build() -> Path:
    """The folder with the modules that are published. Skips the test where they cannot be built."""
    if NODE is None or not (FOLDER / "node_modules" / "typescript").is_dir():
        pytest.skip(REASON)
    lock = Path(tempfile.gettempdir()) / f"gallery-client-{hashlib.sha256(bytes(FOLDER)).hexdigest()[:16]}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # of all test processes, one builds
        if not _is_built():
            shutil.rmtree(DIST, ignore_errors=True)
            program = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
            done = subprocess.run([NODE, program, "-p", FOLDER], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout
    return DIST


def _is_built() -> bool:
    sources = [*(FOLDER / "src").rglob("*.ts*"), FOLDER / "tsconfig.json"]
    built = DIST / "index.js"
    return built.exists() and built.stat().st_mtime > max(source.stat().st_mtime for source in sources)


async def run_tests(file: Path, environment: Mapping[str, str] = {}, seconds: float = 60) -> str:
    """Run the tests of a file by `node --test`, of which none may fail; returns their output (TAP)."""
    build()
    code, output = await run_node(["--test", "--test-reporter=tap", str(file)], environment, seconds)
    assert code == 0, output
    assert "# pass 0\n" not in output, "the file has no test"
    return output


async def evaluate(script: str, environment: Mapping[str, str] = {}) -> Any:
    """What a module prints, as JSON."""
    build()
    code, output = await run_node(["--input-type=module", "--eval", script], environment)
    assert code == 0, output
    return json.loads(output)


async def run_node(
    arguments: list[str], environment: Mapping[str, str], seconds: float = 60, folder: Path = FOLDER
) -> tuple[int | None, str]:
    """The exit code, and all output."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        *arguments,
        cwd=folder,
        env={**gallery_processes.base_environment(), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"not ended after {seconds} seconds:\n{output.decode()}") from None
    return process.returncode, output.decode()
