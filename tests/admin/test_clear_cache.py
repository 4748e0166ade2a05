"""Clearing the cache removes cached answers and nothing else."""

import redis.asyncio as redis

from conftest import running_application
from factories import CALLER, post, upload_image
from gallery.images.model import ImageId


async def test_clearing_the_cache_keeps_queue_and_limits(environment):
    async with (
        running_application(environment, GALLERY_RATE__ENABLED="true", GALLERY_RATE__STRANGER="50 per 60") as (
            gallery,
            client,
        ),
        redis.from_url(environment["REDIS_URL"], decode_responses=True) as valkey,
    ):
        await gallery.queue.mark_intact()
        ids = [(await post(client)).json()["id"] for _ in range(3)]
        for path in ("", *(f"/{image}" for image in ids)):
            await client.get(f"/api/v1/images{path}")
        await valkey.set("somebody:else:cache:x", "1")
        left = _remaining(await client.get("/api/v1/images"))
        kept = {key: await valkey.type(key) for key in await valkey.keys("*") if ":cache:" not in key or "else" in key}
        assert any("limit" in key or "rate" in key for key in kept), kept
        assert "bull:image-processing:prioritized" in kept

        answer = await client.delete("/admin/cache")
        assert (answer.status_code, answer.json()) == (200, {"cleared": 4})
        assert (await client.delete("/admin/cache")).json() == {"cleared": 0}
        assert kept.items() <= {key: await valkey.type(key) for key in await valkey.keys("*")}.items()
        assert (await gallery.queue.counts())["prioritized"] == 3
        assert await gallery.queue.is_intact()
        assert _remaining(await client.get("/api/v1/images")) < left, "rate limits keep their counts"
        ttls = [await valkey.pttl(key) for key in await valkey.keys("*:cache:image:*")]
        assert all(0 < ttl <= 10_000 for ttl in ttls), "versions stay for a moment"


def _remaining(answer) -> int:
    return int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0])


async def test_an_answer_from_before_a_change_does_not_come_back_after_clearing(gallery):
    image = await upload_image(gallery)
    old = gallery.cached_reads.encode(image)
    await gallery.images.delete(CALLER, ImageId(image.id))
    await gallery.cache.clear()
    await gallery.cache.put_image(image.id, old)  # as a slow writer does
    assert await gallery.cache.find_image(image.id) is None


async def test_a_prefix_is_not_a_pattern(environment):
    async with (
        running_application(environment, GALLERY_REDIS__PREFIX="a*[b]?") as (_, client),
        redis.from_url(environment["REDIS_URL"]) as valkey,
    ):
        await valkey.hset("abbb:cache:image:1", mapping={"entry": "theirs"})
        await client.get("/api/v1/images")
        assert (await client.delete("/admin/cache")).json() == {"cleared": 1}
        assert await valkey.hget("abbb:cache:image:1", "entry") == b"theirs"
