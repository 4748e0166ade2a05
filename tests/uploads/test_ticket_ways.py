"""Upload tickets by each of the four ways. An upload in several requests takes its use as it begins."""

import asyncio
import hashlib

import httpx
import pytest

import photos
import tus_requests
from credentials import (
    bearer_headers,
    closed_application,
    create_upload_ticket,
    make_token,
    unique_photo,
    upload_headers,
)
from factories import post

MAYA = bearer_headers(make_token("maya"))
BASE = "/api/v1/uploads"


@pytest.fixture
async def closed(settings):
    async with closed_application(settings) as (gallery, client):
        yield gallery, client


async def ticket_of(client, **wanted):
    return upload_headers((await create_upload_ticket(client, MAYA, **wanted))["ticket"])


async def begin_direct(client, content, headers, **fields):
    body = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields}
    return await client.post(f"{BASE}/direct", json=body, headers=headers)


async def put_all(client, upload, content):
    for part in upload["parts"]:
        async with httpx.AsyncClient(base_url=client.base_url) as anonymous:
            answer = await anonymous.request(
                part["method"], part["url"], content=content[part["from"] : part["to"]], headers=part["headers"]
            )
            assert answer.status_code == 200, answer.text


async def by_form(client, content, headers, **fields):
    answer = await post(client, content, headers=headers, **fields)
    return answer, answer.json().get("id")


async def by_raw(client, content, headers, **fields):
    headers = {**headers, "Content-Type": "image/jpeg"}
    answer = await client.post("/api/v1/images", content=content, params=fields, headers=headers)
    return answer, answer.json().get("id")


async def by_tus(client, content, headers, **values):
    """The last answer, and the id of the image if there is one."""
    begun = await tus_requests.create(client, len(content), headers, **values)
    if begun.status_code != 201:
        return begun, None
    answer = await tus_requests.patch(client, begun.headers["Location"], 0, content, headers)
    return answer, answer.headers.get("Gallery-Image")


async def by_direct(client, content, headers, **fields):
    begun = await begin_direct(client, content, headers, **fields)
    if begun.status_code != 201:
        return begun, None
    await put_all(client, begun.json(), content)
    answer = await client.post(begun.json()["complete"], headers=headers)
    return answer, answer.json().get("id")


WAYS = pytest.mark.parametrize("send", [by_form, by_raw, by_tus, by_direct])


def code(answer):
    return answer.status_code, answer.json()["code"]


