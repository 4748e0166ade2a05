"""Hostile names and texts: valid ones are stored as data, invalid ones are refused, none causes a 500."""

import asyncio
import itertools
import json
import re
import time
from datetime import timedelta
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import photos
from factories import post, wait_until_settled
from scraping import scrape, wait_for_requests

PHOTO = photos.a_jpeg(64, 48)
NUMBERS = itertools.count()
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FUZZ_SETTINGS = settings(
    deadline=timedelta(seconds=5),
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FILE_NAMES = {  # sent as the file's name
    "plain": "lake.jpg",
    "two dots": "../../../etc/passwd",
    "backslashes": "..\\..\\boot.ini",
    "absolute": "/etc/passwd",
    "quotes": "a\"b'c.jpg",
    "semicolons": 'a"; filename="b.exe',
    "percents": "%2e%2e%2f%00.jpg",
    "right to left": "gpj.\u202eexe",
    "emoji": "🏔️👩‍👩‍👧‍👦.jpg",
    "accents": "Łódź – naïve café.jpg",
    "device": "CON",
    "device with an extension": "aux.jpg",
    "spaces": "  . ",
    "dots": "..",
    "markup": "<img src=x onerror=alert(1)>.jpg",
    "sql": "'; DROP TABLE image; --.jpg",
    "template": "{{7*7}}${7*7}%s%n.jpg",
    "separators": "a\u2028b\u0085c.jpg",
    "beyond the plane": "\U0010ffff\ufffe.jpg",
}


def part(name: bytes, value: bytes, *, file: bytes | None = None, more: bytes = b"") -> bytes:
    file_name = b"" if file is None else b'; filename="%s"' % file
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n%s\r\n' % (name, file_name, more, value)


async def send(client: httpx.AsyncClient, *parts: bytes, end: bytes = b"--x--\r\n") -> httpx.Response:
    """Each time with other bytes after the photo's end, or it would be the image that is there."""
    body = b"".join(parts).replace(PHOTO, another_photo())
    return await client.post("/api/v1/images", content=body + end, headers=FORM)


def another_photo() -> bytes:
    return PHOTO + b"%d" % next(NUMBERS)


async def upload_named(client: httpx.AsyncClient, raw: bytes) -> httpx.Response:
    return await send(client, part(b"file", PHOTO, file=raw))


def browser_encoded(name: str) -> bytes:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()


def disposition(answer: httpx.Response) -> str:
    """The name that a browser would save under."""
    kind, _, name = answer.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert kind.startswith("inline")
    assert re.fullmatch(r"[\w.~%!#$&+^`|{}-]*", name, re.ASCII), "only characters that RFC 8187 allows"
    return unquote(name, errors="strict")


# --- the file's name ------------------------------------------------------------------------------------------------


async def test_a_name_is_kept_as_data(client):
    for kind, name in FILE_NAMES.items():
        answer = await upload_named(client, browser_encoded(name))
        image = answer.json()
        assert (answer.status_code, image.get("originalName")) == (201, name), kind
        assert 1 <= len(image["title"]) <= 120, kind
        assert image["title"].replace("\u200d", "").isprintable(), kind  # the joiner of an emoji
        assert image["s3Key"] == f"original/{image['id']}", "no part of any name"
        original = await client.get(f"/api/v1/images/{image['id']}/original")
        assert (disposition(original), original.content[: len(PHOTO)]) == (name, PHOTO), kind


async def test_a_renditions_name_is_as_safe(client, processing):
    for name in ("../../x\r\nSet-Cookie: a=b.jpg", "\u202egpj.exe", "..", 'a";b.jpg'):
        image = (await upload_named(client, browser_encoded(name))).json()
        await processing.process(image["id"])
        for rendition in (await wait_until_settled(client, image["id"]))["renditions"]:
            answer = await client.get(rendition["url"])
            assert disposition(answer).endswith(rendition["url"].rpartition("/")[2].partition("?")[0])
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"a\x00b.jpg", "ab.jpg"),
        (b"\x00", ""),
        (b"a%0D%0ASet-Cookie: x=y.jpg", "aSet-Cookie: x=y.jpg"),
        (b"a\tb\x1b[31m\x7f.jpg", "ab[31m.jpg"),
        (b"", ""),
    ],
)
async def test_a_name_has_no_control_characters(client, raw, kept):
    answer = await upload_named(client, raw)
    assert (answer.status_code, answer.json()["originalName"]) == (201, kept)
    assert answer.json()["title"] not in ("", "\x00")
    original = await client.get(f"/api/v1/images/{answer.json()['id']}/original")
    assert original.status_code == 200
    assert "set-cookie" not in original.headers


