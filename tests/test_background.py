"""Background tasks end with their block."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from gallery import background
from gallery.background import cancel_and_wait, run_in_background


async def ignore_cancellations(times):
    """Runs endlessly and swallows so many cancellations, as a loop around `asyncio.wait_for` may."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if times == 0:
                raise
            times -= 1


async def test_a_task_that_loses_a_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(background, "RECANCEL_SECONDS", 0.05)
    task = asyncio.create_task(ignore_cancellations(2))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancel_and_wait(task)
    assert task.cancelled()


async def test_a_task_may_clean_up():
    clean = False

    async def tidy():
        nonlocal clean
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0.1)
        clean = True

    async with run_in_background(tidy(), "tidy"):
        await asyncio.sleep(0)
    assert clean


async def test_the_task_ends_with_a_block_that_fails():
    with pytest.raises(ValueError, match="of the block"):
        async with run_in_background(ignore_cancellations(0), "beside"):
            await asyncio.sleep(0)
            raise ValueError("of the block")
    assert "beside" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_finished_task_keeps_its_result():
    task = asyncio.create_task(asyncio.sleep(0, "result"))
    await task
    await cancel_and_wait(task)
    assert task.result() == "result"


async def test_a_failure_is_logged_when_it_happens():
    async def fails():
        raise ValueError("a bug")

    with capture_logs() as logged:
        async with run_in_background(fails(), "heartbeat"):
            await asyncio.sleep(0.01)
            assert [(line["event"], line["task"]) for line in logged] == [("background.failed", "heartbeat")]
