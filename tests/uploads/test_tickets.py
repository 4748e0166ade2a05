"""Upload tickets: what a browser may upload and read by one, and for how long."""

import asyncio
import json
import time
from datetime import timedelta
from typing import get_args

import httpx
import pytest

import gallery_processes
import photos
from block_stream import BlockStream
from conftest import wait_until_caught_up
from credentials import (
    JWT_SECRET,
    bearer_headers,
    closed_application,
    create_api_key,
    create_upload_ticket,
    make_token,
    unique_photo,
    upload_headers,
)
from factories import listen, post
from gallery.access import keys, service, ticket_rows
from gallery.access.authorized import AUTHORIZED_KEY
from gallery.background import cancel_and_wait
from gallery.errors import CredentialNotValid
from gallery.images import object_rows
from gallery.notifications.model import EventFilter
from gallery.rendering.probe import Format
from gallery.uploads.tickets_api import PictureType
from gallery.web.clients import client_of
from gallery.wiring import open_processing
from raw_http import RawConnection

MAYA = bearer_headers(make_token("maya"))
NILS = bearer_headers(make_token("nils"))
NOWHERE = "01990000-0000-7000-8000-000000000000"


@pytest.fixture
async def closed(settings):
    async with closed_application(settings) as (gallery, client):
        yield gallery, client


async def ticket_of(client, creator=None, **wanted):
    """The headers of a new ticket."""
    return upload_headers((await create_upload_ticket(client, creator or MAYA, **wanted))["ticket"])


async def upload(client, headers, content=None, **fields):
    return await post(client, content or unique_photo(), headers=headers, **fields)


async def image_of(client, headers, content=None, **fields):
    answer = await upload(client, headers, content, **fields)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def code(answer):
    return answer.status_code, answer.json()["code"]


# --- the ticket -------------------------------------------------------------------------------------------------------


async def test_a_browser_uploads_for_the_owner_by_a_ticket(closed):
    _, client = closed
    made = await create_upload_ticket(client, MAYA)
    assert made.keys() == {"ticket", "expiresIn", "id"}
    assert made["expiresIn"] == 600
    image = await image_of(client, upload_headers(made["ticket"]), title="Lake")
    assert [image["title"], image["visibility"]] == ["Lake", "private"]
    assert [found["id"] for found in (await client.get("/api/v1/images", headers=MAYA)).json()] == [image["id"]]


async def test_without_a_body_a_ticket_is_for_one_upload(closed):
    _, client = closed
    answer = await client.post("/api/v1/uploads/ticket", headers=MAYA)
    assert answer.status_code == 201
    ticket = upload_headers(answer.json()["ticket"])
    await image_of(client, ticket)
    assert code(await upload(client, ticket)) == (403, "upload_ticket_used_up")


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"uses": 0}, "/uses"),
        ({"uses": 1001}, "/uses"),
        ({"expiresIn": 0}, "/expiresIn"),
        ({"expiresIn": 7 * 24 * 3600 + 1}, "/expiresIn"),
        ({"maxBytes": 0}, "/maxBytes"),
        ({"types": []}, "/types"),
        ({"types": ["image/tiff"]}, "/types/0"),
        ({"visibility": "hidden"}, "/visibility"),
        ({"tags": [""]}, "/tags/0"),
        ({"tags": ["\0"]}, "/tags/0"),
        ({"lane": "maintenance"}, "/lane"),
        ({"owner": "nils"}, "/owner"),
    ],
)
async def test_a_wrong_wish_is_refused(closed, wanted, pointer):
    _, client = closed
    answer = await client.post("/api/v1/uploads/ticket", json=wanted, headers=MAYA)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_ticket_may_name_each_accepted_type():
    assert set(get_args(PictureType)) == {kind.mime_type for kind in Format}


async def test_a_ticket_does_not_outlive_the_token_of_its_creator(closed):
    _, client = closed
    short = bearer_headers(make_token("maya", exp=int(time.time()) + 60))
    assert 55 < (await create_upload_ticket(client, short))["expiresIn"] <= 60


