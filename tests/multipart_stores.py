"""The stores that take objects in parts: a directory, S3, and one of which Gallery joins the parts."""

from pathlib import Path
from typing import Any

from gallery.adapters.objects.cloud import CloudBackend
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.settings import Settings
from s3 import create_bucket

PART_BYTES = 5 * 1024 * 1024  # the least that S3 takes


def store_kinds() -> list[str]:
    return ["files", "s3", "joined"]


def open_store(request: Any, kind: str, folder: Path) -> ObjectStore:
    """A new, empty store; `request` is pytest's, for the server."""
    if kind == "files":
        return open_objects(Settings(data_dir=str(folder)))
    environment = request.getfixturevalue("s3")
    bucket = f"parts-{abs(hash(folder)) % 10**9}"
    client = create_bucket(environment, bucket)
    if kind == "joined":
        return ObjectStore(CloudBackend(client, 20), timeout=20)
    url = f"s3://{bucket}/some/where"  # the tests of S3 alone use the whole bucket
    return open_bucket(environment, "", GALLERY_OBJECTS__URL=url, GALLERY_S3__CHECKSUM="sha256")


def open_bucket(environment: dict[str, str], bucket: str, **more: str) -> ObjectStore:
    return open_objects(Settings.read({**environment, "GALLERY_S3__TIMEOUT": "20", "S3_BUCKET": bucket, **more}))
