"""Scratch space: nothing stays behind, whoever died."""

import os
import subprocess
import sys
import tempfile

import pytest

from gallery.jobs.scratch import WORK, a_folder, open_scratch


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_work_and_with_its_process(elsewhere):
    with open_scratch() as scratch:
        with a_folder(scratch) as folder:
            (folder / "original").write_bytes(b"x")
        assert list(scratch.iterdir()) == []
        assert scratch.stat().st_mode & 0o077 == 0
    assert list(elsewhere.iterdir()) == []


def test_what_a_dead_process_has_left_goes_and_a_living_ones_stays(elsewhere):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (elsewhere / f"{WORK}{dead.pid}-x").mkdir()
    mine = elsewhere / f"{WORK}{os.getppid()}-x"
    mine.mkdir()
    with open_scratch():
        assert not (elsewhere / f"{WORK}{dead.pid}-x").exists()
        assert mine.exists()
