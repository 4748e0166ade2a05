"""Pictures on demand: kept ones at once, others made within bounds.

A picture is made once for all who wait for it: in this process by a common task, among processes by its claim in the
database. What it costs is bounded for each client by a budget of rendering time, and for all by the slots: so many at
once, so many waiting.
"""

import asyncio
from contextlib import suppress

import structlog

from gallery.adapters.valkey.budgets import Budgets
from gallery.background import cancel_and_wait
from gallery.delivery.fair_slots import FairSlots
from gallery.delivery.picture_maker import PictureMaker, PictureOrder, RenderTime
from gallery.delivery.picture_rows import PictureRows
from gallery.delivery.picture_store import MAX_STRIKES, PictureId, PictureRow
from gallery.delivery.refusal_pacing import RefusalPacing
from gallery.errors import PictureBudgetSpent, PictureCannotBeMade, PictureNotMade, PicturesBusy, ValkeyUnavailable
from gallery.ops import metrics
from gallery.settings import PicturesSettings

log = structlog.get_logger(__name__)

ESTIMATED_SECONDS = 0.2  # taken from the budget before the work, and corrected after it
MAX_WAIT_SECONDS = 10.0  # for a slot
POLL_SECONDS = 0.05  # while another process makes the picture
MAX_ROUNDS = 3  # of waiting for another process that then gives up


class PicturesOnDemand:
    def __init__(self, rows: PictureRows, maker: PictureMaker, budgets: Budgets, settings: PicturesSettings) -> None:
        self._rows = rows
        self._maker = maker
        self._budgets = budgets
        self._seconds = settings.budget
        self._deadline = settings.deadline
        self._slots = FairSlots(settings.concurrency, settings.queue)
        self._refusals = RefusalPacing()
        self._under_way: dict[PictureId, asyncio.Task[PictureRow]] = {}
        self._corrections: set[asyncio.Task[None]] = set()

    async def get(self, order: PictureOrder, client: str) -> PictureRow:
        """The row of the kept picture, made now if need be at the expense of `client`.

        Raises `PictureBudgetSpent`, `PicturesBusy`, `PictureNotMade`, `PictureCannotBeMade`, other `Rejected` errors of
        the original, `ImageNotFound` when it was deleted meanwhile, `Unavailable`.
        """
        row = await self._rows.find(order.id)
        if row is not None and row.key:
            return row
        _check_strikes(row)
        try:
            return await self._make_once(order, client)
        except (PicturesBusy, PictureBudgetSpent) as error:
            metrics.PICTURES_REFUSED.add("queue" if isinstance(error, PicturesBusy) else "budget")
            await self._refusals.wait(client)
            raise

    async def get_again(self, order: PictureOrder, lost: PictureRow, client: str) -> PictureRow:
        """The same after the object of the row `lost` was found to be missing or damaged. Raises as `get` does."""
        log.warning("picture.object_lost", key=lost.key)
        await self._rows.forget(order.id, lost)
        return await self.get(order, client)

    @property
    def renderers_opened(self) -> bool:
        return self._maker.renderers_opened

    async def close(self) -> None:
        """Ends the work under way, and the renderers."""
        await cancel_and_wait(*self._under_way.values())
        await cancel_and_wait(*self._corrections)
        await self._maker.close()

    async def _make_once(self, order: PictureOrder, client: str) -> PictureRow:
        """Joins the task that makes this picture, or starts one. It goes on when its clients leave."""
        task = self._under_way.get(order.id)
        if task is None:
            if not self._slots.has_room(client):
                raise PicturesBusy(waiting=self._slots.waiting)
            await self._spend(client)
            task = self._under_way.get(order.id)
            if task is not None:  # another request has started it meanwhile
                self._correct(client, -ESTIMATED_SECONDS)
            else:
                task = self._start(order, client)
        return await asyncio.shield(task)

    def _start(self, order: PictureOrder, client: str) -> "asyncio.Task[PictureRow]":
        task = self._under_way[order.id] = asyncio.create_task(self._make_at_expense_of(client, order))
        task.add_done_callback(lambda _: self._under_way.pop(order.id))
        task.add_done_callback(_retrieve_exception)
        return task

    async def _make_at_expense_of(self, client: str, order: PictureOrder) -> PictureRow:
        render_time = RenderTime()
        try:
            return await self._make(order, client, render_time)
        finally:
            self._correct(client, render_time.seconds - ESTIMATED_SECONDS)

    async def _make(self, order: PictureOrder, client: str, render_time: RenderTime) -> PictureRow:
        for _ in range(MAX_ROUNDS):
            async with self._slots.hold(client, MAX_WAIT_SECONDS):
                row = await self._maker.make(order, render_time)
            if row is not None:
                self._rows.keep(order.id, row)
                return row
            row = await self._wait_for_others(order)
            if row is not None and row.key:
                return row
            _check_strikes(row)
        raise PictureNotMade(image=order.image.id, rounds=MAX_ROUNDS)

    async def _wait_for_others(self, order: PictureOrder) -> PictureRow | None:
        """Waits while another process makes the picture, without a slot of this one. Raises `PicturesBusy`."""
        try:
            async with asyncio.timeout(self._deadline + MAX_WAIT_SECONDS):
                return await self._poll(order)
        except TimeoutError as error:
            raise PicturesBusy(image=order.image.id) from error

    async def _poll(self, order: PictureOrder) -> PictureRow | None:
        while (row := await self._rows.read(order.id)) is not None and row.being_made:  # noqa: ASYNC110  made elsewhere
            await asyncio.sleep(POLL_SECONDS)
        return row

    async def _spend(self, client: str) -> None:
        """Raises `PictureBudgetSpent`. Without Valkey only the slots bound the work."""
        with suppress(ValkeyUnavailable):
            wait = await self._budgets.try_spend(client, ESTIMATED_SECONDS)
            if wait:
                raise PictureBudgetSpent(seconds=self._seconds, retry=max(1, round(wait + 0.5)), client=client)

    def _correct(self, client: str, seconds: float) -> None:
        """Corrects what the client has spent, while its request is answered."""

        async def correct() -> None:
            with suppress(ValkeyUnavailable):
                await self._budgets.correct(client, seconds)

        task = asyncio.create_task(correct(), name="budget of pictures")
        self._corrections.add(task)
        task.add_done_callback(self._corrections.discard)


def _check_strikes(row: PictureRow | None) -> None:
    """Raises `PictureCannotBeMade`."""
    if row is not None and row.strikes >= MAX_STRIKES:
        raise PictureCannotBeMade


def _retrieve_exception(task: "asyncio.Task[PictureRow]") -> None:
    """So that asyncio does not report an error that no client waited for: the maker has logged it."""
    if not task.cancelled():
        task.exception()
