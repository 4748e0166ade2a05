"""The examples of README.md and docs/start.md, run in the checkout as they stand; they leave nothing there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from check_docs import tracked_files
from gallery_processes import base_environment
from test_api_docs import BASE_URL, SHELL_OPTIONS

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```(sh|js|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = {"js": 'node "$EXAMPLES/{}.mjs"\n', "python": 'python "$EXAMPLES/{}.py"\n'}
SUFFIXES = {"js": "mjs", "python": "py"}


def examples(page: str) -> list[tuple[str, str]]:
    """Language and code of each example; without those that start Gallery, since it runs already."""
    found = FENCED.findall((ROOT / page).read_text())
    return [(language, code) for language, code in found if not code.startswith("make run")]


@pytest.fixture
def checkout(tmp_path):
    """A copy of the tracked files."""
    for path in tracked_files():
        copy = tmp_path / "checkout" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "checkout"


@pytest.fixture
def reader(stack, checkout, tmp_path):
    """Runs a page's examples in one shell, in the checkout, and then a last command; returns their output."""

    def read(page: str, last: str) -> str:
        before = all_paths(checkout)
        shell = "".join(block(number, *example) for number, example in enumerate(examples(page)))
        out = run(SHELL_OPTIONS + shell.replace(BASE_URL, stack.url) + last)
        assert all_paths(checkout) == before
        return out

    def block(number: int, language: str, code: str) -> str:
        if language == "sh":
            return code
        (tmp_path / f"{number}.{SUFFIXES[language]}").write_text(code.replace(BASE_URL, stack.url))
        return COMMANDS[language].format(number)

    def run(script: str) -> str:
        (tmp_path / "tmp").mkdir()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**base_environment(), "PATH": path, "TMPDIR": str(tmp_path / "tmp"), "EXAMPLES": str(tmp_path)}
        with (tmp_path / "out").open("w") as out:
            shell = subprocess.Popen(
                ["bash", "-c", script], cwd=checkout, env=environment, stdout=out, stderr=out, start_new_session=True
            )
            code = shell.wait(timeout=60)
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
        output = (tmp_path / "out").read_text()
        assert code == 0, output
        return output

    return read


def all_paths(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_the_examples_of_the_readme_work_and_leave_no_files(reader):
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed.")
    output = reader("README.md", "ls\n")
    assert output.splitlines()[-1] == "photo.jpg"
    assert '"title":"Lake"' in output, "curl"
    assert re.search(r"READY /api/v1/images/.*960w", output), "JavaScript"
    assert re.search(r"^READY Lake 1120 \d+$", output, re.MULTILINE), "Python"


def test_the_examples_of_start_work_and_leave_no_files(reader):
    output = reader("docs/start.md", 'ls "$photos"\nsleep 2\n')  # the stream goes on behind the last command
    assert "lake.jpeg\nlake.webp\npage.html\nphoto.jpg\n" in output
    assert '"title":"Lake"' in output
    assert '"srcset"' in output
    assert "event: image.uploaded\n" in output


@pytest.mark.parametrize(("page", "curls"), [("README.md", 1), ("docs/start.md", 7)])
def test_the_examples_are_all_there(page, curls):
    assert "".join(code for _, code in examples(page)).count("curl ") == curls
