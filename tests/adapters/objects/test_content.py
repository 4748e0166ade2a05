"""The whole content of a file in memory: mapped where no other process can shorten the file, else copied."""

import os

import pytest

from gallery.adapters.objects.content import CHUNK_BYTES, PrivateFile, read_all

LARGE = os.urandom(CHUNK_BYTES + 4321)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, len(LARGE)])
def test_a_private_file_is_read_as_it_was_written(size):
    with PrivateFile() as file:
        file.write(LARGE[:size])
        content = read_all(file)
    assert bytes(content) == LARGE[:size], "the last bytes too, which are not in the file yet"


def test_a_large_private_file_is_not_copied():
    with PrivateFile() as file:
        file.write(LARGE)
        content = read_all(file)
        os.pwrite(file.fileno(), b"other bytes", 0)
        assert content[:11] == b"other bytes"


def test_a_private_file_has_no_name():
    with PrivateFile() as file:
        assert os.fstat(file.fileno()).st_nlink == 0


def test_a_file_that_another_process_shortens_stays_whole_in_memory(tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(LARGE)
    with path.open("rb") as file:
        content = read_all(file)
    os.truncate(path, 0)
    assert content[:] == LARGE
