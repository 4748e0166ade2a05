"""The error for a request that breaks a rule names the rule, and quotes nothing of the request."""

import httpx
import pytest

import photos
from conftest import running_application
from factories import post
from gallery.uploads.form import MAX_PARTS
from http_sockets import connect, read_response

FORM = "multipart/form-data; boundary=x"
SECRET = "pa55w0rd"
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
PHOTO = photos.a_jpeg(64, 48)
END = b"\r\n--x--\r\n"


def with_header(line: bytes) -> bytes:
    return FILE + line + b"\r\n\r\n" + PHOTO + END


NO_MULTIPART = "Send the picture as multipart/form-data"
NO_BOUNDARY = "The Content-Type has no boundary"
BOUNDARY_LINE = "A boundary is on a line of its own"
HEADER = "Each line of a part's head is a name, a colon and a value"
LENGTH = "A part's Content-Length is not the length of the part"
DISPOSITION = "Each part needs the header Content-Disposition: form-data"
UNFINISHED = "It ends before its last boundary"
CRLF = "ends with CR and LF"

BODIES = {
    "no content type": (None, b"x", NO_MULTIPART),
    "no boundary": ("multipart/form-data", FILE, NO_BOUNDARY),
    "an empty boundary": ('multipart/form-data; boundary=""', FILE, NO_BOUNDARY),
    "nothing": (FORM, b"", UNFINISHED),
    "another boundary": ("multipart/form-data; boundary=y", with_header(b"X: y"), UNFINISHED),
    "a body that was cut off": (FORM, with_header(b"X: y")[:-9], UNFINISHED),
    "no last boundary": (FORM, FILE + b"\r\n" + PHOTO + b"\r\n--x\r\n", UNFINISHED),
    "LF alone": (FORM, with_header(b"X: y").replace(b"\r\n", b"\n"), CRLF),
    "LF alone in a part's head": (FORM, b'--x\r\nContent-Disposition: form-data; name="file"\n\nx\n--x--', CRLF),
    "something before the first boundary": (FORM, b"pa55w0rd" + FILE, BOUNDARY_LINE),
    "something behind the first boundary": (FORM, b"--xpa55w0rd\r\n", BOUNDARY_LINE),
    "something behind a boundary": (FORM, FILE + b"\r\n" + PHOTO + b"\r\n--xpa55w0rd", BOUNDARY_LINE),
    "a header without a colon": (FORM, with_header(b"pa55w0rd"), HEADER),
    "a header with an invalid name": (FORM, with_header(b"pa(55)w0rd: x"), HEADER),
    "a header that goes on with nothing": (FORM, with_header(b" \t"), HEADER),
    "a header line too long": (FORM, with_header(b"X: " + b"x" * 5000), "at most 4,224 bytes"),
    "too many headers": (FORM, with_header(b"\r\n".join([b"X: y"] * 9)), "at most 8 headers"),
    "too many parts": (
        FORM,
        b'--x\r\nContent-Disposition: form-data; name="tags"\r\n\r\n\r\n' * 101,
        "at most 100 parts",
    ),
    "no disposition": (FORM, b"--x\r\nX: y\r\n\r\n" + PHOTO + END, DISPOSITION),
    "another disposition": (FORM, b'--x\r\nContent-Disposition: attachment; name="file"\r\n\r\nx' + END, DISPOSITION),
    "no name": (FORM, b'--x\r\nContent-Disposition: form-data; filename="a.jpg"\r\n\r\nx' + END, "has no name"),
    "an empty name": (FORM, b'--x\r\nContent-Disposition: form-data; name=""\r\n\r\nx' + END, "has no name"),
    "a part shorter than its length": (FORM, with_header(b"Content-Length: 999999"), LENGTH),
    "a part longer than its length": (FORM, with_header(b"Content-Length: 1"), LENGTH),
    "a length that is none": (FORM, with_header(b"Content-Length: pa55w0rd"), LENGTH),
    "two lengths": (FORM, with_header(b"Content-Length: 1\r\nContent-Length: 1"), LENGTH),
}


def broken(answer_: httpx.Response, code: str, rule: str, status: int = 400) -> bool:
    problem = answer_.json()
    assert (answer_.status_code, problem["code"]) == (status, code)
    assert rule in problem["detail"], problem["detail"]
    assert problem["detail"].endswith((".", "?"))
    assert SECRET not in answer_.text
    return True


