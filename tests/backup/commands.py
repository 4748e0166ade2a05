"""Helpers of the backup tests: a Gallery to back up, one to restore into, and the commands."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import obstore

from gallery.access.model import OPEN_MODE_CALLER
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery
from gallery_processes import GALLERY
from s3 import create_bucket

READY = "SELECT id::text, sha256 FROM image WHERE status = 'READY' AND deleted_at IS NULL"


async def run_gallery(environment: Mapping[str, str], *args: str) -> tuple[int, list[dict[str, Any]], str]:
    """Runs `gallery … --json` and returns its exit code, its lines and its stderr."""
    child = await asyncio.create_subprocess_exec(
        GALLERY, *args, "--json", env=dict(environment), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await child.communicate()
    return child.returncode or 0, [json.loads(line) for line in out.splitlines()], err.decode()


async def run_successfully(environment: Mapping[str, str], *args: str) -> dict[str, Any]:
    """The last line of a command that must succeed."""
    code, lines, err = await run_gallery(environment, *args)
    assert code == 0, (lines, err)
    return lines[-1]


async def empty_environment(environment: Mapping[str, str], tmp_path: Any) -> dict[str, str]:
    """The same servers, but an empty database and an empty store."""
    name = f"restored_{uuid4().hex}"
    db = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        await db.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    finally:
        await db.close()
    fresh = {"DATABASE_URL": f"{environment['DATABASE_URL'].rsplit('/', 1)[0]}/{name}"}
    if "S3_BUCKET" in environment:
        fresh["S3_BUCKET"] = f"restored-{name[-12:]}"
    return {**environment, **fresh, "GALLERY_DATA_DIR": str(tmp_path / f"data-{name}")}


async def make_bucket(environment: Mapping[str, str], location: str) -> None:
    """Creates the bucket: the test's S3 server does so with the first object."""
    await obstore.put_async(create_bucket(dict(environment), urlsplit(location).netloc), "there", b"")


async def restore(environment: Mapping[str, str], location: str, tmp_path: Any) -> dict[str, str]:
    fresh = await empty_environment(environment, tmp_path)
    await run_successfully(fresh, "restore", location)
    return fresh


async def ready_images(gallery: Gallery) -> dict[str, str]:
    """The ids of READY images, with the hash of their original."""
    async with gallery.database.primary() as db:
        return {row["id"]: row["sha256"] for row in await db.fetch(READY)}


async def served_images(environment: Mapping[str, str]) -> dict[str, str]:
    """The READY images whose original and renditions can all be read, with the hash of the original's bytes."""
    found = {}
    async with open_gallery(Settings.read(environment)) as gallery:
        for id_ in await ready_images(gallery):
            image = await gallery.images.get(OPEN_MODE_CALLER, id_)
            for rendition in image.renditions:
                content = await _bytes(gallery, image.rendition_key(rendition), rendition.size)
                assert len(content) == rendition.size
            found[id_] = hashlib.sha256(await _bytes(gallery, image.original_key, image.size)).hexdigest()
    return found


async def _bytes(gallery: Gallery, key: str, size: int) -> bytes:
    return b"".join([chunk async for chunk in await gallery.pictures.open(key, size)])


def ignore_progress(_: object) -> None:
    """Ignores the progress."""
