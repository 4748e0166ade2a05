"""What is sent at once is bounded in bytes, and comes in its order."""

import asyncio

import pytest

from gallery.adapters.objects.budget import Budget


async def use(budget: Budget, size: int, current: list[int], peaks: list[int]) -> None:
    async with budget.acquire(size):
        current.append(size)
        peaks.append(sum(current))
        await asyncio.sleep(0.001)
        current.remove(size)


async def test_no_more_than_the_budget_is_taken_at_once_and_all_come_to_their_turn():
    budget, now, most = Budget(10), [], []
    await asyncio.gather(*(use(budget, size, now, most) for size in [3, 7, 1, 10, 5, 5, 2] * 20))
    assert len(most) == 140
    assert 7 < max(most) <= 10


async def test_what_is_larger_than_the_budget_goes_alone():
    budget, now, most = Budget(10), [], []
    await asyncio.gather(*(use(budget, size, now, most) for size in [4, 50, 4]))
    assert max(most) == 50
    assert sorted(most)[-2] <= 8


async def test_nothing_small_overtakes_a_large_one_that_waits():
    budget, order = Budget(10), []

    async def go(name: str, size: int) -> None:
        async with budget.acquire(size):
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(go("first", 6), go("large", 10), go("small", 1))
    assert order == ["first", "large", "small"]


@pytest.mark.parametrize("pause", [0, 0.005])
async def test_a_cancelled_turn_takes_no_bytes(pause):
    budget = Budget(10)
    async with budget.acquire(10):
        waiting = [asyncio.create_task(use(budget, 10, [], [])) for _ in range(3)]
        await asyncio.sleep(pause)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # in the moment in which it is let in
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert done[2] is None
    async with asyncio.timeout(1), budget.acquire(10):
        pass