async def test_a_ticket_is_sent_as_upload_and_as_nothing_else(closed):
    _, client = closed
    text = (await create_upload_ticket(client, MAYA))["ticket"]
    for headers in (
        bearer_headers(text),
        {"X-Api-Key": text},
        {"Cookie": f"gallery_session={text}"},
        upload_headers(text[:-1]),
        upload_headers(text[:-1] + ("A" if text[-1] != "A" else "B")),
        upload_headers("gt_" + "0" * 32 + text[35:]),
        upload_headers(MAYA["Authorization"].split()[1]),
        {"Authorization": "Upload"},
    ):
        assert code(await upload(client, headers))[0] == 401, headers
        assert (await client.get("/api/v1/images", headers=headers)).status_code == 401, headers
    assert (await client.get("/api/v1/images", params={"ticket": text})).status_code == 401
    assert (await upload(client, {"Authorization": f"uPLOAD  {text}"})).status_code == 201


async def test_a_ticket_beside_another_credential_decides(closed):
    gallery, client = closed
    other = await image_of(client, MAYA)
    _, key = await create_api_key(gallery)
    both = {**await ticket_of(client), "X-Api-Key": key}
    assert (await client.get(f"/api/v1/images/{other['id']}", headers=both)).status_code == 404


# --- its uses ---------------------------------------------------------------------------------------------------------


async def test_a_failed_upload_uses_nothing(closed):
    _, client = closed
    ticket = await ticket_of(client)
    assert (await upload(client, ticket, b"no picture")).status_code == 415
    assert (await upload(client, ticket, title="x" * 121)).status_code == 422
    assert (await client.post("/api/v1/images", content=b"", headers=ticket)).status_code == 400
    assert (await upload(client, ticket)).status_code == 201
    assert (await upload(client, ticket)).status_code == 403


async def test_a_refused_upload_leaves_no_object(closed):
    gallery, client = closed
    ticket = await ticket_of(client, types=["image/png"])
    assert code(await upload(client, ticket)) == (415, "type_not_accepted")
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM object WHERE remove_after > now() + interval '1 minute'") == 0
        assert await db.fetchval("SELECT count(*) FROM object") == 1, "to be removed"
    assert timedelta(minutes=1) < object_rows.RESERVATION_PERIOD


async def test_a_retry_with_the_same_key_is_no_second_use(closed):
    _, client = closed
    ticket = {**await ticket_of(client), "Idempotency-Key": "a1"}
    photo = unique_photo()
    first = await upload(client, ticket, photo)
    again = await upload(client, ticket, photo)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert code(await upload(client, ticket)) == (422, "idempotency_key_reused")
    ticket["Idempotency-Key"] = "a2"
    assert code(await upload(client, ticket)) == (403, "upload_ticket_used_up")


async def test_a_ticket_finds_no_answer_to_its_owners_key(closed):
    _, client = closed
    photo, key = unique_photo(), {"Idempotency-Key": "a1"}
    await upload(client, {**MAYA, **key}, photo)
    other = await upload(client, {**await ticket_of(client), **key}, unique_photo())
    assert other.status_code == 201, "its keys are its own"
    same = await upload(client, {**await ticket_of(client), **key}, photo)
    assert (same.status_code, same.json()["duplicate"]) == (200, True)
    assert "idempotency-replayed" not in same.headers


async def test_the_same_bytes_again_are_a_use(closed):
    _, client = closed
    photo = unique_photo()
    image = await image_of(client, MAYA, photo)
    ticket = await ticket_of(client)
    again = await upload(client, ticket, photo)
    assert (again.status_code, again.json()["id"], again.json()["duplicate"]) == (200, image["id"], True)
    assert code(await upload(client, ticket, photo)) == (403, "upload_ticket_used_up")
    assert (await client.get(f"/api/v1/images/{image['id']}", headers=ticket)).status_code == 200


async def test_a_used_ticket_is_refused_before_the_body(closed):
    _, client = closed
    ticket = await ticket_of(client)
    await image_of(client, ticket)
    headers = [
        (b"Authorization", ticket["Authorization"].encode()),
        (b"Content-Type", b"multipart/form-data; boundary=x"),
    ]
    headers.append((b"Content-Length", b"100000"))
    async with RawConnection(str(client.base_url)) as connection:
        answer = await connection.request(b"POST", b"/api/v1/images", headers, b"--x\r\n")
    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "upload_ticket_used_up"


