"""Scratch space: no files stay behind after any kind of end."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gallery.errors import FileGone, RendererFailed
from gallery.local_disk.scratch import open_outputs, open_scratch, work_folder


@pytest.fixture(autouse=True)
def temporary_root(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_with_its_job_and_its_process(temporary_root):
    with open_scratch() as scratch:
        with work_folder(scratch) as folder:
            (folder / "original").write_bytes(b"x")
        assert list(scratch.iterdir()) == []
        assert scratch.stat().st_mode & 0o077 == 0
    assert list(temporary_root.iterdir()) == []


def test_only_leftovers_of_dead_processes_are_removed(temporary_root):
    code = "import os, signal; from gallery.local_disk.scratch import open_scratch\nwith open_scratch() as s: {}"
    environment = {**os.environ, "TMPDIR": str(temporary_root)}
    command = [sys.executable, "-c", code.format("print(s, flush=True); input()")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        others = Path(living.stdout.readline().strip())
        killing = [sys.executable, "-c", code.format("print(s, flush=True); os.kill(os.getpid(), signal.SIGKILL)")]
        output = subprocess.run(killing, env=environment, stdout=subprocess.PIPE, text=True, check=False).stdout
        left = Path(output.strip())
        assert left.exists()
        with open_scratch() as mine, open_scratch() as another:
            assert not left.exists()
            assert others.exists()
            assert mine.exists()
            assert another != mine
        living.communicate("\n")
    assert list(temporary_root.iterdir()) == []


def test_folders_of_a_version_without_locks_are_left_alone(temporary_root):
    (temporary_root / f"gallery-work-{os.getppid()}-abc").mkdir()
    with open_scratch():
        assert (temporary_root / f"gallery-work-{os.getppid()}-abc").exists()


def test_files_of_a_renderer_are_opened(temporary_root):
    (temporary_root / "320.webp").write_bytes(b"pixels")
    with open_outputs(temporary_root, ["320.webp"]) as files:
        assert [file.read() for file in files] == [b"pixels"]
    assert all(file.closed for file in files)
    with pytest.raises(FileGone), open_outputs(temporary_root, ["960.webp"]):
        pass


@pytest.mark.parametrize("trap", ["link", "folder for a file", "pipe", "linked folder"])
def test_anything_but_a_file_of_a_renderer_is_refused(temporary_root, trap):
    """Through a link from a renderer its worker would publish a file that only the worker may read."""
    secret, folder = temporary_root / "secret", temporary_root / "folder"
    secret.mkdir()
    (secret / "320.webp").write_bytes(b"password")
    if trap == "linked folder":
        folder.symlink_to(secret)
    else:
        folder.mkdir()
        make = {"link": lambda path: path.symlink_to(secret / path.name), "pipe": os.mkfifo}.get(trap, Path.mkdir)
        make(folder / "320.webp")
    with pytest.raises(RendererFailed), open_outputs(folder, ["320.webp"]):
        pass
