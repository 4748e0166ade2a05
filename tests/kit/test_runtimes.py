"""The JavaScript client in other runtimes than Node and browsers: Deno, Bun, and the emulation of an edge runtime."""

import json
import platform
import secrets
from pathlib import Path

import pytest

import javascript_client
import photos
from kit.packages import install_npm, run

FOLDER = Path(__file__).parent / "runtimes"
SIGNED = "/api/v1/images/ID/picture?w=800&kid=shop&exp=4102444800&sig="
LARGE_BYTES = 9_000_000


@pytest.fixture(scope="module")
async def modules() -> Path:
    javascript_client.build()
    return await install_npm(FOLDER)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """A photo, and a large one."""
    photo, large = tmp_path / "photo.jpg", tmp_path / "large.jpg"
    photo.write_bytes(photos.a_jpeg(640, 480, comment=secrets.token_hex(8).encode()))
    head = photos.a_jpeg(320, 240, comment=secrets.token_hex(8).encode())
    large.write_bytes(head + bytes(LARGE_BYTES - len(head)))
    return [photo, large]


def check(output: str, files: list[Path]) -> None:
    found = json.loads(output.splitlines()[-1])
    assert SIGNED in found.pop("signed")
    assert found.pop("progress") >= files[0].stat().st_size
    assert found.pop("types") == ["image.uploaded", "image.ready"]
    assert found == {
        "status": "READY",
        "size": LARGE_BYTES,
        "listed": ["Lake", "Large lake"],
        "error": [True, "version_mismatch", 412],
        "late": "AbortError",
    }


async def test_node(stack, modules, files):
    check(await run(javascript_client.NODE, FOLDER / "run.js", stack.url, *files), files)


async def test_deno(stack, modules, files):
    deno = _program(modules, "@deno/linux-*/deno")
    allowed = ("--allow-net", "--allow-read", "--no-prompt", "--no-config")
    check(await run(deno, "run", *allowed, FOLDER / "run.js", stack.url, *files, DENO_NO_UPDATE_CHECK="1"), files)


async def test_bun(stack, modules, files):
    check(await run(_program(modules, "@oven/bun-linux-*/bin/bun"), FOLDER / "run.js", stack.url, *files), files)


async def test_an_edge_runtime(stack, modules, files, tmp_path):
    esbuild = javascript_client.FOLDER / "node_modules/.bin/esbuild"
    bundle = tmp_path / "bundle.js"
    options = ("--bundle", "--format=iife", "--global-name=client", "--platform=neutral", f"--outfile={bundle}")
    await run(esbuild, FOLDER / "scenario.js", *options)
    check(await run(javascript_client.NODE, FOLDER / "edge.js", bundle, stack.url, *files), files)


def _program(modules: Path, pattern: str) -> Path:
    """Of the packages for this machine; their own start scripts would fetch one."""
    found = [path for path in modules.glob(pattern) if "musl" not in str(path)]
    if not found:
        pytest.skip(f"{pattern} is not published for {platform.machine()}")
    return found[0]
