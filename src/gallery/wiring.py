"""Composes the application. The API, the worker, the commands and the tests all start from these functions."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec
import structlog

from gallery.access import ticket_rows
from gallery.access.service import Access
from gallery.adapters.objects.claim import claim_store
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.adapters.postgres.database import Database, open_database
from gallery.adapters.valkey.budgets import Budget, Budgets
from gallery.adapters.valkey.client import Valkey, open_valkey
from gallery.adapters.valkey.portions import RatePortions
from gallery.adapters.valkey.rates import RateCounters
from gallery.admin.autoscale import Rules
from gallery.admin.console import Console
from gallery.admin.image_detail import ImageDetails
from gallery.admin.scaler import Scaler
from gallery.backup.readings import backup_readings
from gallery.delivery import picture_store
from gallery.delivery.links import ImageLinks
from gallery.delivery.picture_maker import PictureMaker
from gallery.delivery.picture_requests import PictureRequests, read_presets
from gallery.delivery.picture_rows import PictureRows
from gallery.delivery.pictures import PicturesOnDemand
from gallery.delivery.service import Pictures
from gallery.errors import ValkeyUnavailable
from gallery.images.cache import ImageCache
from gallery.images.cached_reads import CachedReads
from gallery.images.change_tokens import ChangeTokens, open_change_tokens, own_change_tokens
from gallery.images.kept_images import KeptImages
from gallery.images.outbox import Outbox
from gallery.images.readings import image_readings, queue_readings
from gallery.images.service import Images
from gallery.jobs.queue import Queue, open_queue
from gallery.jobs.readings import worker_readings
from gallery.jobs.workers import WorkerRegistry
from gallery.local_disk.scratch import open_scratch
from gallery.maintenance.stale import Stale
from gallery.maintenance.verify import Verify
from gallery.notifications.feed import Feed
from gallery.notifications.readings import event_readings
from gallery.notifications.store import EventStore
from gallery.notifications.wake_ups import WakeUps
from gallery.ops.health import Health
from gallery.ops.readings import Readings
from gallery.processing.service import Processing, WorkerResources
from gallery.processing.sweep import Chore, Sweep
from gallery.renderers.lazy import LazyRenderers, Renderers
from gallery.renderers.pool import open_renderers
from gallery.rendering.memory import Output
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import Recipe
from gallery.settings import RedisSettings, Settings, parse_rendition_formats, parse_widths
from gallery.uploads.add import NewImages
from gallery.uploads.cleaning import UploadCleaning
from gallery.uploads.direct import DirectUploads
from gallery.uploads.finishing import Finishing
from gallery.uploads.idempotency import Idempotency, delete_expired
from gallery.uploads.ietf_uploads import IetfUploads
from gallery.uploads.resumable import ResumableUploads
from gallery.uploads.service import Uploads

log = structlog.get_logger(__name__)

PICTURE_NICENESS = 10  # reads go first, and a busy worker leaves a quarter of a core: decision 0132
BUDGET_PERIOD_SECONDS = 60  # of `GALLERY_PICTURES__BUDGET`


@dataclass(frozen=True)
class Gallery:
    """All services of a process. The process itself starts those that run (the feed, the processing)."""

    settings: Settings
    recipe: Recipe
    access: Access
    database: Database
    valkey: Valkey
    rates: RatePortions
    objects: ObjectStore
    queue: Queue
    events: EventStore
    feed: Feed
    outbox: Outbox
    images: Images
    kept_images: KeptImages
    new_images: NewImages
    pictures: Pictures
    picture_requests: PictureRequests
    pictures_on_demand: PicturesOnDemand
    uploads: Uploads
    resumable_uploads: ResumableUploads
    ietf_uploads: IetfUploads
    direct_uploads: DirectUploads
    cached_reads: CachedReads
    cache: ImageCache
    change_tokens: ChangeTokens
    image_details: ImageDetails
    console: Console
    scaler: Scaler
    worker_registry: WorkerRegistry
    links: ImageLinks
    sweep: Sweep
    verify: Verify
    stale: Stale
    health: Health
    readings: Readings


@asynccontextmanager
async def open_gallery(settings: Settings) -> AsyncIterator[Gallery]:
    """Yields the services, connected to their servers. Raises `CannotStart`, `Unavailable`, `ForeignStore`."""
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(open_valkey(settings.redis))
        cache_valkey = (
            await stack.enter_async_context(open_valkey(cache_redis_settings(settings)))
            if settings.cache.url
            else valkey
        )
        database = await stack.enter_async_context(open_database(settings.database, valkey))
        queue = await stack.enter_async_context(open_queue(settings.redis, valkey))
        await _warn_of_eviction(valkey)
        objects = open_objects(settings)
        installation = await _installation(database)
        await claim_store(objects, installation, settings)
        tokens = stack.enter_context(open_change_tokens(installation))
        gallery = build_gallery(settings, database, valkey, queue, objects, cache_valkey, tokens)
        stack.push_async_callback(gallery.pictures_on_demand.close)
        stack.push_async_callback(gallery.direct_uploads.close)
        stack.push_async_callback(gallery.rates.close)
        yield gallery


def build_gallery(
    settings: Settings,
    database: Database,
    valkey: Valkey,
    queue: Queue,
    objects: ObjectStore,
    cache_valkey: Valkey | None = None,
    tokens: ChangeTokens | None = None,
) -> Gallery:
    tokens = tokens or own_change_tokens()
    recipe = read_recipe(settings)
    cache = ImageCache(cache_valkey or valkey, settings.cache, tokens)
    events = EventStore(database)
    outbox = Outbox(database, cache, WakeUps(valkey), settings.public_url)
    images = Images(database, queue, outbox)
    new_images = NewImages(database, objects, queue, outbox, recipe.limits, settings.upload.quota_bytes)
    pictures = Pictures(images, objects)
    picture_requests = PictureRequests(settings.pictures, read_presets(settings.presets), recipe)
    access = Access(settings, database)
    worker_registry = WorkerRegistry(database)
    feed = Feed(events, valkey, outbox.invalidate_events, access, tokens.set_caught_up, settings.notifications)
    idempotency = Idempotency(database, timedelta(seconds=settings.upload.key_lease))
    uploads = Uploads(images, new_images, idempotency, feed, access, settings.public_url)
    finishing = Finishing(database, objects, uploads, access.upload_tickets)
    resumable_uploads = ResumableUploads(database, objects, finishing, settings.upload)
    evict_pictures = partial(picture_store.evict, max_bytes=settings.pictures.max_bytes)
    clean_uploads = UploadCleaning(objects, resumable_uploads)
    chores: list[Chore] = [delete_expired, ticket_rows.delete_expired, evict_pictures, clean_uploads]
    return Gallery(
        settings=settings,
        recipe=recipe,
        access=access,
        database=database,
        valkey=valkey,
        rates=RatePortions(RateCounters(valkey)),
        objects=objects,
        queue=queue,
        events=events,
        feed=feed,
        outbox=outbox,
        images=images,
        kept_images=KeptImages(images, tokens, settings.cache),
        new_images=new_images,
        pictures=pictures,
        picture_requests=picture_requests,
        pictures_on_demand=_pictures_on_demand(settings, database, valkey, objects),
        uploads=uploads,
        resumable_uploads=resumable_uploads,
        ietf_uploads=IetfUploads(database, resumable_uploads, finishing, settings.upload),
        direct_uploads=DirectUploads(database, objects, resumable_uploads, access.signatures, settings.public_url),
        cached_reads=CachedReads(images, cache, settings.public_url),
        cache=cache,
        change_tokens=tokens,
        image_details=ImageDetails(database),
        console=Console(database, queue, worker_registry, images),
        scaler=Scaler(database, Rules.from_settings(settings.autoscale)),
        worker_registry=worker_registry,
        links=ImageLinks(images, pictures, picture_requests, access.links, settings.public_url),
        sweep=Sweep(database, objects, queue, events, timedelta(hours=settings.notifications.keep_hours), chores),
        verify=Verify(database, objects, outbox),
        stale=Stale(database, queue, outbox, recipe.version),
        health=Health({"postgresql": database.ping, "valkey": valkey.ping, "objects": objects.ping}),
        readings=Readings(
            {
                "images": image_readings(database),
                "queue": queue_readings(queue),
                "workers": worker_readings(database),
                "events": event_readings(events),
                "backups": backup_readings(database),
            }
        ),
    )


@asynccontextmanager
async def open_processing(gallery: Gallery, name: str | None = None) -> AsyncIterator[Processing]:
    """Yields a worker's processing, with its renderers. Raises `CannotStart`."""
    worker, data = gallery.settings.worker, gallery.settings.data_path
    with (
        open_scratch() as scratch,
        open_renderers(worker.concurrency, worker.deadline, worker.memory, scratch, denied=data) as pool,
    ):
        resources = WorkerResources(
            name=name or f"{socket.gethostname()}:{os.getpid()}",
            lease=timedelta(seconds=worker.lease),
            pool=pool,
            scratch=scratch,
            recipe=gallery.recipe,
        )
        yield Processing(gallery.database, gallery.objects, gallery.queue, gallery.outbox, resources)


