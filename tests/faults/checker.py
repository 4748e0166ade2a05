"""What must be true at the end of every fault, told from the history of what was acknowledged."""

import asyncio
from collections import Counter, defaultdict

import httpx

from faults.load import TERMINAL, Heard, Load
from gallery.images.verify import Progress
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery

SETTLED = "SELECT count(*) FROM image WHERE deleted_at IS NULL AND status IN ('PENDING', 'PROCESSING')"
READY = "SELECT id::text, sha256 FROM image WHERE deleted_at IS NULL AND status = 'READY'"
NEEDED = "SELECT key FROM object WHERE remove_after IS NULL"


async def check(environment: dict[str, str], url: str, load: Load, listeners: list[Heard]) -> None:
    """Waits until everything is settled, a minute at most. `environment` leads to the servers themselves."""
    assert load.acknowledged, "nothing was uploaded"
    async with open_gallery(Settings.read(environment)) as gallery:
        await _settled(gallery)
        await _rows(gallery, load)
        await _objects(gallery)
    await _heard(load, listeners)
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def _settled(gallery: Gallery) -> None:
    async with asyncio.timeout(60):
        while await _value(gallery, SETTLED):
            await asyncio.sleep(0.1)


async def _rows(gallery: Gallery, load: Load) -> None:
    """Every acknowledged upload is READY with the bytes that were sent; and there is one image for each upload."""
    async with gallery.database.reading() as db:
        ready = {row["id"]: row["sha256"] for row in await db.fetch(READY)}
    assert ready == load.acknowledged


async def _objects(gallery: Gallery) -> None:
    """What rows need is there, whole; what is there is known."""
    await gallery.sweep.run()
    assert [finding async for finding in gallery.verify.differences()] == []
    assert [said async for said in gallery.verify.originals() if not isinstance(said, Progress)] == []
    stored = {
        found.key
        for part in ("original", "renditions")
        async for batch in gallery.objects.list(part)
        for found in batch
    }
    async with gallery.database.reading() as db:
        known = {row["key"] for row in await db.fetch("SELECT key FROM object")}
        needed = {row["key"] for row in await db.fetch(NEEDED)}
    assert needed <= stored <= known


async def _heard(load: Load, listeners: list[Heard]) -> None:
    """Each listener was told once of each image's end, by rising ids, and of rising versions."""
    for heard in listeners:
        async with asyncio.timeout(30):
            while {image for type_, image, _ in heard.events if type_ in TERMINAL} < set(load.acknowledged):
                await asyncio.sleep(0.1)
        assert heard.resets == 0
        assert heard.ids == sorted(set(heard.ids)), "ids are unique and rise"
        ends = Counter(image for type_, image, _ in heard.events if type_ in TERMINAL)
        assert set(ends.values()) == {1}
        versions = defaultdict(list)
        for _, image, version in heard.events:
            versions[image].append(version)
        assert all(seen == sorted(set(seen)) for seen in versions.values())
    assert len({tuple(heard.events) for heard in listeners}) == 1, "everybody was told the same"


async def _value(gallery: Gallery, statement: str) -> int:
    async with gallery.database.reading() as db:
        return int(await db.fetchval(statement) or 0)
