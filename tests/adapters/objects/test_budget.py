"""The bytes being sent are bounded, and served in order."""

import asyncio

import pytest

from gallery.adapters.objects.budget import Budget


async def use(budget: Budget, size: int, current: list[int], peaks: list[int]) -> None:
    async with budget.acquire(size):
        current.append(size)
        peaks.append(sum(current))
        await asyncio.sleep(0.001)
        current.remove(size)


async def test_the_budget_is_never_exceeded_and_all_requests_are_served():
    budget, current, peaks = Budget(10), [], []
    await asyncio.gather(*(use(budget, size, current, peaks) for size in [3, 7, 1, 10, 5, 5, 2] * 20))
    assert len(peaks) == 140
    assert 7 < max(peaks) <= 10


async def test_a_request_larger_than_the_budget_runs_alone():
    budget, current, peaks = Budget(10), [], []
    await asyncio.gather(*(use(budget, size, current, peaks) for size in [4, 50, 4]))
    assert max(peaks) == 50
    assert sorted(peaks)[-2] <= 8


async def test_a_small_request_does_not_overtake_a_waiting_large_one():
    budget, order = Budget(10), []

    async def acquire(name: str, size: int) -> None:
        async with budget.acquire(size):
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(acquire("first", 6), acquire("large", 10), acquire("small", 1))
    assert order == ["first", "large", "small"]


@pytest.mark.parametrize("pause", [0, 0.005])
async def test_a_cancelled_wait_takes_no_bytes(pause):
    budget = Budget(10)
    async with budget.acquire(10):
        waiting = [asyncio.create_task(use(budget, 10, [], [])) for _ in range(3)]
        await asyncio.sleep(pause)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # just when its bytes are granted
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert done[2] is None
    async with asyncio.timeout(1), budget.acquire(10):
        pass
