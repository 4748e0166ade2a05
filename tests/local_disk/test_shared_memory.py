"""Memory that processes of one machine share."""

import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from gallery.local_disk.shared_memory import open_shared_memory, shared_memory_path

SIZE = 4096
WRITE_AND_WAIT = """
import sys, time
from gallery.local_disk.shared_memory import open_shared_memory
with open_shared_memory(sys.argv[1], 4096) as memory:
    memory.cast("Q")[3] = 7
    print("written", flush=True)
    time.sleep(60)
"""
OPEN_ON_A_FULL_DISK = """
import resource, sys
from gallery.local_disk.shared_memory import open_shared_memory
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
with open_shared_memory(sys.argv[1], 4096):
    pass
"""


@pytest.fixture
def name():
    return str(uuid.uuid4())


@pytest.fixture
def writer(name):
    """Another process, which has written a word and holds the memory."""
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_WAIT, name], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        yield process
        process.kill()
    shared_memory_path(name).unlink(missing_ok=True)


def test_processes_share_it(name, writer):
    with open_shared_memory(name, SIZE) as memory:
        assert memory.cast("Q")[3] == 7


def test_the_last_process_removes_the_file(name):
    path = shared_memory_path(name)
    with open_shared_memory(name, SIZE):
        with open_shared_memory(name, SIZE) as memory:
            memory[0] = 1
        assert path.exists(), "another one uses it"
        assert path.stat().st_mode & 0o777 == 0o600
        with open_shared_memory(name, SIZE) as memory:
            assert memory[0] == 1
    assert not path.exists()


def test_what_a_killed_process_has_left_is_zeros_for_the_next(name, writer):
    writer.kill()
    writer.wait()
    assert shared_memory_path(name).exists()
    with open_shared_memory(name, SIZE) as memory:
        assert bytes(memory) == bytes(SIZE)
    assert not shared_memory_path(name).exists()


def test_a_file_of_another_version_is_replaced(name):
    path = shared_memory_path(name)
    path.write_bytes(b"x" * (SIZE + 8))
    path.chmod(0o600)
    with open_shared_memory(name, SIZE) as memory:
        assert bytes(memory) == bytes(SIZE)


def test_a_file_of_another_kind_is_refused(name, tmp_path):
    path, target = shared_memory_path(name), tmp_path / "target"
    target.touch(mode=0o600)
    path.symlink_to(target)
    try:
        with pytest.raises(OSError, match="symbolic"), open_shared_memory(name, SIZE):
            pass
    finally:
        path.unlink()
    assert target.stat().st_size == 0
    path.touch()
    path.chmod(0o660)  # others may write to it
    try:
        with pytest.raises(PermissionError), open_shared_memory(name, SIZE):
            pass
    finally:
        path.unlink()


def test_a_full_file_system_is_an_error_and_not_a_signal(name):
    ended = subprocess.run([sys.executable, "-c", OPEN_ON_A_FULL_DISK, name], check=False, capture_output=True)
    shared_memory_path(name).unlink()
    assert ended.returncode == 1
    assert b"OSError: the file system is full" in ended.stderr


def test_without_a_file_system_in_memory_it_is_a_temporary_file(name, monkeypatch):
    monkeypatch.setattr("gallery.local_disk.shared_memory.MEMORY_FOLDER", Path("/missing"))
    with open_shared_memory(name, SIZE):
        assert shared_memory_path(name).parent == Path(tempfile.gettempdir())
        assert shared_memory_path(name).exists()
