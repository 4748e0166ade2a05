"""The cache: hits, invalidation and bounds."""

import asyncio
import math
from contextlib import asynccontextmanager

import msgspec

from conftest import running_application
from factories import CALLER, post, upload_image
from gallery.access.model import Owner
from gallery.adapters.valkey.client import open_valkey
from gallery.images import store
from gallery.images.cache import BATCH, MAX_LISTS, MAX_REMEMBERED, CachedImage, CachedList
from gallery.images.change_tokens import Change
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit, ImageId
from gallery.wiring import cache_redis_settings, open_gallery, open_processing

NO_EXPIRY = -1  # PTTL of a key without expiry; -2 is a missing key


async def titles(gallery):
    page = await gallery.cached_reads.page(CALLER, ListQuery())
    return [image["title"] for image in msgspec.json.decode(page.body)]


async def rename_bypassing_cache(gallery, image, title):
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET title = $2 WHERE id = $1", image.id, title)


async def test_an_answer_is_kept(gallery):
    image = await upload_image(gallery, title="Lake")
    await gallery.cached_reads.image(CALLER, image.id)
    assert await titles(gallery) == ["Lake"]
    await rename_bypassing_cache(gallery, image, "Hill")
    assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Lake"
    assert await titles(gallery) == ["Lake"]


async def test_a_change_invalidates_it(gallery):
    image = await upload_image(gallery, title="Lake")
    await gallery.cached_reads.image(CALLER, image.id)
    await titles(gallery)
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Dawn"
    assert await titles(gallery) == ["Dawn"]


async def test_a_slow_reader_cannot_bring_an_older_image_back(gallery):
    image = await upload_image(gallery, title="Lake")
    slow = gallery.cached_reads.encode(await gallery.images.get(CALLER, image.id))  # read before the change …
    cache = gallery.cached_reads._cache
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    await cache.put_image(image.id, slow)  # … and kept after it
    assert await cache.find_image(image.id) is None
    assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Dawn"


async def test_a_slow_reader_cannot_bring_an_older_list_back(gallery):
    cache = gallery.cached_reads._cache
    _, token = await cache.find_list(CALLER.owner, "all")
    await cache.invalidate([Change(CALLER.owner, "an image", 2)])
    await cache.put_list(CALLER.owner, "all", token, CachedList(b"old", None))
    assert (await cache.find_list(CALLER.owner, "all"))[0] is None


async def test_a_deleted_image_is_not_answered_from_the_cache(gallery):
    image = await upload_image(gallery)
    entry = await gallery.cached_reads.image(CALLER, image.id)
    await gallery.images.delete(CALLER, image.id)
    await gallery.cached_reads._cache.put_image(image.id, entry)
    assert await gallery.cached_reads._cache.find_image(image.id) is None
    assert await titles(gallery) == []


async def test_every_key_expires_and_an_owners_lists_are_bounded(gallery):
    cache, server = gallery.cached_reads._cache, gallery.valkey
    await cache.put_image("an image", CachedImage(CALLER.owner, False, 1, b"{}"))
    for number in range(MAX_LISTS + 20):
        _, token = await cache.find_list(CALLER.owner, str(number))
        await cache.put_list(CALLER.owner, str(number), token, CachedList(b"[]", None))
    names = await server.call(lambda valkey: valkey.keys(f"{server.prefix}:cache:*"))
    lives = [await server.call(lambda valkey, name=name: valkey.pttl(name)) for name in names]
    assert len(names) == 2
    assert all(0 < life <= 60_000 for life in lives)
    fields = await server.call(lambda valkey: valkey.hlen(cache._list_key(CALLER.owner)))
    assert fields <= MAX_LISTS + 2


async def test_every_key_of_a_whole_life_cycle_expires_but_the_mark(environment):
    """A key without expiry could fill Valkey. BullMQ's keys are bounded by the length of the queue."""
    slow = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__STRANGER": "100 per 9000"}  # a slate that lasts
    async with running_application(environment, **slow) as (gallery, client):
        async with open_processing(gallery) as processing:
            image = (await post(client)).json()["id"]
            await processing.process(image)
            await client.get(f"/api/v1/images/{image}")
            await client.get("/api/v1/images")
            await client.delete(f"/api/v1/images/{image}")
            await gallery.sweep.run()
        prefix = gallery.valkey.prefix
        keys = await gallery.valkey.call(lambda server: server.keys("*"))
        lives = {key.decode(): await gallery.valkey.call(lambda server, key=key: server.pttl(key)) for key in keys}
    ours = {key for key in lives if prefix in key}
    assert {kind for key in ours for kind in ("cache:image", "cache:lists", "limit", "mark") if kind in key} == {
        "cache:image",
        "cache:lists",
        "limit",
        "mark",
    }
    assert {key for key in ours if lives[key] == NO_EXPIRY} == {f"{prefix}:queue:mark"}