async def test_a_long_name_keeps_its_beginning_and_its_end(client):
    for length in (255, 256, 300, 900):
        name = "ü" * (length - 4) + ".jpg"
        image = (await post(client, another_photo(), name=name)).json()
        assert len(image["originalName"]) == min(length, 255)
        assert image["originalName"].endswith("ü.jpg")
        assert (image["originalName"] == name) == (length == 255)


@pytest.mark.parametrize("raw", [b"\xff\xfe.jpg", b"\xed\xa0\x80.jpg", b"caf\xe9.jpg", b"\xc0\xaf..\xc0\xaf.jpg"])
async def test_a_name_that_is_not_utf_8_is_read_as_windows_writes_it(client, raw):
    answer = await upload_named(client, raw)
    assert (answer.status_code, answer.json()["originalName"]) == (201, raw.decode("cp1252"))


async def test_a_file_without_a_name_is_a_file(client):
    answer = await send(client, part(b"file", PHOTO))
    assert (answer.status_code, answer.json()["originalName"], answer.json()["title"]) == (201, "", "Untitled")


@FUZZ_SETTINGS
@given(name=st.text(max_size=300))
async def test_any_name_comes_back_safe(client, name):
    name = name.encode("utf-8", "ignore").decode()
    answer = await upload_named(client, browser_encoded(name.replace("%", "").replace("\\", "")))
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        original = await client.get(f"/api/v1/images/{answer.json()['id']}/original")
        assert disposition(original) == (answer.json()["originalName"] or answer.json()["id"])


# --- metadata -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["title", "description", "alt", "tags", "visibility", "lane"])
async def test_a_text_with_control_characters_or_without_utf_8_is_refused(client, field):
    for value in (b"a\x00b", b"\x00", b"a\x1bb", b"\x7f", b"\x08", b"\xff", b"\xed\xa0\x80", b"\xc0\x80"):
        answer = await send(client, part(field.encode(), value), part(b"file", PHOTO, file=b"a.jpg"))
        assert answer.status_code == 422, (value, answer.text)
        assert answer.json()["errors"][0]["pointer"].startswith(f"/{field}")


TEXTS = [
    "👩‍👩‍👧‍👦" * 17,
    "\u202egpj",
    "' OR 1=1 --",
    "<b>&amp;",
    "a\u2028b",
    "\\u0000",
    "ﷺ" * 120,
    "null",
    "a\u0301",
]


async def test_any_other_text_is_kept(client):
    for text in TEXTS:
        image = (await post(client, another_photo(), title=text, tags=[text[:50]], description=text)).json()
        assert (image.get("title"), image.get("tags"), image.get("description")) == (text, [text[:50]], text)
        edited = await client.patch(f"/api/v1/images/{image['id']}", json={"alt": text})
        assert edited.json()["alt"] == text


# --- JSON -----------------------------------------------------------------------------------------------------------

NESTING_DEPTH = 30_000
BODIES = {
    "arrays in arrays": (b"[" * NESTING_DEPTH + b"]" * NESTING_DEPTH, {400, 422}),
    "arrays in a field": (b'{"tags":' + b"[" * NESTING_DEPTH + b"]" * NESTING_DEPTH + b"}", {400, 422}),
    "objects in objects": (b'{"a":' * 8_000 + b"1" + b"}" * 8_000, {400, 422}),
    "arrays that never end": (b"[" * 60_000, {400, 422}),
    "100,000 arrays": (b"[" * 100_000 + b"]" * 100_000, {413}),
    "a huge number": (b'{"title":1e99999}', {400, 422}),
    "a number of 60,000 digits": (b'{"title":' + b"9" * 60_000 + b"}", {400, 422}),
    "not a number": (b'{"title":NaN}', {400}),
    "a lone surrogate": (b'{"title":"\\ud800"}', {400, 422}),
    "bytes that are no text": (b'{"title":"\xff"}', {400}),
    "a nul": (b'{"title":"a\\u0000"}', {422}),
    "another encoding": ('{"title":"a"}'.encode("utf-16"), {400}),
    "a byte order mark": (b'\xef\xbb\xbf{"title":"a"}', {200, 400}),
    "nothing": (b"", {400, 422}),
    "null": (b"null", {422}),
    "a string": (b'"title"', {422}),
    "true": (b'{"tags":true}', {422}),
    "a field of nobody's": (b'{"__proto__":{"a":1}}', {422}),
    "too many tags": (json.dumps({"tags": ["a"] * 51}).encode(), {422}),
    "two documents": (b"{}{}", {400}),
    "a comment": (b'{"title":"a"/**/}', {400}),
    "the same key twice": (b'{"title":"a","title":"b"}', {200}),
}


