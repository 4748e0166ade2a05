"""Slots for work: bounded, and shared in turns."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from gallery.delivery.fair_slots import FairSlots
from gallery.errors import PicturesBusy

SOON = 5.0  # seconds; longer than any wait here takes


class Work:
    """Pieces of work that hold their slot until they are told to end; `order` lists whose began."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.ends: list[asyncio.Event] = []

    async def one(self, caller: str) -> None:
        async with self.slots.hold(caller, SOON):
            self.order.append(caller)
            end = asyncio.Event()
            self.ends.append(end)
            await end.wait()


async def _started(work, *callers):
    tasks = []
    for caller in callers:
        tasks.append(asyncio.create_task(work.one(caller)))
        await asyncio.sleep(0)
    return tasks


async def _end_all(work, tasks):
    while not all(task.done() for task in tasks):
        for end in work.ends:
            end.set()
        await asyncio.sleep(0)


async def test_waiting_callers_are_served_in_turns():
    work = Work(FairSlots(1, 40))
    tasks = await _started(work, *["flood"] * 6, "maya", "tom")
    await _end_all(work, tasks)
    assert work.order[:4] == ["flood", "flood", "maya", "tom"]
    assert work.order[4:] == ["flood"] * 4


async def test_no_more_work_is_under_way_than_there_are_slots():
    work = Work(FairSlots(2, 40))
    tasks = await _started(work, *"abcd")
    assert work.order == ["a", "b"]
    work.ends[0].set()
    await asyncio.sleep(0.01)
    assert work.order == ["a", "b", "c"]
    await _end_all(work, tasks)


async def test_one_caller_may_fill_a_quarter_of_the_places():
    slots = FairSlots(1, 8)
    work = Work(slots)
    tasks = await _started(work, "flood", "flood", "flood")
    assert not slots.has_room("flood")
    assert slots.has_room("maya")
    with pytest.raises(PicturesBusy):
        async with slots.hold("flood", SOON):
            pass
    await _end_all(work, tasks)
    assert slots.has_room("flood")


async def test_all_callers_together_are_bounded():
    slots = FairSlots(1, 4)
    work = Work(slots)
    tasks = await _started(work, *"abcde")
    assert slots.waiting == 4
    assert not slots.has_room("f")
    await _end_all(work, tasks)


async def test_a_wait_ends_after_its_time_and_leaves_its_place():
    slots = FairSlots(1, 4)
    async with slots.hold("a", SOON):
        with pytest.raises(PicturesBusy):
            async with slots.hold("b", 0.01):
                pass
        assert slots.waiting == 0


async def test_a_cancelled_wait_loses_no_slot():
    slots = FairSlots(1, 4)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots.hold("a", SOON))
        waiting = asyncio.create_task(_hold_once(slots, "b"))
        await asyncio.sleep(0)
        await stack.aclose()  # the slot is passed on, and the one who waited is cancelled before it runs
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with slots.hold("c", SOON):
        assert not slots.waiting


async def _hold_once(slots, caller):
    async with slots.hold(caller, SOON):
        pass