async def test_an_answer_that_is_too_large_is_not_cached(settings):
    small = msgspec.structs.replace(settings, cache=msgspec.structs.replace(settings.cache, max_entry_bytes=100))
    async with open_gallery(small) as gallery:
        image = await upload_image(gallery, title="Lake")
        assert (await gallery.cached_reads.image(CALLER, image.id)).body
        assert await titles(gallery) == ["Lake"]
        await rename_bypassing_cache(gallery, image, "Hill")
        assert await titles(gallery) == ["Hill"]
        assert await gallery.cached_reads._cache.find_image(image.id) is None


async def test_the_bytes_of_one_owners_lists_are_bounded(gallery, monkeypatch):
    monkeypatch.setattr("gallery.images.cache.MAX_LIST_BYTES", 1000)
    cache = gallery.cached_reads._cache
    for number in range(20):
        _, token = await cache.find_list(CALLER.owner, str(number))
        await cache.put_list(CALLER.owner, str(number), token, CachedList(b"x" * 100, None))
    kept = [await cache.find_list(CALLER.owner, str(number)) for number in range(20)]
    assert 5 < sum(entry is not None for entry, _ in kept) < 10
    await cache.invalidate([Change(CALLER.owner, "an image", 2)])
    _, token = await cache.find_list(CALLER.owner, "anew")
    await cache.put_list(CALLER.owner, "anew", token, CachedList(b"x" * 100, None))
    assert (await cache.find_list(CALLER.owner, "anew"))[0]


async def test_the_cache_may_have_its_own_server_which_may_be_unavailable(environment, servers):
    own = f"{servers.redis.url}/0"
    async with running_application(environment, GALLERY_CACHE__URL=own) as (gallery, client):
        image = (await post(client, title="Lake")).json()["id"]
        await client.get(f"/api/v1/images/{image}")
        pattern = f"{gallery.valkey.prefix}:cache:*"
        assert await gallery.valkey.call(lambda server: server.keys(pattern)) == []
        async with open_valkey(cache_redis_settings(gallery.settings)) as cached:
            assert await cached.call(lambda server: server.keys(pattern))
    async with running_application(environment, GALLERY_CACHE__URL="redis://127.0.0.1:1") as (gallery, client):
        for title in ("Dawn", "Dusk"):
            await client.patch(f"/api/v1/images/{image}", json={"title": title})
            assert (await client.get(f"/api/v1/images/{image}")).json()["title"] == title
        assert sum((await gallery.queue.counts()).values()) == 1, "the queue does not mind"


async def test_the_cache_is_bypassed_after_a_failed_invalidation(gallery, settings):
    image = await upload_image(gallery, title="Lake")
    await gallery.cached_reads.image(CALLER, image.id)
    await titles(gallery)
    gallery.valkey._unavailable_until = math.inf  # as after a failed call
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    gallery.valkey._unavailable_until = 0.0

    assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Dawn"
    assert await titles(gallery) == ["Dawn"]
    async with open_gallery(settings) as other:  # another process of this machine, which can reach Valkey
        assert await titles(other) == ["Dawn"]


@asynccontextmanager
async def running_feed(settings):
    """The feed of another process, which has read the events from before its start."""
    async with open_gallery(settings) as other:
        feed = asyncio.create_task(other.feed.run())
        try:
            async with asyncio.timeout(10):
                await other.feed._started.wait()
            yield other.feed
        finally:
            feed.cancel()


async def test_a_feed_invalidates_for_a_writer_that_died_after_its_commit(gallery, settings):
    image = await upload_image(gallery, title="Lake")
    async with running_feed(settings) as feed:
        await gallery.cached_reads.image(CALLER, image.id)
        assert await titles(gallery) == ["Lake"]
        with feed.waiter(image.id, {"image.updated"}) as read:
            async with gallery.database.writing() as db:
                changed = await store.edit(db, image.id, CALLER.owner, Edit(title="Dawn"), None)
                await gallery.outbox.add(db, "image.updated", changed)
            async with asyncio.timeout(10):
                await read.wait()
        assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Dawn"
        assert await titles(gallery) == ["Dawn"]