async def test_json_that_was_made_to_hurt(client):
    image = f"/api/v1/images/{(await post(client, PHOTO)).json()['id']}"
    for kind, (body, expected) in BODIES.items():
        began = time.monotonic()
        answer = await client.patch(image, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in expected, (kind, answer.text)
        assert time.monotonic() - began < 2, kind
    assert answer.json()["title"] == "b", "of two the last one counts, as nearly everywhere"


async def test_json_under_another_name(client):
    """JSON is read without its Content-Type; another type is an error."""
    image = f"/api/v1/images/{(await post(client, PHOTO)).json()['id']}"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x/y;"):
        said = {"Content-Type": kind}
        assert (await client.patch(image, content=b'{"title":"a"}', headers=said)).status_code == 200, kind
        assert (await client.patch(image, content=b"title=a", headers=said)).status_code == 400, kind


# --- multipart ------------------------------------------------------------------------------------------------------


A_FILE = part(b"file", PHOTO, file=b"a.jpg")
FORMS = [
    ([A_FILE, part(b"title", b"a"), part(b"title", b"b")], 422),
    ([A_FILE, part(b"FILE", PHOTO, file=b"a.jpg")], 422),
    ([part(b"file[]", PHOTO, file=b"a.jpg")], 422),
    ([part(b"file\x00", PHOTO, file=b"a.jpg")], 422),
    ([part(b"", b"x")], 400),
    ([part(b"file", b"", file=b"a.jpg")], 415),
    ([part(b"title", b"a", file=b"title.txt"), A_FILE], 201),
    ([part(b"file", PHOTO, file=b"a.jpg", more=b"Content-Type: text/html\r\n")], 201),
    ([part(b"file", PHOTO, file=b"a.jpg", more=b"Content-Transfer-Encoding: base64\r\n")], 201),
    ([part(b"file", PHOTO, file=b"a.jpg", more=b"X: y\r\n" * 50)], 400),
    ([part(b"file", PHOTO, file=b"a.jpg", more=b"X: " + b"y" * 9000 + b"\r\n")], 400),
    ([part(b"file", PHOTO, file=b"a.jpg", more=b"Content-Disposition: form-data; name=title\r\n")], 422),
    ([b"--x\r\nContent-Disposition: attachment; filename=a.jpg\r\n\r\n" + PHOTO + b"\r\n"], 400),
    ([b"--x\r\n\r\n" + PHOTO + b"\r\n"], 400),
    ([b"--y\r\n"], 422),
]


async def test_forms_that_are_not_quite_right(client):
    for parts, status in FORMS:
        answer = await send(client, *parts)
        assert answer.status_code == status, (b"".join(parts)[:90], answer.text)


async def test_a_boundary_that_is_none(client):
    for boundary in ('"x', "x" * 5000, "\x01", '""', "x; boundary=y", "é", "%0d%0a", '"x\\""'):
        kind = f"multipart/form-data; boundary={boundary}".encode("latin-1")
        answer = await client.post("/api/v1/images", content=A_FILE + b"--x--\r\n", headers={"Content-Type": kind})
        assert answer.status_code in (201, 400), boundary


async def test_a_length_that_is_none(client):
    url = httpx.URL(str(client.base_url))
    for length in (b"-1", b"abc", b"1e3", b"9" * 40, b"9" * 5000, b"0x10", b"1, 1"):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %s\r\n\r\n--x--\r\n" % length
        )
        async with asyncio.timeout(5):
            assert re.match(rb"HTTP/1.1 4\d\d ", await reader.readline()), length
        writer.close()


async def test_a_body_that_ends_anywhere_leaves_nothing(client, gallery):
    url = httpx.URL(str(client.base_url))
    body = part(b"title", b"Lake") + part(b"file", PHOTO, file=b"a.jpg") + part(b"tags", b"a") + b"--x--\r\n"
    cuts = [*range(0, len(body), max(1, len(body) // 30)), len(body) - 1]
    before = await scrape(client)
    for cut in cuts:
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" % len(body) + body[:cut]
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await wait_for_requests(client, before, len(cuts), method="POST", route="/api/v1/images")
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM object") == 0
        assert await db.fetchval("SELECT count(*) FROM image") == 0
    assert (await post(client, PHOTO)).status_code == 201


PIECES = st.sampled_from([
    b"--x", b"\r\n", b"--x--", b"Content-Disposition: form-data", b'; name="file"', b'; name="title"', b"\r\n\r\n",
    b'; filename="a"', b"; filename*=UTF-8''%ff", b"Content-Type: text/plain; charset=nope", b":", PHOTO, b"\0", b"--",
])  # fmt: skip


@FUZZ_SETTINGS
@given(body=st.lists(st.binary(max_size=40) | PIECES, max_size=25).map(b"".join))
async def test_any_body_is_answered(client, body):
    answer = await client.post("/api/v1/images", content=body, headers=FORM)
    assert 200 <= answer.status_code < 500, answer.text
    answer = await client.post(
        "/api/v1/images", content=b'--x\r\nContent-Disposition: form-data; name="' + body, headers=FORM
    )
    assert 400 <= answer.status_code < 500, answer.text