async def test_fifty_uploads_at_once_by_two_processes_take_ten_uses(environment, tmp_path):
    closed = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
    async with (
        gallery_processes.api(environment, tmp_path, **closed) as one,
        gallery_processes.api(environment, tmp_path, **closed) as two,
        httpx.AsyncClient(base_url=one.url, timeout=60) as first,
        httpx.AsyncClient(base_url=two.url, timeout=60) as second,
    ):
        ticket = await ticket_of(first, uses=10)
        answers = await asyncio.gather(*(upload(client, ticket) for client in (first, second) for _ in range(25)))
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(201), statuses.count(403)) == (10, 40)
        assert {code(answer) for answer in answers if answer.status_code == 403} == {(403, "upload_ticket_used_up")}
        uploaded = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        for client in (first, second):
            listed = (await client.get("/api/v1/images", headers=ticket)).json()
            assert {image["id"] for image in listed} == uploaded
        assert len((await first.get("/api/v1/images", headers=MAYA)).json()) == 10


# --- its limits -------------------------------------------------------------------------------------------------------


async def test_a_ticket_limits_the_bytes_of_a_file(closed):
    _, client = closed
    photo = unique_photo()
    ticket = await ticket_of(client, maxBytes=len(photo))
    larger = await upload(client, ticket, photo + b"\0")
    assert code(larger) == (413, "too_large")
    assert larger.json()["detail"].endswith(f"at most {len(photo):,} bytes (maxBytes of the upload ticket).")
    large = await upload(client, ticket, photo + b"\0" * 600_000)
    assert code(large) == (413, "too_large"), "by Content-Length alone"
    assert (await upload(client, ticket, photo)).status_code == 201


async def test_a_ticket_raises_no_limit_of_the_server(closed):
    _, client = closed
    ticket = await ticket_of(client, maxBytes=1 << 40)
    answer = await upload(client, ticket, unique_photo() + b"\0" * (11 << 20))
    assert code(answer) == (413, "too_large")
    assert "(GALLERY_UPLOAD__MAX_BYTES=10485760)" in answer.json()["detail"]


async def test_a_ticket_limits_the_types_by_content(closed):
    _, client = closed
    ticket = await ticket_of(client, types=["image/png", "image/webp"])
    answer = await post(client, unique_photo(), "lake.png", headers=ticket)
    assert code(answer) == (415, "type_not_accepted")
    assert answer.json()["detail"].endswith("The file is image/jpeg; the ticket accepts image/png, image/webp.")
    assert answer.json()["errors"][0]["pointer"] == "/file"
    assert (await post(client, photos.a_png(), "lake.jpg", headers=ticket)).status_code == 201


async def test_a_duplicate_of_another_type_stays_unread(closed):
    _, client = closed
    photo = unique_photo()
    image = await image_of(client, MAYA, photo)
    ticket = await ticket_of(client, types=["image/png"])
    assert code(await upload(client, ticket, photo)) == (415, "type_not_accepted")
    assert (await client.get(f"/api/v1/images/{image['id']}", headers=ticket)).status_code == 404


async def test_a_ticket_sets_visibility_lane_and_tags(closed):
    gallery, client = closed
    ticket = await ticket_of(client, uses=3, visibility="public", lane="bulk", tags=["contest", "2026"])
    image = await image_of(client, ticket, tags=["lake", "contest"])
    assert (image["visibility"], image["tags"]) == ("public", ["lake", "contest", "2026"])
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT lane FROM image") == "bulk"
    same = await image_of(client, ticket, visibility="public", lane="bulk", title="Sea")
    assert (same["visibility"], same["tags"], same["title"]) == ("public", ["contest", "2026"], "Sea")
    for name, sent, set_to in (("visibility", "private", "public"), ("lane", "interactive", "bulk")):
        answer = await upload(client, ticket, **{name: sent})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"pointer": f"/{name}", "detail": f'is "{sent}"; this upload ticket sets it to "{set_to}"'}
        ]
    assert (await upload(client, ticket, visibility=" ")).status_code == 201, "an empty field counts as absent"


