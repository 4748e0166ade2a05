"""Lists over HTTP: valid parameters, and the errors of invalid ones."""

import re

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from image_rows import insert_images

IMAGES = "/api/v1/images"
LINK = re.compile(r'<(.+)>; rel="next"')


def titles(answer):
    assert answer.status_code == 200, answer.text
    return [image["title"] for image in answer.json()]


async def test_the_link_keeps_the_query(client, gallery):
    await insert_images(gallery, *(f"Zürich & {n}" for n in range(5)), tags=["a b", "c"])
    query = [("search", "zürich"), ("tag", "a b"), ("tag", "c"), ("sort", "title"), ("status", "PENDING,READY")]
    answer = await client.get(IMAGES, params=[*query, ("limit", "2")])
    seen = titles(answer)
    while link := LINK.fullmatch(answer.headers.get("link", "")):
        answer = await client.get(link.group(1))
        seen += titles(answer)
    assert seen == [f"Zürich & {n}" for n in range(5)]


async def test_several_images_are_read_at_once(client, gallery):
    a, b, c = await insert_images(gallery, *"abc")
    answer = await client.get(IMAGES, params={"ids": f"{c},{a},nothing,{b}"})
    assert titles(answer) == ["c", "a", "b"]
    assert "link" not in answer.headers
    assert titles(await client.get(IMAGES, params={"ids": f"{a},{b}", "limit": 1})) == ["a", "b"], "ids are the page"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=1.0", "/limit"),
        ("limit=%20%31", "/limit"),
        ("limit=%D9%A3", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("sort=createdat", "/sort"),
        ("sort=", "/sort"),
        ("sort=id;DROP TABLE image", "/sort"),
        ("status=READY,DONE", "/status"),
        ("status=", "/status"),
        ("tag=", "/tag"),
        ("tag=" + "x" * 51, "/tag"),
        ("tag=%00", "/tag"),
        ("&".join(f"tag={n}" for n in range(11)), "/tag"),
        ("search=" + "x" * 201, "/search"),
        ("search=a%00b", "/search"),
        ("search=a%0Ab", "/search"),
        ("cursor=", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("ids=a&cursor=x", "/cursor"),
        ("ids=a&search=x", "/search"),
        ("ids=a&sort=title", "/sort"),
        ("ids=" + "," * 200, "/ids"),
        ("offset=10", "/offset"),
        ("Limit=10", "/Limit"),
        ("a/b~c=1", "/a~1b~0c"),
    ],
)
async def test_an_invalid_parameter_is_refused_and_named(client, query, pointer):
    answer = await client.get(f"{IMAGES}?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == "invalid_field"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert answer.json()["errors"][0]["detail"]


async def test_the_error_of_an_unknown_parameter_names_the_known_ones(client):
    answer = await client.get(IMAGES, params={"page": 2})
    assert answer.json()["errors"] == [
        {
            "pointer": "/page",
            "detail": "is an unknown parameter; expected one of limit, cursor, sort, status, tag, search, ids, signed",
        }
    ]


async def test_a_cursor_of_another_sort_is_refused(client, gallery):
    await insert_images(gallery, *"abc")
    link = LINK.fullmatch((await client.get(IMAGES, params={"limit": 1})).headers["link"]).group(1)
    assert (await client.get(link)).status_code == 200
    answer = await client.get(f"{link}&sort=title")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/cursor")


@given(
    name=st.sampled_from(["search", "tag", "cursor", "ids", "sort", "status", "limit"]),
    value=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
@with_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_every_value_is_answered_or_refused(client, name, value):
    query = f"{name}=" + "".join(f"%{byte:02X}" for byte in value)
    assert (await client.get(f"{IMAGES}?{query}")).status_code in (200, 422)


async def test_the_document_describes_every_parameter(client):
    listed = (await client.get("/api/openapi.json")).json()["paths"][IMAGES]["get"]
    names = [p["name"] for p in listed["parameters"]]
    assert names == ["limit", "cursor", "sort", "status", "tag", "search", "ids", "signed"]
    assert all(p["description"] and p["in"] == "query" and not p["required"] for p in listed["parameters"])
    assert "default" in listed["responses"]
