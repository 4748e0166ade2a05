"""Who may ask for which pictures on demand, and what the settings say."""

from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import upload_image
from gallery.access.model import Caller, Owner, Scope
from gallery.delivery.picture_requests import read_presets
from gallery.errors import Misconfigured
from gallery.wiring import open_processing

OWNER = Caller(owner=Owner("maya"), scopes=frozenset({Scope.READ, Scope.WRITE}))
HEADERS = bearer_headers(make_token("maya"))
PRESETS = {
    "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET,
    "GALLERY_PRESETS__AVATAR": "w=96&h=96&fit=cover",
    "GALLERY_PRESETS__BANNER": "w=800&format=webp",
}


class Pictures:
    """Requests for pictures of one image."""

    def __init__(self, client: httpx.AsyncClient, image: str) -> None:
        self._client = client
        self._path = f"/api/v1/images/{image}/picture"

    async def set_focus(self, focus: dict[str, float], **headers: str) -> None:
        path = self._path.removesuffix("/picture")
        assert (await self._client.patch(path, json={"focus": focus}, headers=headers)).status_code == 200

    async def get(self, query: str, **headers: str) -> httpx.Response:
        return await self._client.get(f"{self._path}?{query}", headers=headers)


@pytest.fixture
def with_settings(environment):
    """Opens an application with more settings and an image; yields its pictures."""

    @asynccontextmanager
    async def run(visibility="public", **more):
        async with (
            running_application(environment, **PRESETS, **more) as (gallery, client),
            open_processing(gallery) as processing,
        ):
            image = await upload_image(gallery, photos.a_jpeg(1200, 900), caller=OWNER, visibility=visibility)
            await processing.process(image.id)
            yield Pictures(client, image.id)

    return run


async def test_an_anonymous_caller_may_ask_for_presets_of_public_images(with_settings):
    async with with_settings() as pictures:
        assert photos.opened((await pictures.get("preset=avatar")).content).size == (96, 96)
        assert photos.opened((await pictures.get("preset=avatar&dpr=2")).content).size == (192, 192)
        assert (await pictures.get("preset=avatar&dpr=3&v=1")).status_code == 200
        for query in ("w=96", "preset=avatar&dpr=1.5", "preset=avatar&dpr=4", "preset=avatar&format=png", ""):
            refused = await pictures.get(query)
            assert (refused.status_code, refused.json()["code"]) == (403, "picture_not_allowed"), query
        assert (await pictures.get("preset=unknown")).status_code == 404
        assert (await pictures.get("preset=avatar&w=1")).json()["errors"][0]["pointer"] == "/w"


async def test_the_operator_may_open_or_close_pictures_for_anonymous_callers(with_settings):
    async with with_settings(GALLERY_PICTURES__ANONYMOUS="any") as pictures:
        assert (await pictures.get("w=50&rotate=90")).status_code == 200
    async with with_settings(GALLERY_PICTURES__ANONYMOUS="none") as pictures:
        assert (await pictures.get("preset=avatar")).status_code == 403
        assert (await pictures.get("preset=avatar", **HEADERS)).status_code == 200


async def test_presets_are_listed_in_their_canonical_spelling(environment):
    async with running_application(environment, **PRESETS) as (_, client):
        listed = await client.get("/api/v1/presets")
        assert listed.json() == [
            {"name": "avatar", "query": "fit=cover&h=96&w=96"},
            {"name": "banner", "query": "format=webp&w=800"},
        ]


async def test_presets_are_listed_to_those_who_may_use_them(environment):
    closed = {**PRESETS, "GALLERY_PICTURES__ANONYMOUS": "none"}
    async with running_application(environment, **closed) as (_, client):
        assert (await client.get("/api/v1/presets")).status_code == 401
        writer = bearer_headers(make_token("maya", "images:write"))
        assert (await client.get("/api/v1/presets", headers=writer)).status_code == 403
        assert len((await client.get("/api/v1/presets", headers=HEADERS)).json()) == 2


async def test_a_private_image_is_shown_to_its_owner_only(with_settings):
    async with with_settings(visibility="private") as pictures:
        assert (await pictures.get("w=50", **HEADERS)).status_code == 200
        assert (await pictures.get("preset=avatar")).status_code == 401
        assert (await pictures.get("w=50", **bearer_headers(make_token("tom")))).status_code == 404


async def test_a_caller_who_may_read_asks_for_anything(with_settings):
    async with with_settings() as pictures:
        reader = bearer_headers(make_token("tom"))
        assert (await pictures.get("w=50&h=80&fit=contain&bg=ff0000", **reader)).status_code == 200


async def test_formats_that_are_off_are_refused_and_not_chosen(with_settings):
    async with with_settings(GALLERY_PICTURES__FORMATS="webp,jpeg") as pictures:
        refused = await pictures.get("w=50&format=avif", **HEADERS)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/format")
        chosen = await pictures.get("w=50", Accept="image/avif,image/webp", **HEADERS)
        assert chosen.headers["content-type"] == "image/webp"


async def test_dpr_multiplies_and_a_rect_must_touch_the_picture(with_settings):
    async with with_settings() as pictures:
        assert photos.opened((await pictures.get("w=100&dpr=2.5", **HEADERS)).content).size == (250, 188)
        assert photos.opened((await pictures.get("w=8000&dpr=4", **HEADERS)).content).size == (1200, 900)
        assert photos.opened((await pictures.get("rect=1100,0,500,50", **HEADERS)).content).size == (100, 50)
        outside = await pictures.get("rect=1200,0,5,5", **HEADERS)
        assert (outside.status_code, outside.json()["errors"][0]["pointer"]) == (422, "/rect")


async def test_the_images_own_focus_decides_what_a_crop_keeps(with_settings):
    async with with_settings() as pictures:

        async def crop(more=""):
            answer = await pictures.get(f"w=100&h=300&fit=cover&format=png{more}", **HEADERS)
            return np.asarray(photos.opened(answer.content), dtype=int)

        whole = photos.photo(1200, 900).resize((400, 300), Image.Resampling.LANCZOS)
        middle, left = (np.asarray(whole.crop((x, 0, x + 100, 300)), dtype=int) for x in (150, 0))
        assert np.abs(await crop() - middle).mean() < 4
        await pictures.set_focus({"x": 0.1, "y": 0.5}, **HEADERS)
        assert np.abs(await crop() - left).mean() < 4
        assert np.abs(await crop("&focus=center") - middle).mean() < 4
        turned = await crop("&rotate=180")  # the focus turns with the picture
        width = whole.width
        assert np.abs(turned - np.asarray(whole.rotate(180).crop((width - 100, 0, width, 300)), dtype=int)).mean() < 4


async def test_a_url_with_the_present_version_may_be_kept_for_ever(with_settings):
    async with with_settings() as pictures:
        plain = await pictures.get("preset=avatar")
        assert plain.headers["cache-control"] == "public, no-cache"
        other = await pictures.get("preset=avatar&v=00000000")
        assert other.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize("text", ["w=0", "size=10", "preset=avatar", "avatar", "w=10&w=20"])
def test_an_invalid_preset_is_refused_at_the_start(text):
    with pytest.raises(Misconfigured) as caught:
        read_presets({"avatar": text})
    assert "GALLERY_PRESETS__AVATAR" in caught.value.detail