async def test_all_tags_together_have_the_usual_limit(closed):
    _, client = closed
    ticket = await ticket_of(client, tags=[f"t{i}" for i in range(50)])
    answer = await upload(client, ticket, tags=["lake"])
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/tags")


# --- what it reads ----------------------------------------------------------------------------------------------------


async def test_a_ticket_reads_what_it_has_uploaded_and_nothing_else(closed):
    gallery, client = closed
    ticket, other = await ticket_of(client, uses=2), await ticket_of(client)
    mine = await image_of(client, ticket)
    others = [await image_of(client, headers) for headers in (MAYA, NILS, other)]
    async with open_processing(gallery, name="worker") as processing:
        for image in (mine, *others):
            await processing.process(image["id"])
    for path, status in (
        ("", 200),
        ("/original", 200),
        ("/320.webp", 200),
        ("/picture?w=80", 200),
    ):
        assert (await client.get(f"/api/v1/images/{mine['id']}{path}", headers=ticket)).status_code == status, path
        for image in (*others, {"id": NOWHERE}):
            answer = await client.get(f"/api/v1/images/{image['id']}{path}", headers=ticket)
            assert code(answer) == (404, "image_not_found"), path


async def test_a_ticket_reads_public_images_as_anyone_does(closed):
    gallery, client = closed
    image = await image_of(client, MAYA, visibility="public")
    async with open_processing(gallery, name="worker") as processing:
        await processing.process(image["id"])
    ticket = await ticket_of(client)
    for path in ("", "/original", "/picture?w=80"):
        by_ticket = await client.get(f"/api/v1/images/{image['id']}{path}", headers=ticket)
        anonymous = await client.get(f"/api/v1/images/{image['id']}{path}")
        assert by_ticket.status_code == anonymous.status_code, path
    assert (await client.get("/api/v1/images", headers=ticket)).json() == []


async def test_lists_hold_nothing_else(closed):
    _, client = closed
    await image_of(client, MAYA, title="Lake", tags=["a"])
    ticket = await ticket_of(client, uses=5)
    made = [await image_of(client, ticket, title=f"Lake {i}", tags=["a", f"n{i}"]) for i in range(5)]
    ids = [image["id"] for image in made]

    async def listed(**query):
        answer = await client.get("/api/v1/images", params=query, headers=ticket)
        assert answer.status_code == 200, answer.text
        return [image["id"] for image in answer.json()]

    foreign = (await client.get("/api/v1/images?sort=createdAt&limit=1", headers=MAYA)).json()[0]["id"]
    assert foreign not in ids
    assert await listed() == ids[::-1]
    assert await listed(sort="createdAt") == ids
    assert await listed(sort="title") == ids
    assert await listed(search="lake") == ids[::-1]
    assert await listed(tag="n3") == [ids[3]]
    assert await listed(status="PENDING,READY") == ids[::-1]
    assert await listed(status="READY") == []
    assert await listed(ids=f"{ids[2]},{foreign},{ids[0]}") == [ids[2], ids[0]]
    pages, path = [], "/api/v1/images?limit=2&search=lake"
    while path:
        answer = await client.get(path, headers=ticket)
        pages += [image["id"] for image in answer.json()]
        path = answer.links.get("next", {}).get("url")
    assert pages == ids[::-1]


async def test_an_empty_ticket_lists_nothing(closed):
    _, client = closed
    await image_of(client, MAYA, title="Lake")
    ticket = await ticket_of(client)
    for query in ("", "?search=lake", "?status=PENDING"):
        assert (await client.get(f"/api/v1/images{query}", headers=ticket)).json() == []


async def test_a_ticket_gets_no_links_that_outlive_it(closed):
    _, client = closed
    ticket = await ticket_of(client)
    image = await image_of(client, ticket)
    for path in ("/api/v1/images", f"/api/v1/images/{image['id']}"):
        answer = await client.get(path, params={"signed": "true"}, headers=ticket)
        assert code(answer) == (403, "upload_ticket_not_enough"), path
        assert (await client.get(path, params={"signed": "false"}, headers=ticket)).status_code == 200


