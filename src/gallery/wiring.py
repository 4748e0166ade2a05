"""The whole house on one page. API, worker, commands and tests all come in through these doors."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from gallery.access.model import Owner
from gallery.access.service import Access
from gallery.adapters.objects.store import Objects, open_objects
from gallery.adapters.postgres.database import Database, open_database
from gallery.adapters.valkey.client import Valkey, open_valkey
from gallery.admin.autoscale import Rules
from gallery.admin.console import Console
from gallery.admin.image_detail import Dossiers
from gallery.admin.scaler import Scaler
from gallery.backup.readings import of_backups
from gallery.delivery.links import Sharing
from gallery.delivery.service import Pictures
from gallery.errors import CannotStart, ObjectStoreAway, ValkeyAway
from gallery.images.cache import Change, ImageCache
from gallery.images.cached_reads import Answers
from gallery.images.model import ImageId
from gallery.images.outbox import News
from gallery.images.readings import of_images, of_queue
from gallery.images.service import Images
from gallery.jobs.queue import Queue, open_queue
from gallery.jobs.readings import of_workers
from gallery.jobs.workers import Roster
from gallery.local_disk.scratch import open_scratch
from gallery.maintenance.verify import Verify
from gallery.notifications.bell import Bell
from gallery.notifications.feed import Before, Feed
from gallery.notifications.model import Event
from gallery.notifications.readings import of_events
from gallery.notifications.store import EventStore
from gallery.ops.health import Health
from gallery.ops.readings import Readings
from gallery.processing.renderers import open_pool
from gallery.processing.service import Desk, Processing
from gallery.processing.sweep import Sweep
from gallery.rendering.probe import Limits
from gallery.rendering.recipe import Recipe
from gallery.settings import Redis as RedisSettings
from gallery.settings import Settings
from gallery.uploads.add import NewImages
from gallery.uploads.idempotency import Idempotency, expire
from gallery.uploads.service import Uploads
from gallery.waiting import Waiting

log = structlog.get_logger(__name__)

STORE_PATIENCE = 60  # seconds for the object store to come up


@dataclass(frozen=True)
class Gallery:
    """Everything a process may use; what it starts of it (the feed, the processing) is its own choice."""

    settings: Settings
    access: Access
    database: Database
    valkey: Valkey
    objects: Objects
    queue: Queue
    events: EventStore
    feed: Feed
    news: News
    images: Images
    new_images: NewImages
    pictures: Pictures
    uploads: Uploads
    answers: Answers
    cache: ImageCache
    dossiers: Dossiers
    console: Console
    scaler: Scaler
    roster: Roster
    links: Sharing
    sweep: Sweep
    verify: Verify
    health: Health
    readings: Readings


@asynccontextmanager
async def open_gallery(settings: Settings) -> AsyncIterator[Gallery]:
    """The house, with its servers connected. Raises `CannotStart`, `Unavailable`, `ForeignStore`."""
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(open_valkey(settings.redis))
        cached = await stack.enter_async_context(open_valkey(of_the_cache(settings))) if settings.cache.url else valkey
        database = await stack.enter_async_context(open_database(settings.database, valkey))
        queue = await stack.enter_async_context(open_queue(settings.redis, valkey))
        await _warn_of_eviction(valkey)
        objects = open_objects(settings)
        await _claim(objects, await _installation(database), _setting_of_the_store(settings))
        yield furnish(settings, database, valkey, queue, objects, cached)


def furnish(
    settings: Settings,
    database: Database,
    valkey: Valkey,
    queue: Queue,
    objects: Objects,
    cached: Valkey | None = None,
) -> Gallery:
    cache = ImageCache(cached or valkey, settings.cache)
    events = EventStore(database)
    news = News(database, cache, Bell(valkey), settings.public_url)
    images = Images(database, queue, news)
    new_images = NewImages(database, objects, queue, news, limits(settings), settings.upload.quota_bytes)
    pictures = Pictures(images, objects)
    access = Access(settings, database)
    roster = Roster(database)
    feed = Feed(events, valkey, _turning(news), settings.notifications)
    return Gallery(
        settings=settings,
        access=access,
        database=database,
        valkey=valkey,
        objects=objects,
        queue=queue,
        events=events,
        feed=feed,
        news=news,
        images=images,
        new_images=new_images,
        pictures=pictures,
        uploads=Uploads(
            images,
            new_images,
            Idempotency(database, timedelta(seconds=settings.upload.key_lease)),
            feed,
            access,
            settings.public_url,
        ),
        answers=Answers(images, cache, settings.public_url),
        cache=cache,
        dossiers=Dossiers(database),
        console=Console(database, queue, roster, images),
        scaler=Scaler(database, Rules.of(settings.autoscale)),
        roster=roster,
        links=Sharing(images, pictures, access.links, settings.public_url),
        sweep=Sweep(database, objects, queue, events, timedelta(hours=settings.notifications.keep_hours), [expire]),
        verify=Verify(database, objects, news),
        health=Health({"postgresql": database.ping, "valkey": valkey.ping, "objects": objects.ping}),
        readings=Readings(
            {
                "images": of_images(database),
                "queue": of_queue(queue),
                "workers": of_workers(database),
                "events": of_events(events),
                "backups": of_backups(database),
            }
        ),
    )


@asynccontextmanager
async def open_processing(gallery: Gallery, name: str | None = None) -> AsyncIterator[Processing]:
    """A worker's desk in the house, with its renderers. Raises `CannotStart`."""
    worker, data = gallery.settings.worker, gallery.settings.data
    with (
        open_scratch() as scratch,
        open_pool(worker.concurrency, worker.deadline, worker.memory, scratch, closed=data) as pool,
    ):
        desk = Desk(
            name=name or f"{socket.gethostname()}:{os.getpid()}",
            lease=timedelta(seconds=worker.lease),
            pool=pool,
            scratch=scratch,
            recipe=Recipe(limits=limits(gallery.settings)),
        )
        yield Processing(gallery.database, gallery.objects, gallery.queue, gallery.news, desk)


