"""Budgets of work: shared by all processes, never overrun for long."""

import asyncio

import pytest

from gallery.adapters.valkey.budgets import Budget, Budgets
from gallery.adapters.valkey.client import open_valkey


@pytest.fixture
async def valkey(settings):
    async with open_valkey(settings.redis) as valkey:
        yield valkey


async def test_a_client_spends_its_budget_and_then_waits(valkey):
    budgets = Budgets(valkey, "pictures", Budget(10, 60))
    spent = [await budgets.try_spend("maya", 2.5) for _ in range(4)]
    assert spent == [0, 0, 0, 0]
    assert 14 < await budgets.try_spend("maya", 2.5) < 15.1  # a quarter of the period
    assert await budgets.try_spend("tom", 2.5) == 0


async def test_an_overrun_has_to_be_paid_off_first(valkey):
    budgets = Budgets(valkey, "pictures", Budget(10, 60))
    assert await budgets.try_spend("maya", 0.2) == 0
    await budgets.correct("maya", 14.8)  # it took 15 seconds: 5 more than the budget, which are 30 of the period
    assert 30 < await budgets.try_spend("maya", 0.2) < 31.3


async def test_what_was_not_needed_is_given_back(valkey):
    budgets = Budgets(valkey, "pictures", Budget(1, 60))
    for _ in range(20):
        assert await budgets.try_spend("maya", 1) == 0
        await budgets.correct("maya", -1)
    await budgets.correct("maya", -5)  # no more than there was
    assert await budgets.try_spend("maya", 1) == 0
    assert await budgets.try_spend("maya", 1) > 0


async def test_several_processes_share_a_budget(valkey):
    several = [Budgets(valkey, "pictures", Budget(10, 3600)) for _ in range(4)]
    waits = await asyncio.gather(*(budgets.try_spend("maya", 1) for budgets in several * 5))
    assert waits.count(0) == 10


async def test_a_budget_comes_back_with_time(valkey):
    budgets = Budgets(valkey, "pictures", Budget(1, 1))
    assert await budgets.try_spend("maya", 1.2) == 0  # more than the budget, but nothing was spent
    wait = await budgets.try_spend("maya", 0.1)
    assert wait > 0
    await asyncio.sleep(wait + 0.05)
    assert await budgets.try_spend("maya", 0.1) == 0


async def test_a_refused_client_is_refused_again_without_asking_valkey(settings):
    async with open_valkey(settings.redis) as valkey:
        budgets = Budgets(valkey, "pictures", Budget(10, 10))
        await budgets.correct("maya", 10.5)
        first = await budgets.try_spend("maya", 0.1)
    assert 0 < await budgets.try_spend("maya", 0.1) < first  # the connection is closed


async def test_a_refused_client_may_spend_again_when_it_was_told(valkey):
    budgets = Budgets(valkey, "pictures", Budget(10, 10))
    await budgets.correct("maya", 10.2)
    wait = await budgets.try_spend("maya", 0.1)
    assert 0.2 < wait < 0.4
    await asyncio.sleep(wait)
    assert await budgets.try_spend("maya", 0.1) == 0
