"""The examples of docs/api.md, run from top to bottom as a reader would: those in sh in one shell, those in Python too.

A block in any other language, such as ```text, is not run. The assertions of the Python examples are checked, and no
command in sh may fail.
"""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import photos
from gallery_processes import base_environment

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
FENCED = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
BASE_URL = "http://127.0.0.1:3000"
SEEDS = itertools.count(4242)  # each reader has another photo
SHELL_OPTIONS = "set -euo pipefail\n"


def examples(language: str) -> list[tuple[int, str]]:
    """Each with the line where it stands."""
    page = PAGE.read_text()
    return [
        (page.count("\n", 0, match.start(3)) + 1, match[3]) for match in FENCED.finditer(page) if match[2] == language
    ]


def script(language: str, address: str) -> str:
    """All examples of a language in order; after each, the script reports its line."""
    report = {"sh": "echo done {} >&3\n", "python": "print('done', {}, file=progress, flush=True)\n"}[language]
    start = {"sh": SHELL_OPTIONS, "python": "import os\nprogress = os.fdopen(3, 'w')\n"}[language]
    parts = (code.replace(BASE_URL, address) + report.format(line) for line, code in examples(language))
    return start + "".join(parts)


@pytest.fixture
def reader_folder(tmp_path):
    """The reader's working directory, with a photo."""
    (tmp_path / "photo.jpg").write_bytes(photos.a_jpeg(640, 480, seed=next(SEEDS)))
    return tmp_path


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_examples_work_as_they_stand(stack, reader_folder, language):
    command = {"sh": ["bash"], "python": [sys.executable, "-W", "error::SyntaxWarning"]}[language]
    file = reader_folder / f"examples.{language}"
    file.write_text(script(language, stack.url))
    done, progress = run([*command, str(file)], reader_folder)
    lines = [line for line, _ in examples(language)]
    reached = [int(line.split()[1]) for line in progress.splitlines()]
    failed = next((line for line in lines if line not in reached), None)
    assert done.returncode == 0, f"docs/api.md, line {failed}:\n{done.stdout}{done.stderr}"
    assert reached == lines
    assert len(lines) >= 8


def test_the_answers_are_those_that_the_page_shows(stack, reader_folder):
    """The examples in sh print the answers that the page promises: an image, a list, a status, a problem."""
    file = reader_folder / "examples.sh"
    file.write_text(script("sh", stack.url))
    done, _ = run(["bash", str(file)], reader_folder)
    assert "304\n" in done.stdout
    assert "404 application/problem+json\n" in done.stdout
    assert '"title":"Lake at dawn"' in done.stdout
    assert '"status":"ok"' in done.stdout


@pytest.mark.parametrize("call", ["POST", "GET", "PATCH", "DELETE"])
def test_each_kind_of_call_has_an_example_in_both(call):
    sh = "".join(code for _, code in examples("sh"))
    python = "".join(code for _, code in examples("python"))
    assert {"POST": "-F ", "GET": "curl -s"}.get(call, f"-X {call}") in sh
    assert f"api.{call.lower()}(" in python


def run(command: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """The progress comes by file descriptor 3."""
    progress = folder / "progress"
    with progress.open("w") as file:
        wrapped = ["bash", "-c", f'exec "$@" 3>&{file.fileno()}', "bash", *command]
        done = subprocess.run(
            wrapped,
            cwd=folder,
            env={**base_environment(), "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            pass_fds=[file.fileno()],
        )
    return done, progress.read_text()
