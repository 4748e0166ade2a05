"""`POST /api/v1/images/check`: which files a client need not send."""

import hashlib
import json

import httpx
import pytest

import photos
from conftest import running_application
from credentials import bearer_headers, closed_application, make_token
from factories import post

CHECK = "/api/v1/images/check"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def check(client: httpx.AsyncClient, *files: tuple[str, str], **options) -> httpx.Response:
    return await client.post(CHECK, json=[{"id": id_, "sha256": digest} for id_, digest in files], **options)


async def test_the_answer_has_the_callers_ids_in_the_order_sent(client):
    lake, dawn, sent = photos.a_jpeg(64, 48, seed=1), photos.a_jpeg(64, 48, seed=2), sha256(b"not there")
    first, second = (await post(client, lake)).json(), (await post(client, dawn)).json()
    answer = await check(
        client,
        ("b/Zürich.jpg", sha256(dawn)),
        ("", sent),
        ("a.jpg", sha256(lake).upper()),
        ("a copy", sha256(lake)),
        ("b/Zürich.jpg", sent),
    )
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json() == [
        {"id": "b/Zürich.jpg", "image": second["id"]},
        {"id": ""},
        {"id": "a.jpg", "image": first["id"]},
        {"id": "a copy", "image": first["id"]},
        {"id": "b/Zürich.jpg"},
    ]
    assert first["sha256"] == sha256(lake), "the receipt is what the check takes"


async def test_a_deleted_image_is_not_there(client):
    photo = photos.a_jpeg(64, 48)
    image = (await post(client, photo)).json()["id"]
    await client.delete(f"/api/v1/images/{image}")
    assert (await check(client, ("a", sha256(photo)))).json() == [{"id": "a"}]


async def test_nothing_asked_is_nothing_found(client):
    assert (await check(client)).json() == []


async def test_only_the_callers_own_images_are_found_with_either_scope(settings):
    photo = photos.a_jpeg(64, 48)
    async with closed_application(settings) as (_, client):
        owner = bearer_headers(make_token("maya"))
        image = (await post(client, photo, headers=owner, visibility="public")).json()["id"]
        for scope in ("images:read", "images:write"):
            own = await check(client, ("a", sha256(photo)), headers=bearer_headers(make_token("maya", scope)))
            assert own.json() == [{"id": "a", "image": image}]
        for other in (make_token("noah"), make_token("root", "admin")):
            assert (await check(client, ("a", sha256(photo)), headers=bearer_headers(other))).json() == [{"id": "a"}]
        refused = await check(client, headers=bearer_headers(make_token("maya", "")))
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
        assert (await check(client)).status_code == 401


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({"id": "a"}, "/1/sha256"),
        ({"sha256": "0" * 64}, "/1/id"),
        ({"id": 7, "sha256": "0" * 64}, "/1/id"),
        ({"id": "a", "sha256": "0" * 63}, "/1/sha256"),
        ({"id": "a", "sha256": "0" * 65}, "/1/sha256"),
        ({"id": "a", "sha256": "0" * 63 + "g"}, "/1/sha256"),
        ({"id": "a", "sha256": "0" * 63 + "\n"}, "/1/sha256"),
        ({"id": "a", "sha256": "0" * 64 + "\n"}, "/1/sha256"),
        ({"id": "a", "sha256": "0" * 64, "size": 1}, "/1/size"),
        ("a", "/1"),
    ],
)
async def test_an_invalid_entry_is_named(client, entry, pointer):
    answer = await client.post(CHECK, json=[{"id": "a", "sha256": "0" * 64}, entry])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_five_thousand_files_are_one_request_and_more_are_refused(environment):
    limits = {"GALLERY_RATE__STRANGER": "9 per 3600", "GALLERY_RATE__UPLOADS": "1 per 3600"}
    async with running_application(environment, **limits, GALLERY_RATE__ENABLED="true") as (_, client):
        photo = photos.a_jpeg(64, 48)
        image = (await post(client, photo)).json()["id"]
        many = [(f"{number:0100}", sha256(b"%d" % number)) for number in range(4999)] + [("the last", sha256(photo))]
        answer = await check(client, *many)
        assert answer.status_code == 200
        assert [file["id"] for file in answer.json()] == [id_ for id_, _ in many]
        assert [file for file in answer.json() if "image" in file] == [{"id": "the last", "image": image}]
        assert answer.headers["ratelimit"].startswith('"requests";r=8;')
        refused = await check(client, *many, ("one more", "0" * 64))
        assert (refused.status_code, refused.json()["errors"]) == (
            422,
            [{"pointer": "", "detail": "must have at most 5000 items"}],
        )


async def test_a_body_of_more_than_a_mebibyte_is_too_large(client):
    entry = json.dumps([{"id": "x", "sha256": "0" * 64}]).encode()
    for size, status in ((1024 * 1024, 200), (1024 * 1024 + 1, 413)):
        body = entry.replace(b'"x"', b'"' + b"x" * (size - len(entry) + 1) + b'"')
        assert len(body) == size
        answer = await client.post(CHECK, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
