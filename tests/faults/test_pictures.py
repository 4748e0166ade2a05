"""Pictures that harm their renderer, and pictures that take long."""

import asyncio

import httpx

import photos
from credentials import JWT_SECRET, bearer_headers, make_token
from faults.deployment import Deployment, check_survives
from faults.intensity import in_full_only
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery
from http_clients import TLS_CONTEXT

RENDERER_MEMORY_BYTES = 256 * 1024 * 1024
LARGE_COUNT = 5  # of forty megapixels
READY_OWNERS = """
    SELECT image.owner, image.id::text FROM event JOIN image ON image.id = event.image_id
    WHERE type = 'image.ready' ORDER BY number
"""


@in_full_only
async def test_a_picture_that_exhausts_memory_among_many_healthy_ones(deployment):
    """It fails after three strikes; no other image has one."""
    deployment.environment["GALLERY_WORKER__MEMORY"] = str(RENDERER_MEMORY_BYTES)

    async def fault(deployment: Deployment) -> None:
        healthy = [asyncio.create_task(deployment.load.upload()) for _ in range(deployment.intensity.healthy_images)]
        deployment.load.failing.add(await deployment.load.upload(photos.a_greedy_gif()))
        await asyncio.gather(*healthy)

    await check_survives(deployment, fault)
    async with open_gallery(Settings.read(deployment.direct_environment)) as gallery, gallery.database.primary() as db:
        struck = await db.fetch("SELECT DISTINCT image_id::text FROM timeline WHERE stage = 'strike'")
    assert {row["image_id"] for row in struck} == deployment.load.failing


@in_full_only
async def test_small_pictures_are_not_starved_by_large_ones(deployment):
    """One owner's large pictures all wait before another's small ones are uploaded; then the owners alternate."""
    await deployment.start_api(GALLERY_ACCESS__JWT_SECRET=JWT_SECRET)
    large = photos.a_forty_megapixel_photo()
    await _upload(deployment, "large", [large + number.to_bytes(4, "big") for number in range(LARGE_COUNT)])
    await _upload(deployment, "small", [deployment.load.make_photo() for _ in range(deployment.intensity.small_images)])
    await deployment.start_worker()
    async with open_gallery(Settings.read(deployment.direct_environment)) as gallery:
        ends = await _wait_for_ready(gallery, LARGE_COUNT + deployment.intensity.small_images)
    large_count = 0
    for number, owner in enumerate(ends[: 2 * LARGE_COUNT]):
        large_count += owner == "large"
        assert large_count <= (number + 1) // 2 + 2, ends


async def _upload(deployment: Deployment, owner: str, contents: list[bytes]) -> None:
    headers = bearer_headers(make_token(owner))
    async with httpx.AsyncClient(base_url=deployment.url, headers=headers, timeout=60, verify=TLS_CONTEXT) as client:
        for content in contents:
            answer = await client.post("/api/v1/images", files={"file": ("a.jpg", content)})
            assert answer.status_code == 201, answer.text


async def _wait_for_ready(gallery: Gallery, count: int) -> list[str]:
    """The owners of READY images, in order."""
    async with asyncio.timeout(20 + count):
        while True:
            async with gallery.database.primary() as db:
                rows = await db.fetch(READY_OWNERS)
            if len(rows) == count:
                return [row["owner"] for row in rows]
            await asyncio.sleep(0.2)
