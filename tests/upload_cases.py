"""Cases that are sent by each way to upload, and what is compared between the ways."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import httpx

import ietf_requests as ietf
import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, create_upload_ticket, make_token, upload_headers
from factories import expire_pending_puts, stored_keys
from gallery.wiring import Gallery
from upload_ways import WAYS, File, Way, image_id, is_duplicate

PHOTO = photos.a_jpeg()
MAX_BYTES = 2 * len(PHOTO)
SETTINGS = {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_UPLOAD__MAX_BYTES": str(MAX_BYTES), **ietf.ON}
TIMES = re.compile(r'"(createdAt|updatedAt|timestamp|at|nextAttemptAt)":\s*"[^"]+"')
EVENTS = "SELECT type, version, data FROM event WHERE owner = $1 ORDER BY id"
KEPT = """
    SELECT (SELECT count(*) FROM image WHERE owner = $1), (SELECT count(*) FROM event WHERE owner = $1)
"""


class Sender:
    """Sends by one way, as an owner of its own."""

    def __init__(self, gallery: Gallery, client: httpx.AsyncClient, name: str) -> None:
        self.gallery = gallery
        self.client = client
        self.name = name
        self.headers = bearer_headers(make_token(name))
        self._way: Way = WAYS[name]

    async def send(self, content: bytes = PHOTO, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        more = {"fields": {}, **more}
        return await self._way(self.client, File(content=content, headers=headers or self.headers, **more))

    async def ticket(self, **rules: Any) -> dict[str, str]:
        return upload_headers((await create_upload_ticket(self.client, self.headers, **rules))["ticket"])

    async def seen(self, answer: httpx.Response) -> dict[str, Any]:
        """The image, its events and its timeline, without its id and without times."""
        id_ = image_id(answer)
        path = f"/api/v1/images/{id_}"
        image = (await self.client.get(path, headers=self.headers)).json()
        timeline = (await self.client.get(f"{path}/timeline", headers=self.headers)).json()
        found = {"image": image, "timeline": timeline, "events": await self.events(), "again": is_duplicate(answer)}
        return json.loads(TIMES.sub(r'"\1": ""', json.dumps(found).replace(id_, "ID")))

    async def events(self) -> list[Any]:
        async with self.gallery.database.primary() as db:
            return [[row[0], row[1], json.loads(row[2])] for row in await db.fetch(EVENTS, self.name)]

    async def kept(self) -> tuple[int, int]:
        """The owner's images and events."""
        async with self.gallery.database.primary() as db:
            return tuple(await db.fetchrow(KEPT, self.name))


Case: TypeAlias = Callable[[Sender], Awaitable[Any]]


async def by_all_ways(store: dict[str, str], case: Case, **settings: str) -> Any:
    """What the case has seen, which is the same by all ways; and no way leaves an object that no image has."""
    async with running_application(store, **settings) as (gallery, client):
        seen = {name: await case(Sender(gallery, client, name)) for name in WAYS}
        async with gallery.database.primary() as db:
            images = {row[0] for row in await db.fetch("SELECT id::text FROM image")}
        await gallery.sweep.run()
        await expire_pending_puts(gallery)
        await gallery.sweep.run()
        assert await stored_keys(gallery) == {f"original/{image}" for image in images}
    for name, found in seen.items():
        assert found == seen["form"], name
    return seen["form"]