async def test_a_feed_does_not_repeat_what_a_process_of_its_machine_has_invalidated(gallery, settings, monkeypatch):
    image = await upload_image(gallery)
    async with open_gallery(settings) as other:
        changes = []

        async def invalidate(given):
            changes.extend(given)

        monkeypatch.setattr(other.cache, "invalidate", invalidate)
        uploaded = other.outbox.event("image.uploaded", image)
        edited = other.outbox.event("image.updated", msgspec.structs.replace(image, version=2))
        await other.outbox.invalidate_events([uploaded, edited])
    assert [(change.image, change.version) for change in changes] == [(image.id, 2)]


async def test_a_list_from_between_the_writers_and_the_feeds_invalidation_is_kept(gallery, settings):
    image = await upload_image(gallery)
    other_image = await upload_image(gallery)
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    await gallery.images.delete(CALLER, other_image.id)
    assert await titles(gallery) == ["Dawn"]
    await rename_bypassing_cache(gallery, image, "Hill")
    async with running_feed(settings):
        assert await titles(gallery) == ["Dawn"]


async def keeps_lists(cache, *changes):
    """Whether a list that was there before these changes is there after them."""
    _, token = await cache.find_list(CALLER.owner, "all")
    await cache.put_list(CALLER.owner, "all", token, CachedList(b"[]", None))
    await cache.invalidate([Change(CALLER.owner, ImageId(image), version) for image, version in changes])
    return (await cache.find_list(CALLER.owner, "all"))[0] is not None


async def test_lists_are_invalidated_once_for_each_version(gallery):
    cache, server = gallery.cache, gallery.valkey
    assert not await keeps_lists(cache, ("lake", 2))
    assert await keeps_lists(cache, ("lake", 2))
    assert await keeps_lists(cache, ("lake", 1))
    assert not await keeps_lists(cache, ("lake", 2), ("hill", 1))
    assert await keeps_lists(cache, ("lake", 2))
    assert await keeps_lists(cache, ("hill", 1))
    assert not await keeps_lists(cache, ("lake", 10))
    await server.call(lambda valkey: valkey.delete(cache._list_key(CALLER.owner)))  # Valkey has lost it
    assert not await keeps_lists(cache, ("lake", 10))


async def test_the_versions_that_are_remembered_are_bounded(gallery):
    cache, server = gallery.cache, gallery.valkey
    for number in range(MAX_REMEMBERED + 1):
        assert not await keeps_lists(cache, (f"image {number}", 1))
    assert not await keeps_lists(cache, ("image 0", 1)), "forgotten, so the lists are invalidated once more"
    stored = await server.call(lambda valkey: valkey.hget(cache._list_key(CALLER.owner), "versions"))
    assert len(msgspec.msgpack.decode(stored)) <= MAX_REMEMBERED


async def test_answers_are_right_without_a_cache(settings):
    off = msgspec.structs.replace(settings, cache=msgspec.structs.replace(settings.cache, enabled=False))
    async with open_gallery(off) as gallery:
        image = await upload_image(gallery, title="Lake")
        await gallery.cached_reads.image(CALLER, image.id)
        await rename_bypassing_cache(gallery, image, "Hill")
        assert msgspec.json.decode((await gallery.cached_reads.image(CALLER, image.id)).body)["title"] == "Hill"


async def test_many_changes_are_invalidated_in_few_round_trips(gallery, monkeypatch):
    """A burst of events would otherwise cost the feed a trip for each."""
    cache, trips = gallery.cache, 0
    owners = [Owner(f"owner {number}") for number in range(3)]
    changes = [Change(owners[number % 3], ImageId(str(number)), 2) for number in range(BATCH + 1)]
    for change in (changes[0], changes[-1]):
        await cache.put_image(change.image, CachedImage(change.owner, False, 1, b"old"))
    tokens = [(await cache.find_list(owner, "all"))[1] for owner in owners]
    call = gallery.valkey.call

    async def counted(ask):
        nonlocal trips
        trips += 1
        return await call(ask)

    monkeypatch.setattr(gallery.valkey, "call", counted)
    await cache.invalidate(changes)
    assert trips == 2
    for change in (changes[0], changes[-1]):
        assert await cache.find_image(change.image) is None
    for owner, token in zip(owners, tokens, strict=True):
        await cache.put_list(owner, "all", token, CachedList(b"old", None))
        assert (await cache.find_list(owner, "all"))[0] is None
