"""The object store: whose it is, what we may do in it, and what time it is there."""

import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter

import httpx
import msgspec

from gallery.adapters.objects.store import ObjectStore, closed_marker, open_objects
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.errors import BucketMissing, CannotStart, GalleryError, ObjectStoreUnavailable, ObjectTaken

MAX_PROBE_MS = 500  # milliseconds for the five requests of the probe
MAX_CLOCK_SKEW_SECONDS = 60  # seconds; S3 refuses at 15 minutes


async def store(context: CheckContext) -> Verdict:
    """Look whose it is, without making anything."""
    try:
        s3 = msgspec.structs.replace(context.settings.s3, timeout=4, create_bucket=False)
        objects = open_objects(msgspec.structs.replace(context.settings, s3=s3))
        owner = await objects.find_owner()
    except BucketMissing as error:
        return wrong(f"There is nothing at {error.facts['place']}.", "Make it, or start Gallery: it does if it may.")
    except CannotStart as error:
        return wrong(error.detail, "Mend that, start Gallery anew with it, and run gallery doctor again.")
    except ObjectStoreUnavailable as error:
        return wrong(f"It is away. {error.facts.get('cause')}", "Check S3_ENDPOINT and the network; uploads get 503.")
    context.objects, context.store_owner = objects, owner
    return well(f"It is {objects.location}.", place=objects.location)


async def ownership(context: CheckContext) -> Verdict:
    """Whether rows and objects belong together."""
    if context.store_owner is None:
        return well("The store is nobody's yet; the first start claims it.")
    if context.store_owner == context.installation:
        return well("The store and the database belong together.")
    if context.store_owner == closed_marker(str(context.installation)):
        return wrong("The objects have moved from here.", "Set the store that they have moved to, and start anew.")
    return wrong(
        "The store belongs to another installation than the database.",
        "Mend DATABASE_URL or the store's settings: these two do not belong together.",
        store=context.store_owner,
        database=context.installation,
    )


async def permissions(context: CheckContext) -> Verdict:
    """Put, put again, read, list and delete a small object of our own."""
    objects = _get_objects(context)
    key = f"doctor/{uuid.uuid4()}"
    doing, began = "put objects", perf_counter()
    try:
        await objects.put(key, b"probe")
        doing = "read objects"
        whole = (await objects.digest(key)).sha256
        doing = "put only where nothing is"
        conditional = await _refuses_overwrite(objects, key)
        doing = "list objects"
        listed = [found.key async for batch in objects.list("doctor/") for found in batch]
        doing = "delete objects"
        await objects.delete([key])
    except GalleryError as error:
        return wrong(f"We may not {doing}: {error.facts.get('cause', error)}", "Give the key or role that right.")
    took = round((perf_counter() - began) * 1000)
    if not conditional:
        return wrong(
            "It overwrites what it is told to keep.", "Use a store that knows If-None-Match: its puts are not safe."
        )
    if key not in listed or not whole:
        return wrong("It does not list what was just put.", "Look at the rights of listing, and at its consistency.")
    if took > MAX_PROBE_MS:
        return notice(f"We may do all we need, in {took} ms for five requests.", "Bring it nearer.", milliseconds=took)
    return well(f"We may put, read, list and delete; {took} ms for all of it.", milliseconds=took)


async def clock(context: CheckContext) -> Verdict:
    """By the `Date` that a server puts on every answer, whoever asks."""
    endpoint = context.settings.s3.endpoint
    if endpoint is None:
        return skipped("objects are not at an S3 endpoint that is set")
    async with httpx.AsyncClient(timeout=4) as client:
        date = (await client.head(endpoint)).headers.get("date")
    if date is None:
        return skipped("it does not tell its time")
    apart = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    if apart > MAX_CLOCK_SKEW_SECONDS:
        return wrong(f"This machine's clock and the store's are {apart:.0f} s apart.", "Let both keep time by NTP.")
    return well("This machine's clock and the store's agree.", apart=round(apart))


async def _refuses_overwrite(objects: ObjectStore, key: str) -> bool:
    try:
        await objects.put(key, b"other")
    except ObjectTaken:
        return True
    return False


def _get_objects(context: CheckContext) -> ObjectStore:
    assert context.objects is not None, "the check before has opened it"  # noqa: S101
    return context.objects
