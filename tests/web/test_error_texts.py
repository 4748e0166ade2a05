"""The facts in error texts: the value, the limit, the choices, the setting."""

from http import HTTPStatus
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, Struct

import photos
from conftest import running_application
from factories import post
from gallery.images.model import Status
from gallery.validation import invalid_field

IMAGES = "/api/v1/images"
STATUSES = "PENDING, PROCESSING, READY, FAILED"
WORDS = "+".join(f"w{number}" for number in range(21))


def field_error(answer) -> tuple[str, str]:
    """The pointer and the detail of the one field that is not valid."""
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), answer.text
    (error,) = answer.json()["errors"]
    return error["pointer"], error["detail"]


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ("status=ready", "/status", f'is "ready"; expected one of {STATUSES}'),
        ("status=READY,DONE", "/status", f'is "DONE"; expected one of {STATUSES}'),
        ("sort=name", "/sort", 'is "name"; expected one of -createdAt, createdAt, -takenAt, title, -size'),
        ("limit=201", "/limit", 'is "201"; expected a number from 1 to 200'),
        ("limit=ten", "/limit", 'is "ten"; expected a number from 1 to 200'),
        ("ids=" + ",".join("a" * 201), "/ids", "has 201 ids; at most 200 are allowed"),
        ("search=" + "a" * 201, "/search", "must have at most 200 characters"),
        (f"search={WORDS}", "/search", "has 21 words; at most 20 are allowed"),
        ("tag=" + "&tag=".join("a" * 11), "/tag", "must have at most 10 items"),
        ("tag=" + "a" * 51, "/tag", "must have at most 50 characters"),
        ("tag=", "/tag", "must have at least 1 character"),
        ("tag=a%0Ab", "/tag", "must not contain control characters"),
        ("q=a", "/q", "is an unknown parameter; expected one of limit, cursor, sort, status, tag, search, ids, signed"),
    ],
)
async def test_a_parameter_of_the_list(client, query, pointer, detail):
    assert field_error(await client.get(f"{IMAGES}?{query}")) == (pointer, detail)


async def test_a_field_of_an_edit(client):
    image = f"{IMAGES}/{(await post(client)).json()['id']}"
    for body, *expected in [
        ({"name": 1}, "/name", "is an unknown field; expected one of title, description, alt, tags, focus"),
        ({"a/b": 1}, "/a~1b", "is an unknown field; expected one of title, description, alt, tags, focus"),
        ({"title": 1}, "/title", "must be a string, not an integer"),
        ({"title": "x" * 121}, "/title", "must have at most 120 characters"),
        ({"title": "a\nb"}, "/title", "must not contain control characters"),
        ({"tags": ["a", "b" * 51]}, "/tags/1", "must have at most 50 characters"),
        ({"tags": ["a"] * 51}, "/tags", "must have at most 50 items"),
        ([], "", "must be an object, not an array"),
        (None, "", "is missing"),
    ]:
        assert field_error(await client.patch(image, json=body)) == tuple(expected)
    for body, *expected in [
        ({"expires": 60}, "/expires", "is an unknown field; expected one of expiresIn, pictures"),
        ({"expiresIn": 0}, "/expiresIn", "must be at least 1"),
        ({"expiresIn": 10**6}, "/expiresIn", "must be at most 604800"),
        ({"expiresIn": "1h"}, "/expiresIn", "must be an integer, not a string"),
    ]:
        assert field_error(await client.post(f"{image}/links", json=body)) == tuple(expected)


@pytest.mark.parametrize(
    ("field", "pointer", "detail"),
    [
        ({"visibility": "all"}, "/visibility", 'is "all"; expected one of private, public'),
        ({"lane": "fast"}, "/lane", 'is "fast"; expected one of interactive, bulk'),
        (
            {"name": "x"},
            "/name",
            "is an unknown field; expected one of file, title, description, alt, tags, visibility, lane, focus, sha256",
        ),
    ],
)
async def test_a_field_of_an_upload(client, field, pointer, detail):
    answer = await client.post(IMAGES, files={"file": ("a.jpg", photos.a_jpeg())}, data=field)
    assert field_error(answer) == (pointer, detail)


