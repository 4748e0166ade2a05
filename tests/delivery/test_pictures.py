"""Pictures on demand: made once, kept, bounded, and gone with their image."""

import asyncio
import io
import time
from contextlib import suppress

import httpx
import psutil
import pytest
from PIL import Image

import photos
from conftest import running_application, serve_api
from factories import CALLER, expire_pending_puts, stored_keys, upload_image
from gallery.delivery import picture_store
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing


@pytest.fixture
async def image(gallery, processing):
    """A READY photo of 1200 × 900."""
    uploaded = await upload_image(gallery, photos.a_jpeg(width=1200, height=900))
    await processing.process(uploaded.id)
    return await gallery.images.get(CALLER, uploaded.id)


@pytest.fixture
async def forgetful(environment, image):
    """A client of another application on the same data, which keeps nothing in memory."""
    async with running_application(environment, GALLERY_CACHE__RESPONSE_BYTES="0") as (_, client):
        yield client


def path(image, query: str = "w=200") -> str:
    return f"/api/v1/images/{image.id}/picture?{query}"


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


async def kept(gallery, image):
    """The sizes of the image's kept pictures."""
    async with gallery.database.primary() as db:
        rows = await db.fetch("SELECT key, size FROM picture WHERE image_id = $1 AND key IS NOT NULL", image.id)
    return {row["key"]: row["size"] for row in rows}


async def total(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT bytes FROM picture_total")


async def execute(gallery, statement, *arguments):
    async with gallery.database.writing() as db:
        await db.execute(statement, *arguments)


async def test_a_picture_has_the_requested_size_and_format(client, image):
    response = await client.get(path(image, "w=300&h=300&fit=cover&format=webp"))
    picture = opened(response)
    assert (picture.size, picture.format) == ((300, 300), "WEBP")
    assert response.headers["content-type"] == "image/webp"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not picture.getexif()


async def test_a_second_request_is_answered_from_the_store(gallery, client, image):
    first = await client.get(path(image))
    before = await kept(gallery, image)
    second = await client.get(path(image))
    assert second.content == first.content
    assert second.headers["etag"] == first.headers["etag"]
    assert await kept(gallery, image) == before
    assert list(before.values()) == [len(first.content)]
    assert await total(gallery) == len(first.content)


async def test_the_order_of_parameters_does_not_matter(gallery, client, image):
    await client.get(path(image, "w=200&q=60"))
    await client.get(path(image, "q=60&w=200"))
    assert len(await kept(gallery, image)) == 1


async def test_a_picture_answers_conditions_and_ranges_like_a_rendition(client, image):
    whole = await client.get(path(image))
    etag = whole.headers["etag"]
    assert (await client.get(path(image), headers={"If-None-Match": etag})).status_code == 304
    part = await client.get(path(image), headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    head = await client.head(path(image))
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["etag"] == etag


async def test_auto_is_the_best_format_that_the_client_names(client, image):
    async def get(accept):
        response = await client.get(path(image), headers={"Accept": accept})
        assert response.headers["vary"].lower().split(", ").count("accept") == 1
        return response.headers["content-type"]

    assert await get("image/avif,image/webp,*/*") == "image/avif"
    assert await get("image/webp,*/*;q=0.8") == "image/webp"
    assert await get("*/*") == "image/jpeg"
    fixed = await client.get(path(image, "w=200&format=png"), headers={"Accept": "image/webp"})
    assert fixed.headers["content-type"] == "image/png"
    assert "accept" not in fixed.headers.get("vary", "").lower().split(", ")


async def test_many_requests_for_one_new_picture_make_it_once(gallery, settings, image):
    """In two processes, by what the database and the renderers see: two applications with pools of their own."""
    async with (
        open_gallery(settings) as other,
        serve_api(gallery) as here,
        serve_api(other) as there,
        httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=100)) as client,
    ):
        urls = [base + path(image, "w=333") for base in (here, there)] * 50
        responses = await asyncio.gather(*(client.get(url) for url in urls))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert len(await kept(gallery, image)) == 1
    assert await _reservations(gallery, image) == 1


async def _reservations(gallery, image):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT count(*) FROM object WHERE image_id = $1 AND key LIKE 'pictures/%'", image.id)


async def test_a_deleted_image_takes_its_pictures_with_it(gallery, client, image):
    await client.get(path(image))
    [key] = await kept(gallery, image)
    assert key in await stored_keys(gallery)
    await client.delete(f"/api/v1/images/{image.id}")
    assert (await client.get(path(image))).status_code == 404
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    assert key not in await stored_keys(gallery)
    assert await kept(gallery, image) == {}
    assert await total(gallery) == 0


async def test_a_lost_object_is_made_again(gallery, client, image):
    first = await client.get(path(image, "w=700&format=png"))  # too large for the memory of responses
    [key] = await kept(gallery, image)
    await gallery.objects.delete([key])
    again = await client.get(path(image, "w=700&format=png"))
    assert again.content == first.content
    assert [*await kept(gallery, image)] != [key]
    assert await total(gallery) == len(again.content)


