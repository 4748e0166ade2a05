"""At a start: waits for the object store, and marks it as this installation's."""

import asyncio

from gallery.adapters.objects.store import ObjectStore
from gallery.errors import CannotStart, ObjectStoreUnavailable
from gallery.settings import Settings
from gallery.waiting import StartupWait

STORE_TIMEOUT_SECONDS = 60  # for the object store to become available


async def claim_store(objects: ObjectStore, installation: str, settings: Settings) -> None:
    """Marks the store as this installation's as soon as it answers.

    Raises `CannotStart` after `STORE_TIMEOUT_SECONDS`, `ForeignStore` for another installation's store.
    """
    setting = _store_setting(settings)
    waiting = StartupWait("objects.waiting", setting, STORE_TIMEOUT_SECONDS)
    while True:
        try:
            return await objects.take_ownership(installation)
        except ObjectStoreUnavailable as error:
            if waiting.expired:
                raise CannotStart(
                    f"The object store {objects.location} was not available within {STORE_TIMEOUT_SECONDS} s: {error}. "
                    f"Check {setting}."
                ) from error
            waiting.log(str(error), location=objects.location)
            await asyncio.sleep(1)


def _store_setting(settings: Settings) -> str:
    """The setting that names the object store."""
    if settings.objects.url is not None:
        return "GALLERY_OBJECTS__URL"
    if settings.s3.bucket is not None:
        return "S3_ENDPOINT" if settings.s3.endpoint else "S3_BUCKET"
    return "GALLERY_DATA_DIR"
