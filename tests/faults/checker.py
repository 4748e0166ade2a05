"""The invariants at the end of every fault, checked against the history of acknowledged requests."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

import httpx

from factories import stored_keys
from faults.load import TERMINAL_TYPES, Load, ReceivedEvents
from gallery.maintenance.verify import VerifyProgress
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery
from http_clients import TLS_CONTEXT

SETTLE_TIMEOUT_SECONDS = 90  # for the next image: ten strikes with their backoff, on two cores
UNSETTLED = """
    SELECT count(*) FROM image
    WHERE deleted_at IS NULL AND (work_state IS NOT NULL OR status IN ('PENDING', 'PROCESSING'))
"""
ROWS = "SELECT id::text, status, sha256, error_code, error_message FROM image WHERE deleted_at IS NULL"
OBJECT_ROWS = "SELECT key, remove_after FROM object"
IDEMPOTENT_UPLOADS = "SELECT image_id::text FROM idempotency WHERE status = 201"


async def check(environment: dict[str, str], url: str, load: Load, listeners: Sequence[ReceivedEvents]) -> None:
    """Wait until everything is settled, then check. `environment` leads to the servers without proxies."""
    assert load.acknowledged, "nothing was uploaded"
    async with open_gallery(Settings.read(environment)) as gallery:
        await wait_until_none(lambda: _count(gallery, UNSETTLED))
        await _check_rows(gallery, load)
        await _check_idempotency(gallery)
        await _check_objects(gallery)
    await _check_events(load, listeners)
    async with httpx.AsyncClient(base_url=url, timeout=15, verify=TLS_CONTEXT) as client:
        assert (await client.get("/livez")).status_code == 200
        async with asyncio.timeout(SETTLE_TIMEOUT_SECONDS):
            while (await client.get("/readyz")).status_code != 200:  # a machine that stalls for a second is not ready
                await asyncio.sleep(0.2)
        for image in sorted(load.deleted)[:20]:
            assert (await client.get(f"/api/v1/images/{image}")).status_code == 404, "a delete is final"


async def wait_until_none(count: Callable[[], Awaitable[int]]) -> None:
    """Waits until `count` returns 0. Raises `TimeoutError` when it has not fallen for `SETTLE_TIMEOUT_SECONDS`."""
    lowest = await count()
    while lowest:
        async with asyncio.timeout(SETTLE_TIMEOUT_SECONDS):
            while (left := await count()) >= lowest:
                await asyncio.sleep(0.1)
        lowest = left


async def _check_rows(gallery: Gallery, load: Load) -> None:
    """Every acknowledged upload is READY with the bytes that were sent, or deleted; there are no other images.

    An upload that got no answer is stored whole, or not at all.
    """
    async with gallery.database.primary() as db:
        rows = {row["id"]: row for row in await db.fetch(ROWS)}
    unanswered = {
        image for image in rows.keys() - load.acknowledged.keys() if rows[image]["sha256"] in load.abandoned_hashes
    }
    kept = {image: sha256 for image, sha256 in load.acknowledged.items() if image not in load.deleted}
    assert {image: rows[image]["sha256"] for image in rows.keys() - unanswered} == kept
    failed = {
        image: (row["error_code"], row["error_message"]) for image, row in rows.items() if row["status"] == "FAILED"
    }
    assert failed.keys() == load.failing, failed
    assert {row["status"] for row in rows.values()} <= {"READY", "FAILED"}


async def _check_idempotency(gallery: Gallery) -> None:
    async with gallery.database.primary() as db:
        images = [row["image_id"] for row in await db.fetch(IDEMPOTENT_UPLOADS)]
    assert len(images) == len(set(images))


async def _check_objects(gallery: Gallery) -> None:
    """Every needed object exists, whole; every existing object is needed, or about to be removed."""
    async with asyncio.timeout(20):
        while (
            await gallery.sweep.plan()
        ).removed:  # the workers sweep too, and each removes the keys that it has marked
            await gallery.sweep.run()
    assert [finding async for finding in gallery.verify.differences()] == []
    assert [finding async for finding in gallery.verify.originals() if not isinstance(finding, VerifyProgress)] == []
    stored = await stored_keys(gallery)
    async with gallery.database.primary() as db:
        rows = await db.fetch(OBJECT_ROWS)
    needed, recorded = {row["key"] for row in rows if row["remove_after"] is None}, {row["key"] for row in rows}
    assert needed <= stored
    assert stored <= recorded


async def _check_events(load: Load, listeners: Sequence[ReceivedEvents]) -> None:
    """Each listener got the end of each image once, with rising ids and versions; and all got the same."""
    expected = {(image, TERMINAL_TYPES) for image in load.acknowledged.keys() - load.deleted}
    expected |= {(image, ("image.deleted",)) for image in load.deleted}
    for received in listeners:
        await _wait_until(lambda received=received: received.describe_missing(expected))
    await _wait_until(lambda: len({len(received.events) for received in listeners}) > 1)
    for received in listeners:
        _check_history(received)
    assert len({tuple(received.events) for received in listeners}) <= 1, "all listeners got the same events"


def _check_history(received: ReceivedEvents) -> None:
    assert received.resets == 0
    assert received.ids == sorted(set(received.ids)), "ids are unique and rise"
    terminal = Counter(image for type_, image, _ in received.events if type_ in TERMINAL_TYPES)
    assert set(terminal.values()) <= {1}, "one terminal event for each image"
    versions, gone = defaultdict(list), set()
    for type_, image, version in received.events:
        assert image not in gone, f"{type_} after image.deleted"
        versions[image].append(version)
        if type_ == "image.deleted":
            gone.add(image)
    assert all(seen == sorted(set(seen)) for seen in versions.values()), "versions rise"


async def _wait_until(missing: Callable[[], object]) -> None:
    """Wait until nothing is missing, half a minute at most."""
    deadline = asyncio.get_running_loop().time() + 30
    while found := missing():
        assert asyncio.get_running_loop().time() < deadline, f"not received: {found}"
        await asyncio.sleep(0.2)


async def _count(gallery: Gallery, statement: str) -> int:
    async with gallery.database.primary() as db:
        return int(await db.fetchval(statement) or 0)
