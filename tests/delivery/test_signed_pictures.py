"""Pictures on demand of private images by signed links, of Gallery and of another server."""

import asyncio
import io
import itertools
import re
import time

import pytest
from PIL import Image

import photos
from conftest import running_application, wait_until_caught_up
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import post
from gallery.access import link_keys
from gallery.wiring import open_processing

CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_RATE__ENABLED": "false"}
SEEDS = itertools.count(1)
MAYA = bearer_headers(make_token("maya"))


@pytest.fixture
async def closed(environment):
    async with running_application(environment, **CLOSED) as (gallery, client):
        yield gallery, client


async def ready_image(gallery, client):
    """A private image of Maya's, of 120 × 90 pixels."""
    image = (await post(client, photos.a_jpeg(width=120, height=90, seed=next(SEEDS)), headers=MAYA)).json()["id"]
    async with open_processing(gallery) as processing:
        await processing.process(image)
    return image


async def signed_elsewhere(gallery, image, *, seconds=None, **parameters):
    """A URL as another server signs it, for so long or to the end of the next window, and the id of its link key."""
    key, text = await gallery.access.link_keys.create("")
    signing_key = await gallery.access.link_keys.find(key.id)
    assert text.startswith(key.id)
    signer = await gallery.access.links.window_signer()
    expires = signer.expires if seconds is None else int(time.time()) + seconds
    signer = type(signer)(signing_key, expires, signer.stable_until)
    return f"/api/v1/images/{image}/picture?{signer.sign_picture(image, parameters)}", key.id


async def test_another_servers_link_shows_exactly_the_picture_that_it_signs(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    url, _ = await signed_elsewhere(gallery, image, w="40", h="40", fit="cover", format="webp")
    shown = await client.get(url)
    assert (shown.status_code, Image.open(io.BytesIO(shown.content)).size) == (200, (40, 40))
    assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
    *_, kid, exp, sig = url.split("&")
    for other in (
        url.replace("w=40", "w=41"),
        url.replace("&w=40", ""),
        f"{url}&q=5",
        url.replace("picture?", "original?"),
        url.replace("picture?", "320.webp?"),
        f"/api/v1/images/{image}/picture?{kid}&{exp}&{sig}",
    ):
        refused = await client.get(other)
        assert (refused.status_code, refused.json()["code"]) == (403, "link_not_valid"), other
    assert (await client.get(url.partition("&kid")[0])).status_code == 401


async def test_a_link_to_the_whole_image_is_not_good_for_pictures(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    links = (await client.post(f"/api/v1/images/{image}/links", headers=MAYA)).json()
    query = links["original"].partition("?")[2]
    assert (await client.get(links["original"])).status_code == 200
    for path in (f"picture?{query}", f"picture?w=40&{query}"):
        assert (await client.get(f"/api/v1/images/{image}/{path}")).json()["code"] == "link_not_valid"


async def test_the_links_of_a_revoked_key_end(closed, monkeypatch):
    """Also those whose answers are kept in the process's memory."""
    monkeypatch.setattr(link_keys, "CACHE_SECONDS", 0.5)
    gallery, client = closed
    image = await ready_image(gallery, client)
    url, key = await signed_elsewhere(gallery, image, w="40", format="jpeg")
    for _ in range(3):
        assert (await client.get(url)).status_code == 200
    await gallery.access.link_keys.revoke(key)
    async with asyncio.timeout(5):
        while (answer := await client.get(url)).status_code == 200:
            await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["code"]) == (403, "link_not_valid")


@pytest.mark.parametrize(("seconds", "longest"), [(900, 900), (10 * 365 * 86_400, 3600)])
async def test_a_browser_keeps_a_picture_without_a_version_for_an_hour_at_most(closed, seconds, longest):
    """Also when its response is repeated from memory."""
    gallery, client = closed
    image = await ready_image(gallery, client)
    await wait_until_caught_up(gallery)
    url, _ = await signed_elsewhere(gallery, image, seconds=seconds, w="40")
    for _ in range(3):
        answer = await client.get(url)
        assert answer.status_code == 200
        age = re.fullmatch(r"private, max-age=(\d+)", answer.headers["cache-control"])
        assert longest - 60 <= int(age[1]) <= longest


# --- signed by Gallery ------------------------------------------------------------------------------------------------


async def test_links_to_pictures_are_signed_one_by_one(closed):
    gallery, client = closed
    image = await ready_image(gallery, client)
    queries = ["w=40&h=30&fit=cover&focus=0.5%2C0.25", "format=png&dpr=2.0&w=20", ""]
    links = (await client.post(f"/api/v1/images/{image}/links", json={"pictures": queries}, headers=MAYA)).json()
    assert [picture["query"] for picture in links["pictures"]] == queries
    sizes = []
    for picture in links["pictures"]:
        shown = await client.get(picture["url"])
        assert shown.status_code == 200, picture
        assert re.fullmatch(r"private, max-age=3[56]\d\d", shown.headers["cache-control"])
        sizes.append(Image.open(io.BytesIO(shown.content)).size)
        assert (await client.get(f"{picture['url']}&q=5")).status_code == 403
    assert sizes == [(40, 30), (40, 30), (120, 90)]


async def test_pictures_of_many_images_are_signed_at_once_and_the_same_within_a_window(closed):
    gallery, client = closed
    images = [await ready_image(gallery, client) for _ in range(2)]
    body = {"ids": images, "pictures": ["w=40", "w=40&format=webp"]}
    answers = [(await client.post("/api/v1/images/links", json=body, headers=MAYA)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    urls = [picture["url"] for links in answers[0] for picture in links["pictures"]]
    assert len(set(urls)) == 4
    for url in urls:
        assert (await client.get(url)).status_code == 200
    swapped = urls[0].replace(images[0], images[1])
    assert (await client.get(swapped)).status_code == 403
    body = {"ids": images, "pictures": []}
    answer = await client.post("/api/v1/images/links", json=body, headers=MAYA)
    assert [links["pictures"] for links in answer.json()] == [[], []]


@pytest.mark.parametrize(
    ("pictures", "status", "pointer"),
    [
        (["w=40", "x=1"], 422, "/pictures/1/x"),
        (["w=40&w=50"], 422, "/pictures/0/w"),
        (["w=9000"], 422, "/pictures/0/w"),
        (["w=40", "w=%FF"], 422, "/pictures/1"),
        (["w=ü"], 422, "/pictures/0"),
        ([4], 422, "/pictures/0"),
        (["w=40"] * 21, 422, "/pictures"),
        (["w=4" + "0" * 1000], 422, "/pictures/0"),
        (["preset=nothing"], 404, None),
    ],
)
async def test_a_query_of_no_picture_is_refused(closed, pictures, status, pointer):
    _, client = closed
    image = (await post(client, headers=MAYA)).json()["id"]
    for path, body in ((f"{image}/links", {}), ("links", {"ids": [image]})):
        answer = await client.post(f"/api/v1/images/{path}", json=body | {"pictures": pictures}, headers=MAYA)
        found = [error["pointer"] for error in answer.json().get("errors", [])]
        assert (answer.status_code, found) == (status, [pointer] if pointer else []), answer.text
