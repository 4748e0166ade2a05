"""Bounds of uploads in several requests, which a sender must not get around."""

import asyncio
import hashlib

import photos
import tus_requests as tus
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, create_upload_ticket, make_token, upload_headers

MAYA = bearer_headers(make_token("maya"))
NOAH = bearer_headers(make_token("noah"))
THREE = {"GALLERY_UPLOAD__MAX_UNDER_WAY": "3", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}


async def test_an_owner_has_so_many_uploads_under_way(environment):
    content = photos.a_jpeg()
    async with running_application(environment, **THREE) as (_, client):
        answers = await asyncio.gather(*(tus.create(client, len(content), MAYA) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 5
        refused = next(answer.json() for answer in answers if answer.status_code == 429)
        assert refused["code"] == "too_many_uploads"
        assert "The limit is 3 (GALLERY_UPLOAD__MAX_UNDER_WAY)" in refused["detail"]
        direct = await client.post(f"{tus.BASE}/direct", json={"size": len(content)}, headers=MAYA)
        assert (direct.status_code, direct.json()["code"]) == (429, "too_many_uploads")
        assert (await tus.create(client, len(content), NOAH)).status_code == 201
        first, second = [answer.headers["Location"] for answer in answers if answer.status_code == 201][:2]
        assert (await tus.patch(client, first, 0, content, MAYA)).headers["Gallery-Image"]
        key = {"idempotencyKey": "k1"}
        begun = await tus.created(client, len(content), MAYA, **key)
        assert await tus.created(client, len(content), MAYA, **key) == begun
        assert (await client.delete(second, headers=tus.VERSION | MAYA)).status_code == 204
        assert (await tus.create(client, len(content), MAYA)).status_code == 201
        assert (await tus.create(client, len(content), MAYA)).status_code == 429


async def test_uploads_that_a_page_leaves_behind_do_not_keep_its_owner_from_uploading(environment):
    async with running_application(environment, **THREE) as (_, client):
        ticket = upload_headers((await create_upload_ticket(client, MAYA, uses=5))["ticket"])
        begun = [(await tus.create(client, 5, ticket)).status_code for _ in range(6)]
        assert begun == [201] * 5 + [403]
        assert (await tus.create(client, 5, MAYA)).status_code == 201


async def test_the_parts_of_a_huge_file_fit_into_one_answer(environment):
    for size in (9 * 10**9, 80 * 10**9, 5 * 10**12):
        async with running_application(environment, GALLERY_UPLOAD__MAX_BYTES=str(size)) as (_, client):
            parts = (await client.post(f"{tus.BASE}/direct", json={"size": size})).json()["parts"]
            assert 500 < len(parts) <= 1000
            bounds = [0, *(part["to"] for part in parts)]
            assert ([part["from"] for part in parts], bounds[-1]) == (bounds[:-1], size)
            assert parts[0]["to"] <= 5 * 2**30


async def test_a_signed_part_cannot_change_what_tus_has_hashed(running):
    """So the SHA-256 of an image is that of its bytes, also if its sender uses both ways at once."""
    _, client = running
    content = photos.a_jpeg()
    body = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    upload = (await client.post(f"{tus.BASE}/direct", json=body)).json()
    url = f"{tus.BASE}/{upload['id']}"
    assert (await tus.patch(client, url, 0, content)).json()["code"] == "upload_not_found"
    assert (await client.get(url)).json()["received"] == 0
    by_tus = await tus.created(client, len(content), idempotencyKey="k1")
    assert (await client.post(f"{by_tus}/complete")).json()["code"] == "upload_not_found"
    both = await client.post(f"{tus.BASE}/direct", json={"size": len(content)}, headers={"Idempotency-Key": "k1"})
    assert (both.status_code, both.json()["code"]) == (409, "still_in_flight")