@pytest.mark.parametrize(
    ("path", "pointer", "detail"),
    [
        ("/api/v1/notifications/stream?types=ready", "/types", 'is "ready"; expected one of image.uploaded, '),
        ("/api/v1/notifications/stream?imageId=7", "/imageId", "is not the id of an image: expected a UUID"),
        ("/readyz?exclude=redis", "/exclude", 'is "redis"; expected one of postgresql, valkey, objects'),
        ("/admin/queues/failed?limit=201", "/limit", "must be at most 200"),
        ("/admin/queues/failed?limit=ten", "/limit", "must be an integer, not a string"),
        ("/admin/queues/jobs?start=-1", "/start", "must be at least 0"),
        ("/admin/queues/failed?code=A-B", "/code", "does not match ^[a-z][a-z0-9_]*$"),
    ],
)
async def test_a_parameter_elsewhere(client, path, pointer, detail):
    found = field_error(await client.get(path))
    assert (found[0], found[1][: len(detail)]) == (pointer, detail)


async def test_an_invalid_header_and_its_expected_form(client):
    image = f"{IMAGES}/{(await post(client)).json()['id']}"
    jpeg = {"file": ("a.jpg", photos.a_jpeg())}
    for call, code, part in [
        (client.post(IMAGES, files=jpeg, headers={"Idempotency-Key": "a b"}), "invalid_header", "1 to 255 visible"),
        (client.patch(image, json={}, headers={"If-Match": '"7"'}), "version_mismatch", "version is 1 now"),
        (client.get(f"{image}/original", headers={"Range": "bytes=9999999-"}), "range_outside", " bytes."),
        (client.get(IMAGES, headers={"Host": "evil.example"}), "foreign_host", "GALLERY_ACCESS__OPEN"),
        (client.post(IMAGES, headers={"Origin": "https://evil.example"}), "foreign_origin", "CORS_ORIGIN"),
    ]:
        problem = (await call).json()
        assert problem["code"] == code
        assert part in problem["detail"]


async def test_a_rate_limit_names_its_numbers_and_its_setting(environment):
    given = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__STRANGER": "1 per 3600"}
    async with running_application(environment, **given) as (_, client):
        await client.get(IMAGES)
        refused = await client.get(IMAGES)
    assert refused.status_code == HTTPStatus.TOO_MANY_REQUESTS
    retry = refused.headers["retry-after"]
    assert refused.json()["detail"] == (
        "Too many requests. The limit is 1 requests in 3600 seconds (GALLERY_RATE__STRANGER); "
        f"try again in {retry} seconds."
    )


class Inner(Struct, rename="camel"):
    my_status: Status | None = None
    size: Annotated[float, Meta(gt=0)] = 1


class Outer(Struct, forbid_unknown_fields=True):
    inner: Inner
    many: list[Inner] = []
    either: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("sent", "pointer", "detail"),
    [
        ({}, "/inner", "is missing"),
        ({"inner": 1}, "/inner", "must be an object, not an integer"),
        ({"inner": {"myStatus": "x"}}, "/inner/myStatus", f'is "x"; expected one of {STATUSES}'),
        ({"inner": {}, "many": [{}, {"myStatus": "x"}]}, "/many/1/myStatus", f'is "x"; expected one of {STATUSES}'),
        ({"inner": {"size": 0}}, "/inner/size", "must be more than 0"),
        ({"inner": {}, "other": 1}, "/other", "is an unknown field; expected one of inner, many, either"),
        ({"inner": {}, "either": "x"}, "/either", "must be an object or null, not a string"),
    ],
)
def test_the_words_come_from_the_type(sent, pointer, detail):
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert(sent, Outer)
    found = invalid_field(raised.value, Outer)
    assert (found.pointer, found.detail) == (pointer, detail)
