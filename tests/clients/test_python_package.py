"""The Python client as a package: what it needs, and the examples of its pages."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import photos
from gallery_processes import base_environment

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "python"
FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE_URL = "http://127.0.0.1:3000"


def test_the_client_needs_httpx_and_msgspec_alone():
    dependencies = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = {re.match(r"\w+", dependency)[0] for dependency in dependencies}
    imported = {name for path in CLIENT.rglob("*.py") for name in imports(ast.parse(path.read_text()))}
    assert imported - sys.stdlib_module_names - {"gallery_client"} == named == {"httpx", "msgspec"}


def imports(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain} | {
        node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }


@pytest.mark.parametrize(
    ("page", "expected"), [("clients/python/README.md", "READY http"), ("docs/app/python.md", "404 ")]
)
def test_the_examples_of_a_page_work_as_they_stand(stack, tmp_path, page, expected):
    (tmp_path / "photo.jpg").write_bytes(photos.a_jpeg(640, 480, comment=os.urandom(8)))
    code = "".join(FENCED.findall((ROOT / page).read_text())).replace(BASE_URL, stack.url)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**base_environment(), "PYTHONPATH": str(CLIENT / "src")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_the_first_upload_takes_few_lines():
    first = FENCED.findall((CLIENT / "README.md").read_text())[0]
    assert len(first.splitlines()) <= 15


def test_programs_of_users_are_checked(tmp_path):
    """The package says that it is typed, and its types find a wrong name."""
    (tmp_path / "program.py").write_text(
        "from gallery_client import AsyncGallery, Gallery\n"
        "with Gallery('http://x', token='y') as g:\n"
        "    reveal_type(g.upload('a.jpg', title='Lake', focus=(0.5, 0.5)))\n"
        "    reveal_type([image.width for image in g.images(search='lake', limit=5)])\n"
        "    g.upload('a.jpg', titel='Lake')\n"
        "async def main() -> None:\n"
        "    async with AsyncGallery('http://x') as g:\n"
        "        reveal_type(await g.wait('id'))\n"
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path, "program.py"],
        cwd=tmp_path,
        env={**base_environment(), "MYPYPATH": str(CLIENT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.findall(r'Revealed type is "([^"]*)"', done.stdout) == [
        "gallery_client.models.Image",
        "list[int | None]",
        "gallery_client.models.Image",
    ], done.stdout
    assert re.findall(r"error: (.*)  \[", done.stdout) == [
        'Unexpected keyword argument "titel" for "upload" of "Gallery"; did you mean "title"?'
    ], done.stdout