async def test_a_check_tells_what_the_ticket_has_uploaded_and_nothing_else(closed):
    _, client = closed
    photos_ = [unique_photo() for _ in range(2)]
    ticket = await ticket_of(client)
    images = [await image_of(client, headers, photo) for headers, photo in zip((ticket, MAYA), photos_, strict=True)]
    asked = [{"id": str(i), "sha256": image["sha256"]} for i, image in enumerate(images)]
    answer = await client.post("/api/v1/images/check", json=asked, headers=ticket)
    assert answer.json() == [{"id": "0", "image": images[0]["id"]}, {"id": "1"}]


async def test_answers_in_memory_are_not_mixed_up(closed):
    gallery, client = closed
    await wait_until_caught_up(gallery)
    private = await image_of(client, MAYA)
    ticket = await ticket_of(client, uses=2)
    for _ in range(3):
        assert len((await client.get("/api/v1/images", headers=MAYA)).json()) == 1
        assert (await client.get("/api/v1/images", headers=ticket)).json() == []
        for path, status in (("", 200), ("/original", 200)):
            url = f"/api/v1/images/{private['id']}{path}"
            assert (await client.get(url, headers=MAYA)).status_code == status
            assert (await client.get(url, headers=ticket)).status_code == 404
    mine = await image_of(client, ticket)
    for _ in range(3):
        assert [image["id"] for image in (await client.get("/api/v1/images", headers=ticket)).json()] == [mine["id"]]
        assert len((await client.get("/api/v1/images", headers=MAYA)).json()) == 2


async def test_a_duplicate_is_listed_at_once(closed):
    """No image changes, so no kept answer of the owner is renewed."""
    gallery, client = closed
    await wait_until_caught_up(gallery)
    photo = unique_photo()
    image = await image_of(client, MAYA, photo)
    ticket = await ticket_of(client)
    assert (await client.get("/api/v1/images", headers=ticket)).json() == []
    assert (await upload(client, ticket, photo)).status_code == 200
    assert [one["id"] for one in (await client.get("/api/v1/images", headers=ticket)).json()] == [image["id"]]


async def test_a_browser_waits_for_its_upload_by_prefer(closed):
    gallery, client = closed
    ticket = await ticket_of(client)
    uploading = asyncio.create_task(upload(client, {**ticket, "Prefer": "wait=20"}))
    async with open_processing(gallery, name="worker") as processing, asyncio.timeout(20):
        while not (images := (await client.get("/api/v1/images", headers=ticket)).json()):
            await asyncio.sleep(0.05)
        await processing.process(images[0]["id"])
        assert (await uploading).json()["status"] == "READY"


async def test_a_ticket_in_open_mode_is_as_narrow(client):
    other = (await post(client)).json()
    made = await create_upload_ticket(client)
    ticket = upload_headers(made["ticket"])
    mine = await image_of(client, ticket)
    assert [image["id"] for image in (await client.get("/api/v1/images", headers=ticket)).json()] == [mine["id"]]
    assert (await client.get(f"/api/v1/images/{other['id']}", headers=ticket)).status_code == 404
    assert (await client.delete(f"/api/v1/images/{mine['id']}", headers=ticket)).status_code == 403
    assert (await client.get("/api/v1/images", headers=upload_headers("gt_x"))).status_code == 401
    assert (await client.delete(f"/api/v1/uploads/tickets/{made['id']}")).status_code == 204
    assert (await client.get("/api/v1/images", headers=ticket)).status_code == 401


# --- its events -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["header", "query"])
async def test_its_stream_has_the_events_of_its_images_alone(closed, by):
    gallery, client = closed
    text = (await create_upload_ticket(client, MAYA, uses=2))["ticket"]
    ticket = upload_headers(text)
    mine = await image_of(client, ticket)
    query = {"ticket": text} if by == "query" else {}
    if by == "header":
        client.headers.update(ticket)
    async with listen(client, **query) as stream, open_processing(gallery, name="worker") as processing:
        other = await image_of(client, MAYA)
        await processing.process(other["id"])
        await image_of(client, NILS)
        during = await image_of(client, ticket)
        await processing.process(during["id"])
        await processing.process(mine["id"])
        for _ in range(5):
            await stream.next()
        seen = [(data["imageId"], event) for data, event in zip(stream.data(), stream.types, strict=True)]
    assert seen == [
        *((during["id"], f"image.{kind}") for kind in ("uploaded", "processing", "ready")),
        *((mine["id"], f"image.{kind}") for kind in ("processing", "ready")),
    ]


