"""A Node developer's end-to-end test with supertest: the flow of the NestJS backends that Gallery replaces."""

import asyncio
import shutil
from pathlib import Path

import pytest

import gallery_processes
import photos

SUPERTEST_DIR = Path(__file__).parents[1] / "supertest"
NODE = shutil.which("node")
INSTALLED = (SUPERTEST_DIR / "node_modules" / "supertest").is_dir()

pytestmark = pytest.mark.skipif(
    NODE is None or not INSTALLED,
    reason="supertest is not installed: it takes Node.js 20 or newer and npm, then tests/install-tools",
)


async def test_the_flow_of_a_node_developer_holds(environment, s3, tmp_path):
    bucket = {**s3, "S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-supertest"}
    photo = tmp_path / "lake.jpg"
    photo.write_bytes(photos.a_jpeg())
    async with gallery_processes.api({**environment, **bucket}, tmp_path) as stack:
        code, output = await run_node_tests({"GALLERY_URL": stack.url, "PHOTO": str(photo)})
    assert code == 0, output
    assert "# pass 6" in output
    assert "# skipped 0" in output


async def run_node_tests(environment: dict[str, str]) -> tuple[int | None, str]:
    """The exit code of all tests in the folder, and their output (TAP)."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        "--test",
        "--test-reporter=tap",
        cwd=SUPERTEST_DIR,
        env={**gallery_processes.base_environment(), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
