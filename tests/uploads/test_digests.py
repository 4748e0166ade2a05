"""The SHA-256 that a client says its file has: the upload is what it says, or it is not stored."""

import base64
import hashlib

import pytest

import photos
from factories import post
from gallery.errors import InvalidHeader
from gallery.uploads.digests import parse_digest_header

IMAGES = "/api/v1/images"
PHOTO = photos.a_jpeg(64, 48)
LARGE = PHOTO + bytes(3_000_000)
BINARY = {"Content-Type": "application/octet-stream"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def field(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def count(gallery) -> int:
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM image)")


@pytest.fixture(params=["form", "query", "Repr-Digest", "Content-Digest"])
def send(request, client):
    """Sends a file, and says by one way that it is `claimed`."""

    async def send(content: bytes, claimed: bytes):
        match request.param:
            case "form":
                return await post(client, content, sha256=sha256(claimed))
            case "query":
                return await client.post(f"{IMAGES}?sha256={sha256(claimed)}", content=content, headers=BINARY)
            case header:
                return await client.post(IMAGES, content=content, headers={**BINARY, header: field(claimed)})

    return send


@pytest.mark.parametrize("content", [PHOTO, LARGE], ids=["small", "large"])
async def test_a_file_that_is_as_its_sender_says_is_stored(send, content):
    answer = await send(content, content)
    assert (answer.status_code, answer.json()["sha256"]) == (201, sha256(content))


@pytest.mark.parametrize("content", [PHOTO, LARGE], ids=["small", "large"])
async def test_another_file_than_its_sender_says_is_not_stored(send, gallery, content):
    answer = await send(content, content + b"\0")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "digest_mismatch")
    assert sha256(content) in problem["detail"]
    assert sha256(content + b"\0") in problem["detail"]
    assert await count(gallery) == 0


async def test_a_mismatch_is_one_even_where_the_bytes_are_here_already(send, client):
    await post(client, PHOTO)
    assert (await send(PHOTO, LARGE)).json()["code"] == "digest_mismatch"


async def test_the_hex_may_be_in_upper_case(client):
    assert (await post(client, PHOTO, sha256=sha256(PHOTO).upper())).status_code == 201


async def test_the_field_may_come_before_the_file_or_behind_it(client):
    part = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    file = part.format("file", '; filename="a.jpg"').encode() + PHOTO + b"\r\n"
    for claimed, status in ((PHOTO, (201, 200)), (LARGE, (422, 422))):
        said = (part.format("sha256", "") + sha256(claimed) + "\r\n").encode()
        for body in (said + file, file + said):
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert (await client.post(IMAGES, content=body + b"--x--\r\n", headers=headers)).status_code in status


@pytest.mark.parametrize("digest", ["abc", "0" * 63, "0" * 65, "g" * 64, f"sha-256=:{'A' * 43}=:", "٠" * 64])
async def test_a_field_that_is_no_digest_is_named(client, gallery, digest):
    for answer in (
        await post(client, PHOTO, sha256=digest),
        await client.post(IMAGES, params={"sha256": digest}, content=PHOTO, headers=BINARY),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"pointer": "/sha256", "detail": "must be 64 hexadecimal digits"}]
    assert await count(gallery) == 0


MALFORMED = [
    "sha-256",
    "sha-256=abc",
    "sha-256=:abc",
    "sha-256=:AAAA:",
    "sha-256=(:AAAA:)",
    "SHA-256=:AAAA:",
    'sha-256="x"',
    f"sha-256=:{'A' * 43}=:,",
    f"sha-256=:{'_' * 43}=:",
    "sha-512=:A",
    "=",
    "a," * 499 + "a=1",
    "\xff",
]


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
@pytest.mark.parametrize("value", MALFORMED)
async def test_a_malformed_header_is_refused(client, gallery, header, value):
    headers = {b"Content-Type": b"image/jpeg", header.encode(): value.encode("latin-1")}
    answer = await client.post(IMAGES, content=PHOTO, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert header in answer.json()["detail"]
    assert await count(gallery) == 0


@pytest.mark.parametrize(
    "value",
    [
        "sha-512=:AAAA:",
        "md5=:AAAA:, unixsum=7",
        f"{field(PHOTO)}, sha-512=:AAAA:",
        f"sha-512=:AAAA:;a=1 ,\t{field(PHOTO)};b",
        f"{field(LARGE)}, {field(PHOTO)}",
    ],
)
async def test_other_algorithms_are_ignored_and_the_last_digest_counts(client, value):
    answer = await client.post(IMAGES, content=PHOTO, headers={**BINARY, "Repr-Digest": value})
    assert answer.status_code == 201


async def test_a_header_in_two_lines_is_one(client):
    headers = [("Content-Type", "image/jpeg"), ("Repr-Digest", "sha-512=:AAAA:"), ("Repr-Digest", field(LARGE))]
    answer = await client.post(IMAGES, content=PHOTO, headers=headers)
    assert answer.json()["code"] == "digest_mismatch"


async def test_two_claims_must_be_the_same(client, gallery):
    """Also where one of them is right: the request contradicts itself, and is refused before its body is read."""
    pairs = [
        (f"{IMAGES}?sha256={sha256(PHOTO)}", {"Repr-Digest": field(LARGE)}),
        (f"{IMAGES}?sha256={sha256(LARGE)}", {"Content-Digest": field(PHOTO)}),
        (IMAGES, {"Repr-Digest": field(PHOTO), "Content-Digest": field(LARGE)}),
        (f"{IMAGES}?sha256={sha256(PHOTO)}&sha256={sha256(LARGE)}", {}),
    ]
    for url, headers in pairs:
        answer = await client.post(url, content=PHOTO, headers={**BINARY, **headers})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"pointer": "/sha256", "detail": "is given twice, with different values"}]
    twice = await post(client, PHOTO, sha256=[sha256(PHOTO), sha256(LARGE)])
    assert twice.status_code == 422
    assert await count(gallery) == 0
    both = {**BINARY, "Repr-Digest": field(PHOTO), "Content-Digest": field(PHOTO)}
    answer = await client.post(f"{IMAGES}?sha256={sha256(PHOTO)}", content=PHOTO, headers=both)
    assert answer.status_code == 201


async def test_a_header_beside_a_form_is_about_the_form(client):
    """It is the digest of the whole multipart body, which Gallery does not check."""
    answer = await post(client, PHOTO, headers={"Repr-Digest": field(PHOTO)})
    assert answer.status_code == 201


def test_no_values_are_no_digest():
    assert parse_digest_header("Repr-Digest", []) is None
    assert parse_digest_header("Repr-Digest", [""]) is None
    with pytest.raises(InvalidHeader):
        parse_digest_header("Repr-Digest", ["sha-256=:A:"])