async def test_an_upload_through_another_process_reaches_the_stream(environment, settings, tmp_path):
    closed = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}
    async with (
        closed_application(settings) as (_, client),
        gallery_processes.api(environment, tmp_path, **closed) as other,
        httpx.AsyncClient(base_url=other.url, timeout=60) as second,
    ):
        text = (await create_upload_ticket(client, MAYA, uses=20))["ticket"]
        async with listen(client, ticket=text) as stream:
            made = []
            for _ in range(10):
                await image_of(second, MAYA)
                made.append((await image_of(second, upload_headers(text)))["id"])
            for _ in made:
                await stream.next()
            assert [data["imageId"] for data in stream.data()] == made


@pytest.mark.parametrize("from_table", [False, True])
async def test_a_replay_has_its_images_alone(closed, monkeypatch, from_table):
    gallery, client = closed
    if from_table:
        monkeypatch.setattr("gallery.notifications.recent_events.RecentEvents.covers", lambda self, number: False)
    text = (await create_upload_ticket(client, MAYA, uses=3))["ticket"]
    made = []
    for _ in range(3):
        await image_of(client, MAYA)
        made.append((await image_of(client, upload_headers(text)))["id"])
    await wait_for_head(gallery, 6)
    async with listen(client, ticket=text, last_event_id="0") as stream:
        for _ in made:
            await stream.next()
        last = await image_of(client, MAYA)
        assert [data["imageId"] for data in stream.data()] == made
        assert last["id"] not in made


async def test_uploads_while_a_stream_opens_are_not_missed(closed):
    """A stream opens while its ticket uploads: each event is there once, by the replay or live."""
    _, client = closed
    text = (await create_upload_ticket(client, MAYA, uses=40))["ticket"]

    async def upload_all():
        return [(await image_of(client, upload_headers(text)))["id"] for _ in range(20)]

    async def follow():
        async with listen(client, ticket=text, last_event_id="0") as stream:
            for _ in range(20):
                await stream.next()
            return [data["imageId"] for data in stream.data()]

    uploading = asyncio.create_task(upload_all())
    streams = []
    for _ in range(10):
        streams.append(asyncio.create_task(follow()))
        await asyncio.sleep(0.03)
    made = await uploading
    assert all(seen == made for seen in await asyncio.gather(*streams))


async def test_a_stream_has_what_was_uploaded_while_it_opened(closed):
    """Between the check of the ticket and the first event: here, all of it."""
    gallery, client = closed
    text = (await create_upload_ticket(client, MAYA))["ticket"]
    caller = await gallery.access.authenticate_ticket(text)
    image = await image_of(client, upload_headers(text))
    await wait_for_head(gallery, 1)
    event_filter = EventFilter(caller.owner, only_images=caller.only_images)
    stream = BlockStream(gallery.feed, "0", event_filter, caller)
    async with asyncio.timeout(10):
        received = b""
        while image["id"].encode() not in received:
            received += await anext(stream)
    await stream.aclose()


async def test_a_stream_by_a_ticket_costs_others_no_query(closed, monkeypatch):
    gallery, client = closed
    looked_up = []
    original = gallery.access.upload_tickets.find_uploaded

    async def find_uploaded(tickets, images):
        looked_up.append(set(tickets))
        return await original(tickets, images)

    monkeypatch.setattr(gallery.access.upload_tickets, "find_uploaded", find_uploaded)
    client.headers.update(MAYA)
    async with listen(client) as stream:
        await image_of(client, MAYA)
        await stream.next()
    assert looked_up == []


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_a_ticket_expires_by_the_clock_of_the_database(closed, monkeypatch):
    gallery, client = closed
    made = await create_upload_ticket(client, MAYA, uses=3, expiresIn=3600)
    ticket = upload_headers(made["ticket"])
    image = await image_of(client, ticket)
    real = time.time
    monkeypatch.setattr("gallery.access.upload_tickets.time.time", lambda: real() + 86_400)
    assert (await client.get(f"/api/v1/images/{image['id']}", headers=ticket)).status_code == 200, "a clock ahead"
    monkeypatch.undo()
    async with gallery.database.writing() as db:
        await db.execute("UPDATE upload_ticket SET expires_at = now() - interval '1 ms'")
    assert code(await client.get(f"/api/v1/images/{image['id']}", headers=ticket)) == (401, "credential_not_valid")
    assert code(await upload(client, ticket)) == (401, "credential_not_valid")
    params = {"ticket": made["ticket"]}
    assert code(await client.get("/api/v1/notifications/stream", params=params)) == (401, "credential_not_valid")