def _pictures_on_demand(
    settings: Settings, database: Database, valkey: Valkey, objects: ObjectStore
) -> PicturesOnDemand:
    pictures, upload = settings.pictures, settings.upload
    limits = Limits(max_pixels=upload.max_pixels, max_side=upload.max_side, memory=pictures.memory)
    renderers = LazyRenderers(lambda: _picture_renderers(settings))
    maker = PictureMaker(database, objects, renderers, limits, pictures.max_per_image)
    budgets = Budgets(valkey, "pictures", Budget(pictures.budget, BUDGET_PERIOD_SECONDS))
    return PicturesOnDemand(PictureRows(database, settings.cache), maker, budgets, pictures)


@contextmanager
def _picture_renderers(settings: Settings) -> Iterator[Renderers]:
    pictures = settings.pictures
    with (
        open_scratch() as scratch,
        open_renderers(
            pictures.concurrency, pictures.deadline, pictures.memory, scratch, settings.data_path, PICTURE_NICENESS
        ) as pool,
    ):
        yield Renderers(pool, scratch)


def cache_redis_settings(settings: Settings) -> RedisSettings:
    """The cache's Valkey: that of GALLERY_CACHE__URL if it is set, else the main one."""
    return msgspec.structs.replace(settings.redis, url=settings.cache.url or settings.redis.url)


