"""An upload: kept whole or not at all."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import msgspec
import pytest

import photos
from factories import CALLER, make_photo, upload_image
from gallery.errors import NotAPicture, ObjectStoreUnavailable, SideTooLong, TooManyPixels
from gallery.images import object_rows
from gallery.images.model import Status, new_id
from gallery.images.schema import EventView, event_view
from gallery.images.timeline import Stage
from gallery.uploads import store
from gallery.uploads.schema import parse_metadata
from gallery.wiring import Gallery, open_gallery

FILL_IMAGES = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, status, work_state)
    SELECT gen_random_uuid(), i::text, 'x', 'x.jpg', 'image/jpeg', 1, i::text, false, 'READY', NULL
    FROM generate_series(1, 3000) i
"""
FILL_OBJECTS = "INSERT INTO object (key, image_id) SELECT 'original/' || id, id FROM image ON CONFLICT DO NOTHING"


async def rows(gallery: Gallery, query: str, *arguments: object) -> list[dict]:
    async with gallery.database.primary() as db:
        return [dict(row) for row in await db.fetch(query, *arguments)]


async def test_an_upload_is_kept_and_waits(gallery):
    content = photos.a_jpeg(seed=1)
    image = await upload_image(gallery, content, title="Lake", alt="A lake")

    assert (image.title, image.alt, image.status, image.version) == ("Lake", "A lake", Status.PENDING, 1)
    assert (image.size, image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    kept = b"".join([chunk async for chunk in await gallery.pictures.open(image.original_key, image.size)])
    assert kept == content


async def test_its_event_and_its_object_are_written_with_it(gallery):
    image = await upload_image(gallery)

    assert await rows(gallery, "SELECT type, version FROM event WHERE image_id = $1", image.id) == [
        {"type": "image.uploaded", "version": 1}
    ]
    assert await rows(gallery, "SELECT key, remove_after FROM object") == [
        {"key": f"original/{image.id}", "remove_after": None}
    ]


async def test_the_image_that_an_upload_returns_is_the_stored_one(gallery):
    """It is put together before its row exists, so that the row, its event and its answer need one statement."""
    waiting = [await upload_image(gallery) for _ in range(3)]
    image = await upload_image(gallery, title="Lake", description="At dawn", tags="blue", visibility="public")

    assert image == await gallery.images.get_current(CALLER, image.id)
    assert image.queue_position == len(waiting) + 1
    (event,) = await rows(gallery, "SELECT data FROM event WHERE image_id = $1", image.id)
    assert msgspec.json.decode(event["data"], type=EventView) == event_view(image, "")
    assert [entry.stage for entry in await gallery.images.timeline(CALLER, image.id)] == [Stage.UPLOADED]


async def test_an_upload_takes_two_statements(gallery, monkeypatch):
    """Each is a round trip and a commit."""
    statements = []
    primary = gallery.database.primary

    @asynccontextmanager
    async def recording():
        async with primary() as db:
            with db.query_logger(lambda query: statements.append(query.query)):
                yield db

    monkeypatch.setattr(gallery.database, "primary", recording)
    await upload_image(gallery)
    assert statements == [store.RESERVE, store.ADD]


class Plan(Exception):
    """The plan of a statement that was not run."""


class ExplainingConnection:
    def __init__(self, db):
        self._db = db

    async def fetchrow(self, statement, *parameters):
        raise Plan("\n".join(row[0] for row in await self._db.fetch(f"EXPLAIN {statement}", *parameters)))


async def test_both_statements_find_each_row_by_an_index(gallery):
    """An object by its key, whatever the statistics say: there may be far more removals than when they were made."""
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        await db.execute(FILL_IMAGES)
        await db.execute(FILL_OBJECTS)
        await db.execute("ANALYZE image, object")
        explaining = ExplainingConnection(db)
        with pytest.raises(Plan) as reserve:
            await store.reserve(explaining, new_id(), CALLER.owner, "a hash", 1, 1000)
        with pytest.raises(Plan) as add:
            await store.add(explaining, image, gallery.outbox.event("image.uploaded", image))
    assert "Seq Scan" not in f"{reserve.value}{add.value}", f"{reserve.value}{add.value}"
    assert str(add.value).count("using object_pkey on object") == 2, str(add.value)


async def test_an_upload_takes_two_requests_to_valkey(gallery):
    """One invalidates the cache and wakes the feeds, one adds the job."""
    await upload_image(gallery)  # the first one loads BullMQ's script
    async with gallery.valkey._client.monitor() as monitor:
        image = await upload_image(gallery)
        await gallery.valkey.call(lambda server: server.echo(image.id))
        assert await _sent_commands(monitor, until=image.id) == ["EVAL", "EVAL", "PUBLISH", "EVALSHA"]


async def _sent_commands(monitor, until):
    """The commands of Gallery's clients, other than those in scripts, until the text is echoed."""
    names = []
    async with asyncio.timeout(10):
        while True:
            found = await monitor.next_command()
            if found["command"] == f"ECHO {until}":
                return [name for name, its_database in names if its_database == found["db"]]
            if found["client_type"] != "lua" and not found["command"].startswith("SELECT"):  # of a new connection
                names.append((found["command"].split()[0], found["db"]))


async def test_uploads_of_one_owner_do_not_wait_for_one_that_stores_its_answer(gallery):
    """The sum of the owner's bytes is locked from an insert to its commit, so the insert comes last."""

    async def upload_another(db, uploaded):
        async with asyncio.timeout(5):
            assert await upload_image(gallery)

    photo = make_photo()
    added = await gallery.new_images.add(CALLER, photo, parse_metadata([], photo.name), upload_another)
    assert len(await rows(gallery, "SELECT FROM image")) == 2
    assert added.image.queue_position == 2


@pytest.mark.parametrize("asked_at", ["upload", "rendition"])
async def test_a_key_is_on_disk_before_anything_is_put_under_it(gallery, asked_at):
    """With asynchronous commits a killed PostgreSQL would lose the reservation."""
    for number in range(20):
        (before,) = await rows(gallery, "SELECT pg_current_wal_insert_lsn() AS place")
        if asked_at == "upload":
            async with gallery.database.primary() as db:
                assert (await store.reserve(db, new_id(), CALLER.owner, str(number), 1, 0)).at
        else:
            await object_rows.reserve(gallery.database, new_id(), 1, [f"renditions/{number}"])
        (after,) = await rows(gallery, "SELECT pg_current_wal_flush_lsn() > $1 AS written", before["place"])
        assert after["written"]


async def test_it_is_enqueued_once(gallery):
    await upload_image(gallery)
    assert (await gallery.queue.counts())["prioritized"] == 1


async def test_the_title_is_the_files_name_when_there_is_none(gallery):
    photo = make_photo(name="C:\\photos\\Lake at dawn.jpg")
    image = (await gallery.new_images.add(CALLER, photo, parse_metadata([], photo.name))).image
    assert image.title == "Lake at dawn"


@pytest.mark.parametrize("name", photos.not_pictures())
async def test_a_file_that_is_no_picture_leaves_nothing(gallery, name):
    with pytest.raises(NotAPicture):
        await upload_image(gallery, photos.not_pictures()[name])
    assert await rows(gallery, "SELECT FROM object") == []


async def test_a_bomb_is_refused_by_its_header(gallery):
    with pytest.raises((TooManyPixels, SideTooLong)):
        await upload_image(gallery, photos.a_png_bomb())
    assert await rows(gallery, "SELECT FROM image") == []


async def test_an_unavailable_object_store_loses_nothing(gallery, tmp_path):
    (tmp_path / "data" / "objects").rename(tmp_path / "data" / "elsewhere")
    (tmp_path / "data" / "objects").write_text("a file where the directory was")

    with pytest.raises(ObjectStoreUnavailable):
        await upload_image(gallery)
    assert await rows(gallery, "SELECT FROM image") == []
    assert len(await rows(gallery, "SELECT FROM object WHERE remove_after IS NOT NULL")) == 1, "the sweep has the key"


async def test_an_upload_succeeds_while_valkey_is_unavailable(settings):
    nowhere = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_gallery(msgspec.structs.replace(settings, redis=nowhere)) as gallery:
        image = await upload_image(gallery)
        assert (await gallery.images.get(CALLER, image.id)).status is Status.PENDING


async def test_an_upload_that_took_longer_than_its_reservation_is_not_kept(gallery, monkeypatch):
    """The sweep has begun to remove its object: an image without an original would be worse than a refusal."""
    put = gallery.objects.put

    async def put_late(*given):
        await put(*given)
        async with gallery.database.writing() as db:
            await db.execute("UPDATE object SET remove_after = '-infinity'")

    monkeypatch.setattr(gallery.objects, "put", put_late)
    with pytest.raises(ObjectStoreUnavailable):
        await upload_image(gallery)
    assert await rows(gallery, "SELECT FROM image") == []
