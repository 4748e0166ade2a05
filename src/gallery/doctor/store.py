"""Checks of the object store: its owner, the permissions and its clock."""

import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter

import httpx
import msgspec

from gallery.adapters.objects.store import ObjectStore, closed_marker, open_objects
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.errors import BucketMissing, CannotStart, GalleryError, ObjectStoreUnavailable, ObjectTaken

MAX_PROBE_MS = 500  # for the five requests of the probe
MAX_CLOCK_SKEW_SECONDS = 60  # S3 refuses at 15 minutes


async def store(context: CheckContext) -> Verdict:
    """Reads the owner of the store; creates nothing."""
    try:
        s3 = msgspec.structs.replace(context.settings.s3, timeout=4, create_bucket=False)
        objects = open_objects(msgspec.structs.replace(context.settings, s3=s3))
        owner = await objects.find_owner()
    except BucketMissing as error:
        return wrong(
            f"The store does not exist: {error.facts['location']}.",
            "Create it, or start Gallery, which creates it if permitted.",
        )
    except CannotStart as error:
        return wrong(error.detail, "Correct it, restart Gallery, and run gallery doctor again.")
    except ObjectStoreUnavailable as error:
        return wrong(
            f"The object store is unavailable. {error.facts.get('cause')}",
            "Check S3_ENDPOINT and the network. Until then uploads fail with 503.",
        )
    context.objects, context.store_owner = objects, owner
    return well(f"The object store is {objects.location}.", place=objects.location)


async def ownership(context: CheckContext) -> Verdict:
    """Whether the store and the database are of one installation."""
    if context.store_owner is None:
        return well("The store has no owner yet; the first start claims it.")
    if context.store_owner == context.installation:
        return well("The store and the database belong together.")
    if context.store_owner == closed_marker(str(context.installation)):
        return wrong("The objects were moved to another store.", "Set that store, and restart Gallery.")
    return wrong(
        "The store belongs to another installation than the database.",
        "Correct DATABASE_URL or the store's settings.",
        store=context.store_owner,
        database=context.installation,
    )


async def permissions(context: CheckContext) -> Verdict:
    """Puts, puts again, reads, lists and deletes a small object."""
    objects = get_objects(context)
    key = f"doctor/{uuid.uuid4()}"
    action, began = "put objects", perf_counter()
    try:
        await objects.put(key, b"probe")
        action = "read objects"
        digest = (await objects.digest(key)).sha256
        action = "put objects conditionally"
        conditional = await _refuses_overwrite(objects, key)
        action = "list objects"
        listed = [found.key async for batch in objects.list("doctor/") for found in batch]
        action = "delete objects"
        await objects.delete([key])
    except GalleryError as error:
        return wrong(
            f"Gallery may not {action}: {error.facts.get('cause', error)}", "Grant the key or role that right."
        )
    milliseconds = round((perf_counter() - began) * 1000)
    if not conditional:
        return wrong(
            "The store ignores If-None-Match and overwrites objects.", "Use a store that supports If-None-Match."
        )
    if key not in listed or not digest:
        return wrong("The store does not list a new object.", "Check the right to list, and the store's consistency.")
    if milliseconds > MAX_PROBE_MS:
        return notice(f"Five requests take {milliseconds} ms.", "Run the store nearer.", milliseconds=milliseconds)
    return well(
        f"Gallery may put, read, list and delete; five requests take {milliseconds} ms.", milliseconds=milliseconds
    )


async def clock(context: CheckContext) -> Verdict:
    """Compares this machine's clock with the `Date` header of the endpoint, which needs no credentials."""
    endpoint = context.settings.s3.endpoint
    if endpoint is None:
        return skipped("S3_ENDPOINT is not set")
    async with httpx.AsyncClient(timeout=4) as client:
        date = (await client.head(endpoint)).headers.get("date")
    if date is None:
        return skipped("the endpoint sends no Date header")
    apart = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    if apart > MAX_CLOCK_SKEW_SECONDS:
        return wrong(f"This machine's clock and the store's differ by {apart:.0f} s.", "Synchronise both with NTP.")
    return well("This machine's clock and the store's agree.", apart=round(apart))


async def _refuses_overwrite(objects: ObjectStore, key: str) -> bool:
    try:
        await objects.put(key, b"other")
    except ObjectTaken:
        return True
    return False


def get_objects(context: CheckContext) -> ObjectStore:
    assert context.objects is not None, "the check store has opened it"  # noqa: S101
    return context.objects
