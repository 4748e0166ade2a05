"""The objects of a serving process that the garbage collector no longer visits."""

import gc
import signal

import pytest

from gallery.ops import collector
from gallery_processes import api

TELL_FROZEN = """
import gc, signal, sys

def tell(number, frame):
    print("visited", len(gc.get_objects()), "frozen", gc.get_freeze_count(), file=sys.stderr, flush=True)

signal.signal(signal.SIGUSR2, tell)
"""


class Held:
    pass


@pytest.fixture
def frozen():
    held = Held()
    collector.freeze()
    yield held
    gc.unfreeze()


def test_frozen_objects_are_not_visited_and_still_found(frozen):
    assert not any(one is frozen for one in gc.get_objects())
    assert any(one is frozen for one in collector.find_objects())
    assert not any(one is frozen for one in gc.get_objects()), "they are frozen again"


def test_finding_objects_freezes_none_where_none_were():
    collector.find_objects()
    assert gc.get_freeze_count() == 0


async def test_a_serving_process_has_frozen_what_lasts(environment, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(TELL_FROZEN)
    async with api(environment, tmp_path / "logs", PYTHONPATH=str(tmp_path)) as server:
        server.process.send_signal(signal.SIGUSR2)
        await server.wait_for_text("visited")
        [line] = [line for line in server.log_text().splitlines() if line.startswith("visited")]
        _, visited, _, frozen = line.split()
        assert int(frozen) > 100_000
        assert int(visited) < int(frozen) / 10
