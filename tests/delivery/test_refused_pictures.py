"""Requests for new pictures that are refused: each is counted, whenever it is refused."""

import asyncio
import time

import pytest

import photos
from factories import upload_image
from gallery.adapters.valkey.budgets import Budget, Budgets
from gallery.delivery import pictures
from gallery.delivery.picture_maker import PictureOrder
from gallery.delivery.picture_rows import PictureRows
from gallery.delivery.pictures import PicturesOnDemand
from gallery.delivery.refusal_pacing import AT_ONCE, PER_SECOND
from gallery.errors import PictureBudgetSpent, PicturesBusy
from gallery.rendering.picture_spec import PictureSpec
from gallery.rendering.probe import Format
from gallery.settings import CacheSettings, PicturesSettings
from scraping import scrape

BUDGET = Budget(1, 60)


class StuckMaker:
    """Makes no picture, for ever."""

    async def make(self, order, render_time):
        await asyncio.Event().wait()

    async def close(self):
        pass


@pytest.fixture
async def image(gallery):
    return await upload_image(gallery, photos.a_jpeg())


@pytest.fixture
async def on_demand(gallery):
    """One renderer, which is stuck; four may wait, one of each caller."""
    budgets = Budgets(gallery.valkey, "pictures", BUDGET)
    rows = PictureRows(gallery.database, CacheSettings())
    on_demand = PicturesOnDemand(rows, StuckMaker(), budgets, PicturesSettings(concurrency=1, queue=4))
    yield on_demand
    await on_demand.close()


def order(image, number):
    return PictureOrder(image, PictureSpec(format=Format.WEBP, quality=80), f"digest {number}")


async def refused(client, bound):
    return (await scrape(client)).value("pictures_refused_total", bound=bound)


async def test_a_wait_that_takes_too_long_is_refused_and_counted(client, image, on_demand, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_WAIT_SECONDS", 0.1)
    before = await refused(client, "queue")
    rendering = asyncio.create_task(on_demand.get(order(image, 1), "maya"))
    await asyncio.sleep(0.05)
    with pytest.raises(PicturesBusy):
        await on_demand.get(order(image, 2), "maya")
    assert await refused(client, "queue") == before + 1
    rendering.cancel()


async def test_each_request_that_waited_for_the_same_picture_is_counted(client, image, on_demand, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_WAIT_SECONDS", 0.1)
    before = await refused(client, "queue")
    rendering = asyncio.create_task(on_demand.get(order(image, 1), "maya"))
    await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*(on_demand.get(order(image, 2), "tom") for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PicturesBusy] * 3
    assert await refused(client, "queue") == before + 3
    rendering.cancel()


async def test_a_full_share_of_the_queue_is_counted(client, image, on_demand):
    before = await refused(client, "queue")
    asking = [asyncio.create_task(on_demand.get(order(image, number), "maya")) for number in range(2)]
    await asyncio.sleep(0.2)
    with pytest.raises(PicturesBusy):
        await on_demand.get(order(image, 2), "maya")
    assert await refused(client, "queue") == before + 1
    for task in asking:
        task.cancel()


@pytest.mark.parametrize("cause", ["queue", "budget"])
async def test_a_client_that_ignores_its_refusals_is_answered_at_a_fixed_rate(gallery, image, on_demand, cause):
    """Eight requests at once, each sent again as soon as it is refused."""
    if cause == "budget":
        await Budgets(gallery.valkey, "pictures", BUDGET).correct("maya", 5)
        asking = []
    else:
        asking = [asyncio.create_task(on_demand.get(order(image, number), "maya")) for number in range(2)]
        await asyncio.sleep(0.2)

    async def ask_five_times(first):
        for number in range(first, first + 5):
            with pytest.raises((PicturesBusy, PictureBudgetSpent)):
                await on_demand.get(order(image, number), "maya")

    began = time.monotonic()
    await asyncio.gather(*(ask_five_times(10 * (number + 1)) for number in range(8)))
    assert time.monotonic() - began >= (40 - AT_ONCE - 1) / PER_SECOND
    for task in asking:
        task.cancel()


async def test_a_spent_budget_is_counted(gallery, client, image, on_demand):
    before = await refused(client, "budget")
    await Budgets(gallery.valkey, "pictures", BUDGET).correct("maya", 5)
    with pytest.raises(PictureBudgetSpent):
        await on_demand.get(order(image, 1), "maya")
    assert await refused(client, "budget") == before + 1