async def test_an_open_stream_ends_when_its_ticket_expires(closed):
    _, client = closed
    text = (await create_upload_ticket(client, MAYA, expiresIn=2))["ticket"]
    assert await stream_seconds(client, text) < 4


async def test_a_revoked_ticket_ends_with_its_streams(closed):
    _, client = closed
    made = await create_upload_ticket(client, MAYA, uses=2)
    ticket = upload_headers(made["ticket"])
    image = await image_of(client, ticket)
    streaming = asyncio.create_task(stream_seconds(client, made["ticket"]))
    other = (await create_upload_ticket(client, MAYA))["ticket"]
    staying = asyncio.create_task(stream_seconds(client, other))
    await asyncio.sleep(0.5)
    where = f"/api/v1/uploads/tickets/{made['id']}"
    for headers, status in ((NILS, 404), ({}, 401), (ticket, 403), (MAYA, 204), (MAYA, 204)):
        assert (await client.delete(where, headers=headers)).status_code == status
    revoked_at = time.monotonic()
    assert (await client.get(f"/api/v1/images/{image['id']}", headers=ticket)).status_code == 401
    assert (await upload(client, ticket)).status_code == 401
    await streaming
    assert time.monotonic() - revoked_at < service.REVOCATION_CHECK_SECONDS + 1
    assert not staying.done(), "the stream of another ticket goes on"
    await cancel_and_wait(staying)
    assert (await client.get(f"/api/v1/images/{image['id']}", headers=MAYA)).status_code == 200, "its images stay"


@pytest.mark.parametrize("id_", [NOWHERE, "x", "%00"])
async def test_an_unknown_ticket_cannot_be_revoked(closed, id_):
    _, client = closed
    answer = await client.delete(f"/api/v1/uploads/tickets/{id_}", headers=MAYA)
    assert code(answer) == (404, "upload_ticket_not_found")


async def test_an_admin_revokes_tickets_of_all_owners(closed):
    _, client = closed
    made = await create_upload_ticket(client, MAYA)
    admin = bearer_headers(make_token("root", "admin"))
    assert (await client.delete(f"/api/v1/uploads/tickets/{made['id']}", headers=admin)).status_code == 204


async def test_a_ticket_ends_with_the_api_key_of_its_creator(closed, monkeypatch):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.0)
    gallery, client = closed
    key, text = await create_api_key(gallery)
    made = await create_upload_ticket(client, bearer_headers(text))
    streaming = asyncio.create_task(stream_seconds(client, made["ticket"]))
    await asyncio.sleep(0.5)
    await gallery.access.keys.revoke(key)
    assert (await upload(client, upload_headers(made["ticket"]))).status_code == 401
    assert (await client.get("/api/v1/images", headers=upload_headers(made["ticket"]))).status_code == 401
    assert await streaming < service.REVOCATION_CHECK_SECONDS + 2


async def test_a_ticket_of_a_session_ends_with_the_signing_key(closed, monkeypatch):
    gallery, client = closed
    await client.post("/api/v1/session", headers=MAYA)
    origin = {"Origin": str(client.base_url).rstrip("/")}
    ticket = upload_headers((await create_upload_ticket(client, origin, uses=2))["ticket"])
    client.cookies.clear()
    assert (await upload(client, ticket)).status_code == 201
    await gallery.access.signatures.rotate(at_once=True)
    assert (await upload(client, ticket)).status_code == 401
    assert (await client.get("/api/v1/images", headers=ticket)).status_code == 401


