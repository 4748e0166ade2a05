"""Pictures that harm who renders them, and pictures that take long."""

import asyncio

import httpx

import photos
from doors import SECRET, a_token, shown
from faults.city import City, survives
from faults.load import TLS
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery

MEMORY = 256 * 1024 * 1024  # of a renderer
LARGE = 5  # pictures of forty megapixels
READY = """
    SELECT image.owner, image.id::text FROM event JOIN image ON image.id = event.image_id
    WHERE type = 'image.ready' ORDER BY number
"""


async def test_a_picture_that_eats_all_memory_among_many_healthy_ones(city):
    """It fails after three strikes; nobody else has one."""
    city.environment["GALLERY_WORKER__MEMORY"] = str(MEMORY)

    async def fault(city: City) -> None:
        healthy = [asyncio.create_task(city.load.upload()) for _ in range(city.form.healthy)]
        city.load.failing.add(await city.load.upload(photos.a_greedy_gif()))
        await asyncio.gather(*healthy)

    await survives(city, fault)
    async with open_gallery(Settings.read(city.direct)) as gallery, gallery.database.primary() as db:
        struck = await db.fetch("SELECT DISTINCT image_id::text FROM timeline WHERE stage = 'strike'")
    assert {row["image_id"] for row in struck} == city.load.failing


async def test_small_pictures_are_not_starved_by_large_ones(city):
    """One owner's large pictures all wait before another's small ones come; and then they take turns."""
    await city.start_api(GALLERY_ACCESS__JWT_SECRET=SECRET)
    large = photos.a_forty_megapixel_photo()
    await _upload(city, "large", [large + number.to_bytes(4, "big") for number in range(LARGE)])
    await _upload(city, "small", [city.load.a_photo() for _ in range(city.form.backlog)])
    await city.start_worker()
    async with open_gallery(Settings.read(city.direct)) as gallery:
        ends = await _ends(gallery, LARGE + city.form.backlog)
    seen_of_large = 0
    for place, owner in enumerate(ends[: 2 * LARGE]):
        seen_of_large += owner == "large"
        assert seen_of_large <= (place + 1) // 2 + 2, ends


async def _upload(city: City, owner: str, contents: list[bytes]) -> None:
    headers = shown(a_token(owner))
    async with httpx.AsyncClient(base_url=city.url, headers=headers, timeout=60, verify=TLS) as client:
        for content in contents:
            answer = await client.post("/api/v1/images", files={"file": ("a.jpg", content)})
            assert answer.status_code == 201, answer.text


async def _ends(gallery: Gallery, count: int) -> list[str]:
    """Whose images became READY, in order."""
    async with asyncio.timeout(20 + count):
        while True:
            async with gallery.database.primary() as db:
                rows = await db.fetch(READY)
            if len(rows) == count:
                return [row["owner"] for row in rows]
            await asyncio.sleep(0.2)
