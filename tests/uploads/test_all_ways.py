"""Each way to upload gives the same image, the same events and timeline, and the same refusals."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import httpx
import pytest

import photos
import tus_requests as tus
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, create_upload_ticket, make_token, upload_headers
from factories import expire_pending_puts, stored_keys
from gallery.wiring import Gallery
from s3 import create_bucket
from upload_ways import WAYS, File, Way, image_id, is_duplicate, problem_of, put_parts

PHOTO = photos.a_jpeg()
MAX_BYTES = 2 * len(PHOTO)
SETTINGS = {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_UPLOAD__MAX_BYTES": str(MAX_BYTES)}
TIMES = re.compile(r'"(createdAt|updatedAt|timestamp|at|nextAttemptAt)":\s*"[^"]+"')
ALL_FIELDS = {
    "title": "A lake",
    "description": "In the morning",
    "alt": "Water",
    "tags": ["a", "b"],
    "visibility": "public",
    "lane": "bulk",
    "focus": "0.5,0.25",
}
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


@pytest.fixture(params=["files", "s3"])
async def store(request, environment, s3) -> dict[str, str]:
    if request.param == "files":
        return environment | SETTINGS
    bucket = f"ways-{abs(hash(environment['DATABASE_URL'])) % 10**9}"
    create_bucket(s3, bucket)
    return environment | SETTINGS | s3 | {"S3_BUCKET": bucket}


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


async def test_a_photo_with_all_fields(store):
    async def case(sender: Sender) -> Any:
        return await sender.seen(await sender.send(name="Ä lake.jpg", fields=ALL_FIELDS))

    found = await by_all_ways(store, case)
    image = found["image"]
    assert image["title"], image["sha256"] == ("A lake", hashlib.sha256(PHOTO).hexdigest())
    assert (image["originalName"], image["tags"], image["visibility"]) == ("Ä lake.jpg", ["a", "b"], "public")
    assert image["focus"] == {"x": 0.5, "y": 0.25}
    assert [event[0] for event in found["events"]] == ["image.uploaded"]
    assert [entry["stage"] for entry in found["timeline"]] == ["uploaded"]


@pytest.mark.parametrize("name", ["", "a/lake.JPG", "x" * 300 + ".jpg", "日本\u200d.jpg", ".jpg"])
async def test_a_photo_without_a_title_has_that_of_its_file(store, name):
    async def case(sender: Sender) -> Any:
        seen = await sender.seen(await sender.send(name=name))
        return seen["image"]["title"], seen["image"]["originalName"]

    await by_all_ways(store, case)


async def test_empty_fields_are_absent(store):
    async def case(sender: Sender) -> Any:
        fields = {"title": " ", "description": "", "alt": "", "tags": [""], "visibility": "", "lane": "", "focus": ""}
        return (await sender.seen(await sender.send(fields=fields, name="lake.jpg")))["image"]

    assert (await by_all_ways(store, case))["title"] == "lake"


async def test_the_same_bytes_are_the_first_image(store):
    async def case(sender: Sender) -> Any:
        first = await sender.seen(await sender.send(fields=ALL_FIELDS))
        second = await sender.seen(await sender.send(fields={"title": "Another"}, name="other.jpg"))
        return first, second

    first, second = await by_all_ways(store, case)
    assert (first["again"], second["again"]) == (False, True)
    assert first | {"again": True} == second


async def test_a_failed_image_is_tried_again(store):
    async def case(sender: Sender) -> Any:
        id_ = image_id(await sender.send())
        async with sender.gallery.database.primary() as db:
            await db.execute("UPDATE image SET status = 'FAILED' WHERE id = $1", id_)
        return await sender.seen(await sender.send())

    found = await by_all_ways(store, case)
    assert (found["image"]["status"], found["again"]) == ("PENDING", True)
    assert [event[0] for event in found["events"]] == ["image.uploaded", "image.updated"]


REFUSED: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "too large": ({"content": PHOTO + bytes(MAX_BYTES)}, (413, "too_large")),
    "empty": ({"content": b""}, (415, "not_a_picture")),
    "not a picture": ({"content": b"something else"}, (415, "not_a_picture")),
    "a few bytes": ({"content": b"\xff\xd8"}, (415, "not_a_picture")),
    "too many pixels": ({"content": photos.a_png_bomb()}, (422, "too_many_pixels")),
    "a long title": ({"fields": {"title": "x" * 121}}, (422, "invalid_field")),
    "a long tag": ({"fields": {"tags": ["a", "x" * 51]}}, (422, "invalid_field")),
    "too many tags": ({"fields": {"tags": [str(n) for n in range(51)]}}, (422, "invalid_field")),
    "a wrong focus": ({"fields": {"focus": "2,2"}}, (422, "invalid_field")),
    "a wrong visibility": ({"fields": {"visibility": "secret"}}, (422, "invalid_field")),
    "a wrong lane": ({"fields": {"lane": "maintenance"}}, (422, "invalid_field")),
    "a malformed hash": ({"sha256": "abc"}, (422, "invalid_field")),
    "another hash": ({"sha256": "0" * 64}, (422, "digest_mismatch")),
    "an expired token": (
        {"headers": bearer_headers(make_token("maya", exp=int(time.time()) - 3600))},
        (401, "token_expired"),
    ),
    "no credential": ({"headers": {"X-Nothing": ""}}, (401, "credentials_required")),
    "no scope": ({"headers": bearer_headers(make_token("maya", "images:read"))}, (403, "scope_missing")),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal(store, name):
    sent, expected = REFUSED[name]

    async def case(sender: Sender) -> Any:
        problem = problem_of(await sender.send(**sent))
        assert await sender.kept() == (0, 0)
        return problem

    problem = await by_all_ways(store, case)
    assert (problem["status"], problem["code"]) == expected


async def test_an_unknown_field_is_named(store):
    """The field names that the answer lists are those of the way."""

    async def case(sender: Sender) -> Any:
        problem = problem_of(await sender.send(fields={"owner": "me"}))
        return {**problem, "errors": [error["pointer"] for error in problem["errors"]]}

    assert (await by_all_ways(store, case))["errors"] == ["/owner"]


async def test_the_quota(store):
    async def case(sender: Sender) -> Any:
        await sender.send()
        problem = problem_of(await sender.send(PHOTO + b"x"))
        assert await sender.kept() == (1, 1)
        return problem

    problem = await by_all_ways(store, case, GALLERY_UPLOAD__QUOTA_BYTES=str(len(PHOTO)))
    assert (problem["status"], problem["code"]) == (413, "quota_exceeded")


async def test_a_retry_with_the_same_key_gets_the_first_image(store):
    async def case(sender: Sender) -> Any:
        answers = [await sender.send(key="k1", fields={"title": "Lake"}) for _ in range(2)]
        assert image_id(answers[0]) == image_id(answers[1])
        assert await sender.kept() == (1, 1)
        other = problem_of(await sender.send(key="k1", fields={"title": "Sea"}))
        return [await sender.seen(answer) for answer in answers], other

    (first, again), other = await by_all_ways(store, case)
    assert first == again
    assert (other["status"], other["code"]) == (422, "idempotency_key_reused")


async def test_a_key_is_of_use_again_after_a_refusal(store):
    async def case(sender: Sender) -> Any:
        refused = problem_of(await sender.send(b"no picture", key="k1"))
        return refused, await sender.seen(await sender.send(key="k1"))

    await by_all_ways(store, case)


async def test_a_ticket(store):
    async def case(sender: Sender) -> Any:
        ticket = await sender.ticket(uses=1, visibility="public", tags=["page"], lane="bulk")
        first = await sender.send(headers=ticket, key="k1", fields={"tags": ["own"]})
        retried = await sender.send(headers=ticket, key="k1", fields={"tags": ["own"]})
        assert image_id(first) == image_id(retried)
        used_up = problem_of(await sender.send(PHOTO + b"x", headers=ticket))
        return await sender.seen(first), used_up, await sender.kept()

    found, used_up, _ = await by_all_ways(store, case)
    assert (found["image"]["visibility"], found["image"]["tags"]) == ("public", ["own", "page"])
    assert (used_up["status"], used_up["code"]) == (403, "upload_ticket_used_up")


RULES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, str]]] = {
    "types": ({"types": ["image/png"]}, {}, (415, "type_not_accepted")),
    "maxBytes": ({"maxBytes": 1000}, {}, (413, "too_large")),
    "visibility": ({"visibility": "private"}, {"fields": {"visibility": "public"}}, (422, "invalid_field")),
    "lane": ({"lane": "bulk"}, {"fields": {"lane": "interactive"}}, (422, "invalid_field")),
    "tags": ({"tags": ["page"]}, {"fields": {"tags": [str(n) for n in range(50)]}}, (422, "invalid_field")),
}


@pytest.mark.parametrize("name", RULES)
async def test_the_rules_of_a_ticket(store, name):
    rules, sent, expected = RULES[name]

    async def case(sender: Sender) -> Any:
        ticket = await sender.ticket(**rules)
        problem = problem_of(await sender.send(headers=ticket, **sent))
        assert await sender.kept() == (0, 0)
        small = photos.a_png(width=8, height=8)
        return problem, await sender.seen(await sender.send(small, headers=ticket))  # its use is left

    problem, _ = await by_all_ways(store, case)
    assert (problem["status"], problem["code"]) == expected


async def test_an_expired_ticket_and_a_revoked_one(store):
    async def case(sender: Sender) -> Any:
        short = await sender.ticket(expiresIn=1)
        made = await create_upload_ticket(sender.client, sender.headers)
        await sender.client.delete(f"{tus.BASE}/tickets/{made['id']}", headers=sender.headers)
        await asyncio.sleep(1.1)
        return [problem_of(await sender.send(headers=ticket)) for ticket in (short, upload_headers(made["ticket"]))]

    assert {problem["status"] for problem in await by_all_ways(store, case)} == {401}


async def test_an_upload_that_breaks_off_or_is_cancelled_leaves_nothing(store):
    async def case(sender: Sender) -> Any:
        await CANCEL[sender.name](sender)
        async with asyncio.timeout(10):
            while await sender.kept() != (0, 0):
                await asyncio.sleep(0.05)
        return await sender.seen(await sender.send())

    await by_all_ways(store, case)


async def break_off(sender: Sender) -> None:
    async def broken():
        yield PHOTO[:1000]
        raise OSError("the tunnel")

    headers = sender.headers | {"Content-Type": "image/jpeg", "Content-Length": str(len(PHOTO))}
    with suppress(OSError):
        await sender.client.post("/api/v1/images", content=broken(), headers=headers)


async def cancel_tus(sender: Sender) -> None:
    url = await tus.created(sender.client, len(PHOTO), sender.headers)
    await tus.patch(sender.client, url, 0, PHOTO[:1000], sender.headers)
    await sender.client.delete(url, headers=sender.headers | tus.VERSION)


async def cancel_direct(sender: Sender) -> None:
    begun = (await sender.client.post(f"{tus.BASE}/direct", json={"size": len(PHOTO)}, headers=sender.headers)).json()
    await put_parts(sender.client, begun, PHOTO)
    await sender.client.delete(f"{tus.BASE}/{begun['id']}", headers=sender.headers)


CANCEL = {"form": break_off, "body": break_off, "tus": cancel_tus, "direct": cancel_direct}


async def test_an_upload_of_another_owner_is_not_found(store):
    async with running_application(store) as (_, client):
        maya, nils = bearer_headers(make_token("maya")), bearer_headers(make_token("nils"))
        urls = [
            await tus.created(client, len(PHOTO), maya),
            (await client.post(f"{tus.BASE}/direct", json={"size": len(PHOTO)}, headers=maya)).headers["Location"],
        ]
        for url in urls:
            for answer in (
                await client.get(url, headers=nils),
                await tus.patch(client, url, 0, PHOTO, nils),
                await client.delete(url, headers=nils),
                await client.post(f"{url}/complete", headers=nils),
            ):
                problem = problem_of(answer)
                assert (problem["status"], problem["code"]) == (404, "upload_not_found")
            assert (await client.get(url, headers=maya)).status_code == 200