async def uses_left(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT uses_left FROM upload_ticket")


@WAYS
async def test_a_browser_uploads_by_each_way_and_reads_only_that(closed, send):
    gallery, client = closed
    other = (await post(client, unique_photo(), headers=MAYA)).json()["id"]
    ticket = await ticket_of(client, tags=["contest"], visibility="public")
    answer, image = await send(client, unique_photo(), ticket, title="Lake")
    assert answer.status_code in (201, 204), answer.text
    found = (await client.get(f"/api/v1/images/{image}", headers=ticket)).json()
    assert (found["title"], found["tags"], found["visibility"]) == ("Lake", ["contest"], "public")
    assert [one["id"] for one in (await client.get("/api/v1/images", headers=ticket)).json()] == [image]
    assert (await client.get(f"/api/v1/images/{other}", headers=ticket)).status_code == 404
    answer, _ = await send(client, unique_photo(), ticket)
    assert code(answer) == (403, "upload_ticket_used_up")
    assert await uses_left(gallery) == 0


@WAYS
async def test_the_limits_of_a_ticket_hold(closed, send):
    gallery, client = closed
    photo = unique_photo()
    ticket = await ticket_of(client, maxBytes=len(photo), types=["image/png"], visibility="private")
    answer, _ = await send(client, photo + b"\0", ticket)
    assert code(answer) == (413, "too_large")
    assert answer.json()["detail"].endswith("(maxBytes of the upload ticket).")
    answer, _ = await send(client, photo, ticket, visibility="public")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/visibility")
    answer, _ = await send(client, photo, ticket)
    assert code(answer) == (415, "type_not_accepted")
    assert await uses_left(gallery) == 1, "a refused upload gives its use back"
    assert (await client.get("/api/v1/images", headers=MAYA)).json() == []
    small = photos.a_png(64, 48)
    answer, _ = await send(client, small, ticket)
    assert answer.status_code in (201, 204), answer.text


@WAYS
async def test_the_same_bytes_again_are_a_use(closed, send):
    _, client = closed
    photo = unique_photo()
    image = (await post(client, photo, headers=MAYA)).json()["id"]
    ticket = await ticket_of(client)
    answer, found = await send(client, photo, ticket)
    assert (answer.status_code, found) in ((204, image), (200, image))
    assert (await client.get(f"/api/v1/images/{image}", headers=ticket)).status_code == 200
    answer, _ = await send(client, photo, ticket)
    assert code(answer) == (403, "upload_ticket_used_up")


async def test_an_upload_under_way_has_taken_its_use(closed):
    """Otherwise a ticket for one photo could fill the store with the beginnings of many."""
    _, client = closed
    ticket = await ticket_of(client, uses=2)
    begun = await asyncio.gather(
        *(tus_requests.create(client, 1000, ticket) for _ in range(5)),
        *(begin_direct(client, unique_photo(), ticket) for _ in range(5)),
        *(post(client, unique_photo(), headers=ticket) for _ in range(5)),
    )
    statuses = [answer.status_code for answer in begun]
    assert (statuses.count(201), statuses.count(403)) == (2, 13)


async def test_a_cancelled_upload_gives_its_use_back_once(closed):
    gallery, client = closed
    ticket = await ticket_of(client, uses=2)
    kept, cancelled = [await tus_requests.created(client, 1000, ticket) for _ in range(2)]
    assert await uses_left(gallery) == 0
    for status in (204, 404):
        answer = await client.delete(cancelled, headers={**tus_requests.VERSION, **ticket})
        assert answer.status_code == status
    assert await uses_left(gallery) == 1
    assert (await tus_requests.head(client, kept, ticket)).status_code == 200


async def test_an_expired_upload_gives_its_use_back(closed):
    gallery, client = closed
    ticket = await ticket_of(client, uses=2)
    _, image = await by_tus(client, unique_photo(), ticket)
    await tus_requests.created(client, 1000, ticket)
    assert await uses_left(gallery) == 0
    async with gallery.database.writing() as db:
        await db.execute("UPDATE upload SET expires_at = now() - interval '1 s'")
    await gallery.sweep.run()
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM upload") == 0
    assert await uses_left(gallery) == 1, "of the unfinished one alone"
    assert (await client.get(f"/api/v1/images/{image}", headers=ticket)).status_code == 200


async def test_the_same_upload_is_begun_again_without_a_second_use(closed):
    gallery, client = closed
    ticket = await ticket_of(client)
    photo = unique_photo()
    first = await tus_requests.created(client, len(photo), ticket, idempotencyKey="a1")
    assert await tus_requests.created(client, len(photo), ticket, idempotencyKey="a1") == first
    answer = await tus_requests.patch(client, first, 0, photo, ticket)
    assert answer.status_code == 204
    again = await tus_requests.created(client, len(photo), ticket, idempotencyKey="a1")
    assert again == first
    assert await uses_left(gallery) == 0


async def test_an_upload_that_was_answered_before_gives_its_use_back(closed):
    gallery, client = closed
    ticket = await ticket_of(client, uses=2)
    photo = unique_photo()
    first = await post(client, photo, "lake.jpg", headers={**ticket, "Idempotency-Key": "a1"})
    answer, image = await by_tus(client, photo, ticket, filename="lake.jpg", idempotencyKey="a1")
    assert (answer.status_code, image) == (204, first.json()["id"])
    assert await uses_left(gallery) == 1


async def test_a_ticket_reaches_only_its_own_uploads(closed):
    _, client = closed
    one, two = await ticket_of(client), await ticket_of(client)
    photo = unique_photo()
    uploads = [await tus_requests.created(client, len(photo), headers) for headers in (one, MAYA)]
    for url in uploads:
        assert (await client.get(url, headers=two)).status_code == 404
        assert (await tus_requests.patch(client, url, 0, photo, two)).status_code == 404
        assert (await client.delete(url, headers={**tus_requests.VERSION, **two})).status_code == 404
        assert (await client.post(f"{url}/complete", headers=two)).status_code == 404
    assert (await client.get(uploads[0], headers=one)).status_code == 200
    assert (await client.get(uploads[1], headers=one)).status_code == 404


async def test_a_ticket_reads_what_its_owner_has_finished_for_it(closed):
    _, client = closed
    ticket = await ticket_of(client, tags=["contest"])
    photo = unique_photo()
    url = await tus_requests.created(client, len(photo), ticket)
    answer = await tus_requests.patch(client, url, 0, photo, MAYA)
    assert answer.status_code == 204
    image = (await client.get(f"/api/v1/images/{answer.headers['Gallery-Image']}", headers=ticket)).json()
    assert image["tags"] == ["contest"]


async def test_a_revoked_ticket_finishes_nothing(closed):
    gallery, client = closed
    made = await create_upload_ticket(client, MAYA)
    ticket, photo = upload_headers(made["ticket"]), unique_photo()
    url = await tus_requests.created(client, len(photo), ticket)
    await client.delete(f"/api/v1/uploads/tickets/{made['id']}", headers=MAYA)
    assert (await tus_requests.patch(client, url, 0, photo, ticket)).status_code == 401
    await gallery.sweep.run()
    assert (await client.get("/api/v1/images", headers=MAYA)).json() == []