def of_the_cache(settings: Settings) -> RedisSettings:
    """Its Valkey: one of its own if there is one."""
    return msgspec.structs.replace(settings.redis, url=settings.cache.url or settings.redis.url)


def limits(settings: Settings) -> Limits:
    upload = settings.upload
    return Limits(max_pixels=upload.max_pixels, max_side=upload.max_side, memory=settings.worker.memory)


def _turning(news: News) -> Before:
    async def before(events: Sequence[Event]) -> None:
        await news.turn([Change(Owner(e.owner), ImageId(e.image_id), e.version) for e in events])

    return before


async def _warn_of_eviction(valkey: Valkey) -> None:
    """Jobs, limits and notes are not to be thrown away; only the cache may be, on a server of its own."""
    try:
        for server, policy in (await valkey.evicting()).items():
            log.warning("valkey.may_evict", server=server, policy=policy, wanted="noeviction")
    except ValkeyAway as error:
        log.warning("valkey.not_asked", error=str(error))


async def _claim(objects: Objects, installation: str, setting: str) -> None:
    """Say whose store it is, as soon as it answers. Raises `CannotStart` after a while, `ForeignStore`."""
    waiting = Waiting("objects.waiting", setting, STORE_PATIENCE)
    while True:
        try:
            return await objects.claim(installation)
        except ObjectStoreAway as error:
            if waiting.over:
                sentence = f"The object store, {objects.place}, did not take us in within {STORE_PATIENCE} s: {error}."
                raise CannotStart(f"{sentence} Check {setting}.") from error
            waiting.tell(str(error), place=objects.place)
            await asyncio.sleep(1)


def _setting_of_the_store(settings: Settings) -> str:
    """The setting that says where it is."""
    if settings.objects.url is not None:
        return "GALLERY_OBJECTS__URL"
    if settings.s3.bucket is not None:
        return "S3_ENDPOINT" if settings.s3.endpoint else "S3_BUCKET"
    return "GALLERY_DATA_DIR"


async def _installation(database: Database) -> str:
    async with database.primary() as db:
        return str(await db.fetchval("SELECT id FROM installation"))