async def test_the_longest_unused_pictures_of_an_image_go_first(environment):
    more = {"GALLERY_PICTURES__MAX_PER_IMAGE": "2", "GALLERY_CACHE__RESPONSE_BYTES": "0"}
    async with running_application(environment, **more) as (gallery, client), open_processing(gallery) as processing:
        image = await _ready(gallery, processing)
        keys = []
        for width in (100, 110):
            await client.get(path(image, f"w={width}"))
            keys = [*keys, *(key for key in await kept(gallery, image) if key not in keys)]
        await execute(gallery, "UPDATE picture SET used_at = now() - interval '2 days' WHERE key = $1", keys[0])
        await execute(gallery, "UPDATE picture SET used_at = now() - interval '1 day' WHERE key = $1", keys[1])
        await client.get(path(image, "w=100"))  # is used again
        await client.get(path(image, "w=120"))
        left = await kept(gallery, image)
        assert len(left) == 2
        assert keys[0] in left
        assert keys[1] not in left
        await gallery.sweep.run()
        assert keys[1] not in await stored_keys(gallery) or await _is_released(gallery, keys[1])


async def _is_released(gallery, key):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT remove_after IS NOT NULL FROM object WHERE key = $1", key)


async def _ready(gallery, processing, **fields):
    uploaded = await upload_image(gallery, photos.a_jpeg(width=1200, height=900), **fields)
    await processing.process(uploaded.id)
    return await gallery.images.get(CALLER, uploaded.id)


async def test_the_sweep_evicts_the_longest_unused_beyond_the_bytes(gallery, client, image):
    for width in (100, 200, 300):
        await client.get(path(image, f"w={width}"))
    before = await kept(gallery, image)
    oldest, second, newest = sorted(before, key=before.get)
    await execute(gallery, "UPDATE picture SET used_at = now() - interval '2 days' WHERE key = $1", oldest)
    await execute(gallery, "UPDATE picture SET used_at = now() - interval '1 day' WHERE key = $1", second)
    async with gallery.database.writing() as db:
        await picture_store.evict(db, 500, max_bytes=sum(before.values()) - 1)
    assert set(await kept(gallery, image)) == {second, newest}
    async with gallery.database.writing() as db:
        await picture_store.evict(db, 500, max_bytes=before[newest])
    assert set(await kept(gallery, image)) == {newest}
    assert await total(gallery) == before[newest]


async def test_a_spent_budget_is_429_with_its_policy(environment):
    more = {"GALLERY_PICTURES__BUDGET": "0.1"}
    async with running_application(environment, **more) as (gallery, client), open_processing(gallery) as processing:
        image = await _ready(gallery, processing)
        assert (await client.get(path(image, "w=100"))).status_code == 200
        refused = await client.get(path(image, "w=101"))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        problem = refused.json()
        assert problem["code"] == "picture_budget_spent"
        assert problem["violated-policies"] == ["pictures"]
        assert (await client.get(path(image, "w=100"))).status_code == 200  # what is kept costs nothing


async def test_a_picture_of_an_image_that_is_not_ready_is_409(gallery, client):
    pending = await upload_image(gallery)
    response = await client.get(path(pending))
    assert (response.status_code, response.json()["code"]) == (409, "image_not_ready")


async def test_a_claim_of_a_dead_process_ends_with_its_lease(gallery, forgetful, image):
    await forgetful.get(path(image))
    [key] = await kept(gallery, image)
    await execute(
        gallery,
        "UPDATE picture SET key = NULL, size = 0, claim = gen_random_uuid(), lease_until = now() + interval '1 second'",
    )
    began = time.monotonic()
    response = await forgetful.get(path(image))
    assert response.status_code == 200
    assert time.monotonic() - began > 0.5
    assert [*await kept(gallery, image)] != [key]


async def test_after_three_strikes_a_picture_is_refused_and_forgotten_in_time(gallery, forgetful, image):
    await forgetful.get(path(image))
    await execute(gallery, "UPDATE picture SET key = NULL, size = 0, strikes = 3, lease_until = NULL")
    refused = await forgetful.get(path(image))
    assert (refused.status_code, refused.json()["code"]) == (422, "picture_cannot_be_made")
    await execute(gallery, "UPDATE picture SET used_at = now() - interval '2 hours'")
    await gallery.sweep.run()
    assert (await forgetful.get(path(image))).status_code == 200


async def test_verify_finds_lost_and_damaged_pictures_and_mends_them(gallery, client, image):
    await client.get(path(image, "w=100"))
    [lost] = await kept(gallery, image)
    await client.get(path(image, "w=200"))
    damaged = next(key for key in await kept(gallery, image) if key != lost)
    await gallery.objects.delete([lost])
    await execute(gallery, "UPDATE picture SET size = size + 1 WHERE key = $1", damaged)
    found = {finding.key: finding async for finding in gallery.verify.differences()}
    assert {key: (finding.found, finding.mended) for key, finding in found.items()} == {
        lost: ("missing-picture", True),
        damaged: ("damaged-picture", True),
    }
    assert await kept(gallery, image) == {}
    assert [finding async for finding in gallery.verify.differences()] == []


async def test_a_process_that_makes_no_picture_has_no_renderer(settings: Settings):
    async with open_gallery(settings) as gallery:
        assert not gallery.pictures_on_demand.renderers_opened


async def test_its_renderer_goes_after_the_api_and_is_not_starved_by_workers(gallery, client, image):
    """Steps of niceness: a worker's renderer is 5 behind the API, and 5 ahead of it are a third of the CPU."""
    await client.get(path(image))
    own, renderers = psutil.Process(), []
    for child in own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                renderers.append(child.nice() - own.nice())
    assert sorted(set(renderers)) == [5, 10]