@pytest.mark.parametrize("kind", BODIES)
async def test_a_form(client, kind):
    content_type, body, rule = BODIES[kind]
    headers = {"Content-Type": content_type} if content_type else {}
    assert broken(await client.post("/api/v1/images", content=body, headers=headers), "malformed_body", rule)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"file": "pa55w0rd"}'),
        ("application/x-www-form-urlencoded", b"file=pa55w0rd"),
        ("multipart/mixed; boundary=x", FILE + PHOTO + END),
        ("text/plain", PHOTO),
        ("image", PHOTO),
        ("pa55w0rd", b""),
    ],
)
async def test_a_body_of_another_type(client, content_type, body):
    answer_ = await client.post("/api/v1/images", content=body, headers={"Content-Type": content_type})
    assert broken(answer_, "malformed_body", NO_MULTIPART, 415)
    assert answer_.headers["accept-post"] == "multipart/form-data, image/*, application/octet-stream"


def test_the_number_of_parts_is_the_one_that_holds():
    assert MAX_PARTS == 100


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"pa55w0rd", "JSON is malformed: invalid character (byte 0)."),
        (b'{"title": "pa55w0rd"', "Input data was truncated."),
        (b'{"title": pa55w0rd}', "JSON is malformed: invalid character (byte 10)."),
        (b'{"title": "\xff pa55w0rd"}', "UTF-8"),
        (b"[" * 30_000, "Its objects and arrays are nested too deeply."),
    ],
)
async def test_json(client, body, rule):
    path = f"/api/v1/images/{(await post(client)).json()['id']}"
    answer_ = await client.patch(path, content=body, headers={"Content-Type": "application/json"})
    assert broken(answer_, "malformed_body", rule)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"null", b'{"title": 5}', b'{"tags": {}}'])
async def test_json_of_another_type(client, body):
    path = f"/api/v1/images/{(await post(client)).json()['id']}"
    answer_ = await client.patch(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer_.status_code, answer_.json()["code"]) == (422, "invalid_field")
    (detail,) = answer_.json()["errors"]
    assert "must be a" in detail["detail"]
    assert ", not " in detail["detail"]


GET, POST = b"GET /livez HTTP/1.1\r\n", b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LENGTH_1 = b"Content-Length: 1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS = {
    "no method": (b"pa55w0rd\r\n\r\n", "malformed_request", "A request begins with a method"),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", "malformed_request", "A request begins with a method"),
    "no version": (b"GET /livez HTTP/pa55w0rd\r\n\r\n", "malformed_request", "version."),
    "no target": (b"GET http://[pa55w0rd HTTP/1.1\r\n\r\n", "malformed_request", "target is not a path or a URL"),
    "no colon": (GET + b"pa55w0rd\r\n\r\n", "malformed_request", "Invalid header token."),
    "no length": (POST + b"Content-Length: pa55w0rd\r\n\r\n", "malformed_request", "Content-Length"),
    "two lengths": (POST + LENGTH_1 + b"Content-Length: 2\r\n\r\n", "malformed_request", "Duplicate Content-Length."),
    "a length and chunks": (
        POST + LENGTH_1 + b"Transfer-Encoding: chunked\r\n\r\n",
        "malformed_request",
        "Transfer-Encoding can't be present with Content-Length.",
    ),
    "another coding": (
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "malformed_request",
        "other than chunked",
    ),
    "no chunk": (CHUNKED + b"pa55w0rd\r\n", "malformed_request", "Invalid character in chunk size."),
    "a chunk too long": (CHUNKED + b"1\r\npa55w0rd\r\n", "malformed_request", "Expected LF after chunk data."),
    "no host": (GET + b"\r\n", "malformed_host", "Send the header Host"),
    "two hosts": (GET + b"Host: 127.0.0.1\r\nHost: pa55w0rd\r\n\r\n", "malformed_host", "Send one Host header"),
    "a host that is none": (
        GET + b"Host: maya:pa55w0rd@x\r\n\r\n",
        "malformed_host",
        "Host must be a name or an address",
    ),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request(environment, kind):
    sent, code, rule = REQUESTS[kind]
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(sent)
        status, body = await read_response(reader)
        assert broken(httpx.Response(status, content=body), code, rule)


async def test_a_body_that_is_longer_than_its_length(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"PATCH /api/v1/images/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}")
        assert (await read_response(reader))[0] == 404
        writer.write(b"pa55w0rd\r\n\r\n")
        status, body = await read_response(reader)
        assert broken(
            httpx.Response(status, content=body), "malformed_request", "check the Content-Length of the request"
        )


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        (GET + b"X: " + b"x" * 70_000, "The limit is 65,536 bytes"),
        (
            CHUNKED + b"0\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
            "The limit for trailer fields and chunk extensions is 8,192 bytes",
        ),
    ],
)
async def test_headers_too_large(environment, sent, rule):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(sent)
        status, body = await read_response(reader)
        assert status == 431
        assert rule in httpx.Response(status, content=body).json()["detail"]