async def test_a_ticket_that_is_revoked_while_the_body_arrives_adds_nothing(closed):
    _, client = closed
    made = await create_upload_ticket(client, MAYA)
    ticket = {**upload_headers(made["ticket"]), "Content-Type": "multipart/form-data; boundary=x"}
    sent = asyncio.Event()

    async def body():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        await sent.wait()
        yield unique_photo() + b"\r\n--x--\r\n"

    uploading = asyncio.create_task(client.post("/api/v1/images", content=body(), headers=ticket))
    await asyncio.sleep(0.3)
    assert (await client.delete(f"/api/v1/uploads/tickets/{made['id']}", headers=MAYA)).status_code == 204
    sent.set()
    assert code(await uploading) == (401, "credential_not_valid")
    assert (await client.get("/api/v1/images", headers=MAYA)).json() == []


async def test_a_ticket_that_is_revoked_before_the_commit_adds_nothing(closed):
    gallery, client = closed
    made = await create_upload_ticket(client, MAYA)
    await client.delete(f"/api/v1/uploads/tickets/{made['id']}", headers=MAYA)
    async with gallery.database.writing() as db:
        with pytest.raises(CredentialNotValid):
            await ticket_rows.take_use(db, made["id"])
        assert await db.fetchval("SELECT uses_left FROM upload_ticket") == 1


async def test_a_use_that_is_given_back_can_be_taken_once_more(closed):
    gallery, client = closed
    made = await create_upload_ticket(client, MAYA)
    async with gallery.database.writing() as db:
        await ticket_rows.take_use(db, made["id"])
        for _ in range(2):
            await ticket_rows.give_back_use(db, made["id"])
        assert await db.fetchval("SELECT uses_left FROM upload_ticket") == 1


async def test_pictures_on_demand_count_for_the_address_of_the_browser(closed):
    """Otherwise a caller would have a new budget with each ticket that it makes."""
    gallery, client = closed
    text = (await create_upload_ticket(client, MAYA))["ticket"]
    caller = await gallery.access.authenticate_ticket(text)
    assert client_of({"extensions": {AUTHORIZED_KEY: caller}, "client": ("192.0.2.1", 1)}) == "192.0.2.1"


async def test_an_upload_that_began_in_time_is_finished(closed):
    gallery, client = closed
    ticket = {**await ticket_of(client), "Content-Type": "multipart/form-data; boundary=x"}

    async def body():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        await asyncio.sleep(0.5)  # the server has begun to read
        async with gallery.database.writing() as db:
            await db.execute("UPDATE upload_ticket SET expires_at = now()")
        yield unique_photo() + b"\r\n--x--\r\n"

    assert (await client.post("/api/v1/images", content=body(), headers=ticket)).status_code == 201


async def test_expired_tickets_are_deleted_a_day_later(closed):
    gallery, client = closed
    for _ in range(3):
        await image_of(client, await ticket_of(client))
    async with gallery.database.writing() as db:
        await db.execute("UPDATE upload_ticket SET expires_at = now() - interval '23 hours'")
        await ticket_rows.delete_expired(db, 10)
        assert await db.fetchval("SELECT count(*) FROM upload_ticket") == 3
        await db.execute("UPDATE upload_ticket SET expires_at = now() - interval '25 hours'")
        await ticket_rows.delete_expired(db, 2)
        assert await db.fetchval("SELECT count(*) FROM upload_ticket") == 1
    await gallery.sweep.run()
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM upload_ticket") == 0
        assert await db.fetchval("SELECT count(*) FROM upload_ticket_image") == 0


async def stream_seconds(client, ticket):
    """How long a stream lasts."""
    began = time.monotonic()
    async with (
        asyncio.timeout(15),
        client.stream("GET", "/api/v1/notifications/stream", params={"ticket": ticket}) as answer,
    ):
        assert answer.status_code == 200
        await answer.aread()
    return time.monotonic() - began


async def wait_for_head(gallery, number):
    async with asyncio.timeout(10):
        while (await gallery.events.bounds())[0] < number:
            await asyncio.sleep(0.05)
