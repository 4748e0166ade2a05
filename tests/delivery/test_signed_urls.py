"""Signed URLs that stay the same for a while, in lists and images, and links to many images in one request."""

import asyncio
import re
import time

import pytest

from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import fetch_anonymously, post
from gallery.wiring import open_processing

CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_RATE__ENABLED": "false"}
MAYA, BEN, ADMIN = (bearer_headers(make_token(*who)) for who in (("maya",), ("ben",), ("root", "admin")))
NO_IMAGE = "01990000-0000-7000-8000-000000000000"


@pytest.fixture
async def closed(environment):
    """An application that requires credentials, with windows of an hour, and a client without any."""
    async with running_application(environment, **CLOSED) as (gallery, client):
        yield gallery, client


async def ready_image(gallery, client, **fields):
    image = (await post(client, headers=fields.pop("headers", MAYA), **fields)).json()["id"]
    async with open_processing(gallery) as processing:
        await processing.process(image)
    return image


async def read(client, path, headers=MAYA, **request):
    answer = await client.get(path, headers=headers, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def urls_of(image):
    """All URLs of the JSON of an image or of its links, those of `srcset` included."""
    in_srcset = [part.split()[0] for text in image["srcset"].values() for part in text.split(", ")]
    return [image["original"], *(rendition["url"] for rendition in image["renditions"]), *in_srcset]


def unsigned(url):
    return re.sub(r"[?&]kid=[^&]*&exp=\d+&sig=[\w-]{43}$", "", url)


async def test_without_signed_the_urls_carry_no_signature(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    for found in (await read(client, f"/api/v1/images/{image}"), *await read(client, "/api/v1/images?signed=false")):
        assert found["original"] == f"/api/v1/images/{image}/original"
        assert not any("sig=" in url for url in urls_of(found))
        assert (await client.get(found["original"], headers=MAYA)).status_code == 200


async def test_a_list_with_signed_urls_shows_a_page_of_private_pictures_to_a_browser(closed):
    gallery, client = closed
    images = [await ready_image(gallery, client) for _ in range(3)]
    by_list = await read(client, "/api/v1/images?signed=true")
    by_ids = await read(client, f"/api/v1/images?ids={','.join(images)}&signed=true")
    plain = await read(client, "/api/v1/images")
    assert [image["id"] for image in by_list] == images[::-1] == [image["id"] for image in by_ids][::-1]
    for signed, image in zip(by_list, plain, strict=True):
        assert signed in by_ids
        assert signed == await read(client, f"/api/v1/images/{image['id']}?signed=true"), "the same everywhere"
        assert [unsigned(url) for url in urls_of(signed)] == urls_of(image)
        replaced = {name: image[name] for name in ("renditions", "srcset", "original")}
        assert signed | replaced == image, "and nothing else has changed"
        for url in urls_of(signed):
            shown = await fetch_anonymously(f"{client.base_url}{url}")
            assert shown.status_code == 200, url
        rendition = await client.get(signed["renditions"][0]["url"])
        assert re.fullmatch(r"private, max-age=[1-9]\d+", rendition.headers["cache-control"])


async def test_signed_urls_end_with_the_next_window(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    before = int(time.time())
    url = (await read(client, f"/api/v1/images/{image}?signed=true"))["original"]
    expires = int(re.search(r"exp=(\d+)", url)[1])
    assert expires in {(now // 3600 + 2) * 3600 for now in (before, int(time.time()))}


async def test_callers_get_the_same_urls_of_a_public_image(closed):
    gallery, client = closed
    image = await ready_image(gallery, client, visibility="public")
    found = [await read(client, f"/api/v1/images/{image}?signed=true", headers) for headers in (MAYA, BEN, ADMIN, {})]
    assert found[1:] == found[:1] * 3


async def test_the_pages_of_a_signed_list_are_signed(closed):
    gallery, client = closed
    for _ in range(2):
        await ready_image(gallery, client)
    first = await client.get("/api/v1/images?limit=1&signed=true", headers=MAYA)
    second = await read(client, first.links["next"]["url"])
    assert "sig=" in second[0]["original"]


async def test_an_image_that_is_not_ready_has_a_signed_original(closed):
    _, client = closed
    image = (await post(client, headers=MAYA)).json()
    found = await read(client, f"/api/v1/images/{image['id']}?signed=true")
    assert (found["renditions"], found["srcset"]) == ([], {})
    assert (await client.get(found["original"])).status_code == 200


@pytest.mark.parametrize("value", ["", "yes", "2", "true&signed=true"])
async def test_another_value_of_signed_is_refused(closed, value):
    _, client = closed
    image = (await post(client, headers=MAYA)).json()["id"]
    answer = await client.get(f"/api/v1/images?signed={value}", headers=MAYA)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/signed")
    if "&" not in value:
        assert (await client.get(f"/api/v1/images/{image}?signed={value}", headers=MAYA)).status_code == 422


# --- ETags ------------------------------------------------------------------------------------------------------------


async def test_the_etag_of_a_signed_image_says_version_window_and_key(closed):
    gallery, client = closed
    image = f"/api/v1/images/{await ready_image(gallery, client)}"
    plain, signed = [await client.get(f"{image}?signed={value}", headers=MAYA) for value in ("false", "true")]
    key, expires = re.search(r"kid=([^&]+)&exp=(\d+)", signed.json()["original"]).groups()
    assert signed.headers["etag"] == f'"{signed.json()["version"]}-{expires}-{key}"'
    for path, etag, status in (
        (f"{image}?signed=true", signed.headers["etag"], 304),
        (f"{image}?signed=true", plain.headers["etag"], 200),
        (image, plain.headers["etag"], 304),
        (image, signed.headers["etag"], 200),
        (f"{image}?signed=true", signed.headers["etag"].replace(expires, str(int(expires) - 3600)), 200),
    ):
        for _ in range(2):  # from the handler, then perhaps from memory
            answer = await client.get(path, headers={**MAYA, "If-None-Match": etag})
            assert answer.status_code == status, (path, etag)


async def test_the_etag_of_a_signed_image_is_taken_by_if_match(closed):
    gallery, client = closed
    image = f"/api/v1/images/{await ready_image(gallery, client)}"
    etag = (await client.get(f"{image}?signed=true", headers=MAYA)).headers["etag"]
    for title, status in (("Lake", 200), ("Dawn", 412)):
        answer = await client.patch(image, json={"title": title}, headers={**MAYA, "If-Match": etag})
        assert answer.status_code == status
    assert (await client.get(f"{image}?signed=true", headers=MAYA)).headers["etag"] != etag


# --- links to many images ---------------------------------------------------------------------------------------------


async def test_links_to_many_images_take_one_request(closed):
    gallery, client = closed
    mine = [await ready_image(gallery, client) for _ in range(2)]
    public = await ready_image(gallery, client, headers=BEN, visibility="public")
    private = await ready_image(gallery, client, headers=BEN)
    ids = [mine[1], public, private, NO_IMAGE, "nothing", mine[0], mine[1].upper()]
    answer = await client.post("/api/v1/images/links", json={"ids": ids}, headers=MAYA)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert [links["id"] for links in answer.json()] == [mine[1], public, mine[0]]
    for links in answer.json():
        alone = (await client.post(f"/api/v1/images/{links['id']}/links", headers=MAYA)).json()
        assert set(links) == {*alone, "id"}
        assert [unsigned(url) for url in urls_of(links)] == [unsigned(url) for url in urls_of(alone)]
        image = await read(client, f"/api/v1/images/{links['id']}?signed=true")
        assert urls_of(links) == urls_of(image), "the URLs that signed=true gives"
        assert all([(await client.get(url)).status_code == 200 for url in urls_of(links)])
    as_admin = (await client.post("/api/v1/images/links", json={"ids": ids}, headers=ADMIN)).json()
    assert [links["id"] for links in as_admin] == [mine[1], public, private, mine[0]]


async def test_links_with_a_lifetime_end_exactly_then(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    before = int(time.time())
    body = {"ids": [image], "expiresIn": 100}
    (links,) = (await client.post("/api/v1/images/links", json=body, headers=MAYA)).json()
    expires = int(re.search(r"exp=(\d+)", links["original"])[1])
    assert before + 100 <= expires <= time.time() + 100
    assert links["expiresAt"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/ids"),
        ({"ids": "x"}, "/ids"),
        ({"ids": [1]}, "/ids/0"),
        ({"ids": [NO_IMAGE] * 201}, "/ids"),
        ({"ids": [], "expiresIn": 0}, "/expiresIn"),
        ({"ids": [], "expiresIn": 604801}, "/expiresIn"),
        ({"ids": [], "more": 1}, "/more"),
    ],
)
async def test_an_invalid_request_for_many_links_is_refused(closed, body, pointer):
    _, client = closed
    answer = await client.post("/api/v1/images/links", json=body, headers=MAYA)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_no_more_than_the_callers_scope_allows(closed):
    _, client = closed
    writer = bearer_headers(make_token("maya", "images:write"))
    for headers, status in (({}, 401), (writer, 403)):
        assert (await client.post("/api/v1/images/links", json={"ids": []}, headers=headers)).status_code == status


# --- answers that are kept --------------------------------------------------------------------------------------------


async def test_no_answer_is_repeated_after_its_window(environment):
    """Neither from the process's memory nor from Valkey."""
    async with running_application(environment, **CLOSED, GALLERY_ACCESS__LINK_WINDOW="2") as (gallery, client):
        image = await ready_image(gallery, client)
        seen = set()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for path in (f"/api/v1/images/{image}?signed=true", "/api/v1/images?signed=true"):
                before = int(time.time())
                answer = await read(client, path)
                url = (answer if isinstance(answer, dict) else answer[0])["original"]
                expires = int(re.search(r"exp=(\d+)", url)[1])
                assert expires in {(now // 2 + 2) * 2 for now in (before, int(time.time()))}
                seen.add(expires)
            await asyncio.sleep(0.02)
        assert len(seen) >= 3


async def test_no_answer_is_repeated_with_a_dropped_key(gallery, client):
    """In open mode, where no credential ends before."""
    image = (await post(client)).json()["id"]
    path = f"/api/v1/images/{image}?signed=true"
    old = (await read(client, path, {}))["original"]
    await gallery.access.signatures.rotate(at_once=True)
    async with asyncio.timeout(5):
        while (new := (await read(client, path, {}))["original"]) == old:
            await asyncio.sleep(0.05)
    assert (await client.get(new)).status_code == 200
