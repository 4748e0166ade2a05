"""The focus of an image: set by upload and by edit, shown in every answer, and removed again."""

import json

import pytest

import photos
from factories import post, unique_photo

PHOTO = unique_photo()


async def test_an_image_has_no_focus_until_one_is_set(client):
    image = (await post(client)).json()
    assert image["focus"] is None
    assert (await client.get("/api/v1/images")).json()[0]["focus"] is None


@pytest.mark.parametrize(
    ("text", "focus"),
    [
        ("0.25,0.75", {"x": 0.25, "y": 0.75}),
        ("0,1", {"x": 0.0, "y": 1.0}),
        (" .5 , 0.123456789 ", {"x": 0.5, "y": 0.123456789}),
    ],
)
async def test_an_upload_sets_the_focus(client, text, focus):
    image = (await post(client, focus=text)).json()
    assert image["focus"] == focus
    read = await client.get(f"/api/v1/images/{image['id']}")
    assert read.json()["focus"] == focus
    assert (await client.get("/api/v1/images")).json()[0]["focus"] == focus


@pytest.mark.parametrize(
    "text", ["0.5", "0.5;0.5", "1.001,0", "0,-0.1", "nan,nan", "1e0,0", "a,b", "0.5,0.5,0.5", "٠,٠", "center"]
)
async def test_an_upload_with_an_invalid_focus_is_refused(client, text):
    answer = await post(client, focus=text)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/focus", "detail": f'is "{text}"; expected x,y from 0,0 (left, top) to 1,1 (right, bottom)'}
    ]


async def test_an_empty_focus_of_a_form_counts_as_absent(client):
    assert (await post(client, focus=" ")).json()["focus"] is None


async def test_an_edit_sets_keeps_and_removes_the_focus(client, gallery):
    image = (await post(client)).json()["id"]
    url = f"/api/v1/images/{image}"
    edited = await client.patch(url, json={"focus": {"x": 0.2, "y": 1}})
    assert (edited.status_code, edited.json()["focus"], edited.json()["version"]) == (200, {"x": 0.2, "y": 1.0}, 2)
    assert (await client.patch(url, json={"title": "Lake"})).json()["focus"] == {"x": 0.2, "y": 1.0}
    assert (await client.get(url)).json()["focus"] == {"x": 0.2, "y": 1.0}
    removed = await client.patch(url, json={"focus": None})
    assert (removed.json()["focus"], removed.json()["title"], removed.headers["etag"]) == (None, "Lake", '"4"')
    assert (await client.get(url)).json()["focus"] is None
    async with gallery.database.primary() as db:
        events = await db.fetch("SELECT type, version FROM event ORDER BY id OFFSET 1")
    assert events == [("image.updated", version) for version in (2, 3, 4)]


@pytest.mark.parametrize(
    ("focus", "pointer", "detail"),
    [
        ({"x": 1.01, "y": 0}, "/focus/x", "must be at most 1"),
        ({"x": 0, "y": -0.01}, "/focus/y", "must be at least 0"),
        ({"x": 0.5}, "/focus/y", "is missing"),
        ({"x": 0, "y": 0, "z": 0}, "/focus/z", "is an unknown field; expected one of x, y"),
        ("0.5,0.5", "/focus", "must be an object or null, not a string"),
        ([0.5, 0.5], "/focus", "must be an object or null, not an array"),
    ],
)
async def test_an_edit_with_an_invalid_focus_is_refused(client, focus, pointer, detail):
    image = (await post(client)).json()["id"]
    answer = await client.patch(f"/api/v1/images/{image}", json={"focus": focus})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_a_focus_is_a_finite_number(client, number):
    image = (await post(client)).json()["id"]
    body = json.dumps({"focus": {"x": 0, "y": 0}}).replace('"x": 0', f'"x": {number}')
    answer = await client.patch(f"/api/v1/images/{image}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_another_focus_is_another_request(client):
    headers = {"Idempotency-Key": "focus-1"}
    assert (await post(client, PHOTO, headers=headers, focus="0.5,0.5")).status_code == 201
    other = await post(client, PHOTO, headers=headers, focus="0.5,0.6")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    again = await post(client, PHOTO, headers=headers, focus="0.5,0.5")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")


async def test_the_focus_survives_rendering_and_duplicates(client, processing):
    content = photos.a_png()
    image = (await post(client, content, focus="0.1,0.9")).json()
    await processing.process(image["id"])
    again = (await post(client, content, focus="0.5,0.5")).json()
    assert (again["status"], again["duplicate"], again["focus"]) == ("READY", True, {"x": 0.1, "y": 0.9})
