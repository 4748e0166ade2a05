"""The object store: whose it is, what we may do in it, and what time it is there."""

import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter

import httpx
import msgspec

from gallery.adapters.objects.store import Objects, closed, open_objects
from gallery.doctor.model import Patient, Verdict, notice, skipped, well, wrong
from gallery.errors import BucketMissing, CannotStart, GalleryError, ObjectStoreAway, ObjectTaken

FAR = 500  # milliseconds for the five requests of the probe
CLOCK = 60  # seconds; S3 refuses at 15 minutes


async def store(patient: Patient) -> Verdict:
    """Look whose it is, without making anything."""
    try:
        s3 = msgspec.structs.replace(patient.settings.s3, timeout=4, create_bucket=False)
        objects = open_objects(msgspec.structs.replace(patient.settings, s3=s3))
        owner = await objects.owner()
    except BucketMissing as error:
        return wrong(f"There is nothing at {error.facts['place']}.", "Make it, or start Gallery: it does if it may.")
    except CannotStart as error:
        return wrong(error.detail, "Mend that, start Gallery anew with it, and run gallery doctor again.")
    except ObjectStoreAway as error:
        return wrong(f"It is away. {error.facts.get('cause')}", "Check S3_ENDPOINT and the network; uploads get 503.")
    patient.objects, patient.owner = objects, owner
    return well(f"It is {objects.place}.", place=objects.place)


async def ownership(patient: Patient) -> Verdict:
    """Whether rows and objects belong together."""
    if patient.owner is None:
        return well("The store is nobody's yet; the first start claims it.")
    if patient.owner == patient.installation:
        return well("The store and the database belong together.")
    if patient.owner == closed(str(patient.installation)):
        return wrong("The objects have moved from here.", "Set the store that they have moved to, and start anew.")
    return wrong(
        "The store belongs to another installation than the database.",
        "Mend DATABASE_URL or the store's settings: these two do not belong together.",
        store=patient.owner,
        database=patient.installation,
    )


async def permissions(patient: Patient) -> Verdict:
    """Put, put again, read, list and delete a small object of our own."""
    objects = _objects(patient)
    key = f"doctor/{uuid.uuid4()}"
    doing, began = "put objects", perf_counter()
    try:
        await objects.put(key, b"probe")
        doing = "read objects"
        whole = (await objects.digest(key)).sha256
        doing = "put only where nothing is"
        conditional = await _refuses(objects, key)
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
    if took > FAR:
        return notice(f"We may do all we need, in {took} ms for five requests.", "Bring it nearer.", milliseconds=took)
    return well(f"We may put, read, list and delete; {took} ms for all of it.", milliseconds=took)


async def clock(patient: Patient) -> Verdict:
    """By the `Date` that a server puts on every answer, whoever asks."""
    endpoint = patient.settings.s3.endpoint
    if endpoint is None:
        return skipped("objects are not at an S3 endpoint that is set")
    async with httpx.AsyncClient(timeout=4) as client:
        date = (await client.head(endpoint)).headers.get("date")
    if date is None:
        return skipped("it does not tell its time")
    apart = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    if apart > CLOCK:
        return wrong(f"This machine's clock and the store's are {apart:.0f} s apart.", "Let both keep time by NTP.")
    return well("This machine's clock and the store's agree.", apart=round(apart))


async def _refuses(objects: Objects, key: str) -> bool:
    try:
        await objects.put(key, b"other")
    except ObjectTaken:
        return True
    return False


def _objects(patient: Patient) -> Objects:
    assert patient.objects is not None, "the check before has opened it"  # noqa: S101
    return patient.objects