def read_recipe(settings: Settings) -> Recipe:
    """The recipe of all renditions, with the limits of the pictures that it is made for."""
    renditions, upload = settings.renditions, settings.upload
    widths = parse_widths(renditions.widths)
    formats = tuple(Format(name) for name in parse_rendition_formats(renditions.formats))
    return Recipe(
        widths=widths,
        formats=formats,
        avif_quality=renditions.quality_avif,
        webp_quality=renditions.quality_webp,
        jpeg_quality=renditions.quality_jpeg,
        limits=Limits(
            max_pixels=upload.max_pixels,
            max_side=upload.max_side,
            memory=settings.worker.memory,
            output=Output(widths[-1], avif=Format.AVIF in formats),
        ),
    )


async def _warn_of_eviction(valkey: Valkey) -> None:
    """Logs a warning when Valkey may evict jobs and rate limits; only the cache may be evicted, on its own server."""
    try:
        for server, policy in (await valkey.find_evicting()).items():
            log.warning("valkey.may_evict", server=server, policy=policy, wanted="noeviction")
    except ValkeyUnavailable as error:
        log.warning("valkey.policy_not_checked", error=str(error))


async def _installation(database: Database) -> str:
    async with database.primary() as db:
        return str(await db.fetchval("SELECT id FROM installation"))
