"""The README's first examples, run in the checkout as they stand: they work, and leave nothing there."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from check_docs import ours
from processes import surroundings
from test_api_docs import ADDRESS, STRICT

ROOT = Path(__file__).parents[1]
FIRST = (ROOT / "README.md").read_text().partition("## Run it\n")[2].partition("\n## ")[0]
SH = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [code for code in SH.findall(FIRST) if code != "make run\n"]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what is tracked."""
    for path in ours():
        copy = tmp_path / "checkout" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "checkout"


def everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_the_first_examples_work_and_leave_nothing_in_the_checkout(stack, checkout, tmp_path):
    before = everything(checkout)
    script = STRICT + "".join(BLOCKS).replace(ADDRESS, stack.url) + 'ls "$photos"\n'
    (tmp_path / "tmp").mkdir()
    environment = {**surroundings(), "TMPDIR": str(tmp_path / "tmp")}
    with (tmp_path / "out").open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=checkout, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        code = shell.wait(timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)  # the stream would go on for half a minute
    said = (tmp_path / "out").read_text()
    assert code == 0, said
    assert said.splitlines()[-3:] == ["lake.jpeg", "lake.webp", "photo.jpg"]
    assert '"status":"PENDING"' in said
    assert '"srcset"' in said
    assert everything(checkout) == before


def test_the_examples_are_all_there():
    assert "".join(BLOCKS).count("curl") == 6
