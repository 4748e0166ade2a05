"""Forms as browsers, phones and programs send them, and errors that name the invalid field."""

import itertools

import httpx
import pytest

import photos
from factories import post

NUMBERS = itertools.count()
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def a_photo() -> bytes:
    return photos.a_jpeg(64, 48) + b"%d" % next(NUMBERS)


def part(disposition: str | bytes, content: bytes, *more: bytes) -> bytes:
    raw = disposition if isinstance(disposition, bytes) else disposition.encode()
    head = b"\r\n".join([b"--x", b"Content-Disposition: form-data; " + raw, *more])
    return head + b"\r\n\r\n" + content + b"\r\n"


async def post_form(client: httpx.AsyncClient, *parts: bytes) -> tuple[int, dict]:
    answer = await client.post("/api/v1/images", content=b"".join(parts) + b"--x--\r\n", headers=FORM)
    return answer.status_code, answer.json()


# --- names of files ---------------------------------------------------------------------------------------------------

NAMES = {
    "UTF-8, as browsers send it": ('filename="Zürich.jpg"'.encode(), "Zürich.jpg"),
    "RFC 8187": (b"filename*=UTF-8''Z%C3%BCrich.jpg", "Zürich.jpg"),
    "RFC 8187 beside a plain one": (b"filename=\"Zurich.jpg\"; filename*=UTF-8''Z%C3%BCrich.jpg", "Zürich.jpg"),
    "the other way round": (b"filename*=UTF-8'en'Z%C3%BCrich.jpg; filename=Zurich.jpg", "Zürich.jpg"),
    "RFC 8187 in another charset": (b"filename*=iso-8859-1''Z%FCrich.jpg", "Zürich.jpg"),
    "RFC 8187 of a charset that is none": (b"filename=\"Zurich.jpg\"; filename*=klingon''Z%FCrich.jpg", "Zurich.jpg"),
    "RFC 8187 that is not what it says": (b"filename=\"Zurich.jpg\"; filename*=UTF-8''Z%FCrich.jpg", "Zurich.jpg"),
    "RFC 2047": (b'filename="=?utf-8?B?5paw5bu6LmpwZw==?="', "新建.jpg"),
    "RFC 2047, quoted-printable": (b'filename="=?iso-8859-1?Q?Z=FCrich.jpg?="', "Zürich.jpg"),
    "RFC 2047 that is none": (b'filename="=?klingon?B?5paw?="', "=?klingon?B?5paw?="),
    "RFC 2047 cut off": (b'filename="=?utf-8?B?5p"', "=?utf-8?B?5p"),
    ".NET": (b"filename=\"=?utf-8?B?5paw?=\"; filename*=utf-8''%E6%96%B0%E5%BB%BA.jpg", "新建.jpg"),
    "Windows-1252": (b'filename="Z\xfcrich \x96 See.jpg"', "Zürich – See.jpg"),
    "bytes of no code page": (b'filename="\x81\x8d.jpg"', "\ufffd\ufffd.jpg"),
    "percents that are not encoded": (b'filename="100%25.jpg"', "100%25.jpg"),
}


@pytest.mark.parametrize("kind", NAMES)
async def test_a_file_is_named_as_its_sender_meant(client, kind):
    disposition, name = NAMES[kind]
    status, image = await post_form(client, part(b'name="file"; ' + disposition, a_photo()))
    assert (status, image["originalName"]) == (201, name)


@pytest.mark.parametrize("name", ["می‌خواهم.jpg", "ക്‍ഷ.jpg", "👨‍👩‍👧.jpg"])
async def test_a_title_from_a_name_keeps_the_joiners_in_its_words(client, name):
    status, image = await post_form(client, part(f'name="file"; filename="{name}"', a_photo()))
    assert (status, image["title"]) == (201, name.removesuffix(".jpg"))


async def test_a_name_of_nothing_but_joiners_is_no_title(client):
    _, image = await post_form(client, part('name="file"; filename="\u200d\u200c.jpg"', a_photo()))
    assert image["title"] == "Untitled"


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"   ", b"\r\n"])
async def test_a_field_that_was_not_filled_in_is_absent(client, value):
    fields = [
        part(f'name="{name}"', value) for name in ("title", "description", "alt", "tags", "visibility", "lane", "focus")
    ]
    status, image = await post_form(client, *fields, part('name="file"; filename="lake.jpg"', a_photo()))
    assert status == 201
    assert (image["title"], image["description"], image["alt"], image["tags"]) == ("lake", "", "", [])
    assert image["visibility"] == "private"


async def test_an_empty_field_that_there_is_not_is_still_unknown(client):
    status, problem = await post_form(client, part('name="colour"', b""), part('name="file"', a_photo()))
    assert (status, problem["errors"][0]["pointer"]) == (422, "/colour")
    assert "title, description" in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("disposition", "more"),
    [
        ('name="image"; filename="a.jpg"', []),
        ('name="photo"; filename="a.jpg"', [b"Content-Type: image/jpeg"]),
        ('name="files[]"; filename="a.jpg"', []),
        ('name="upload"', [b"Content-Type: image/jpeg"]),
        ('name="bild\u00fc"; filename="a.jpg"', []),
    ],
)
async def test_the_error_of_a_picture_in_another_field_names_the_right_one(client, disposition, more):
    status, problem = await post_form(client, part(disposition, a_photo() + bytes(40_000), *more))
    name = disposition.split('"')[1]
    assert (status, problem["code"]) == (422, "invalid_field")
    assert problem["errors"] == [{"pointer": f"/{name}", "detail": 'is an unknown field; send the picture as "file"'}]


async def test_a_text_field_may_look_like_a_file(client):
    """As some phones' libraries send all of them."""
    title = part('name="title"; filename="blob"', b"Lake", b"Content-Type: text/plain")
    status, image = await post_form(client, title, part('name="file"; filename="a.jpg"', a_photo()))
    assert (status, image["title"]) == (201, "Lake")


@pytest.mark.parametrize("title", ["", " ", "\u00a0\u2003"])
async def test_a_title_cannot_become_blank(client, title):
    image = (await post(client)).json()
    answer = await client.patch(f"/api/v1/images/{image['id']}", json={"title": title})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/title")
