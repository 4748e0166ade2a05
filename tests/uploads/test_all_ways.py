"""Each way to upload gives the same image, the same events and timeline, and the same refusals."""

import asyncio
import hashlib
import time
from contextlib import suppress
from typing import Any

import pytest

import ietf_requests as ietf
import photos
import tus_requests as tus
from conftest import running_application
from credentials import bearer_headers, make_token
from upload_cases import MAX_BYTES, PHOTO, Sender, by_all_ways
from upload_ways import image_id, problem_of, put_parts

ALL_FIELDS = {
    "title": "A lake",
    "description": "In the morning",
    "alt": "Water",
    "tags": ["a", "b"],
    "visibility": "public",
    "lane": "bulk",
    "focus": "0.5,0.25",
}


async def test_a_photo_with_all_fields(store):
    async def case(sender: Sender) -> Any:
        return await sender.seen(await sender.send(name="Ä lake.jpg", fields=ALL_FIELDS))

    found = await by_all_ways(store, case)
    image = found["image"]
    assert (image["title"], image["sha256"]) == ("A lake", hashlib.sha256(PHOTO).hexdigest())
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


async def cancel_ietf(sender: Sender) -> None:
    url = await ietf.created(sender.client, len(PHOTO), sender.headers)
    await ietf.append(sender.client, url, 0, PHOTO[:1000], sender.headers)
    await sender.client.delete(url, headers=sender.headers)


CANCEL = {
    "form": break_off,
    "body": break_off,
    "tus": cancel_tus,
    "direct": cancel_direct,
    "ietf": cancel_ietf,
    "ietf at once": cancel_ietf,
}


async def test_an_upload_of_another_owner_is_not_found(store):
    async with running_application(store) as (_, client):
        maya, nils = bearer_headers(make_token("maya")), bearer_headers(make_token("nils"))
        urls = [
            await tus.created(client, len(PHOTO), maya),
            (await client.post(f"{tus.BASE}/direct", json={"size": len(PHOTO)}, headers=maya)).headers["Location"],
            await ietf.created(client, len(PHOTO), maya),
        ]
        for url in urls:
            for answer in (
                await client.get(url, headers=nils),
                await tus.patch(client, url, 0, PHOTO, nils),
                await ietf.append(client, url, 0, PHOTO, nils),
                await client.delete(url, headers=nils),
                await client.post(f"{url}/complete", headers=nils),
            ):
                problem = problem_of(answer)
                assert (problem["status"], problem["code"]) == (404, "upload_not_found")
            assert (await client.get(url, headers=maya)).status_code == 200
