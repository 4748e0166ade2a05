"""The URLs of the loaders, asked of a Gallery: the pictures have the widths that the frameworks wanted."""

import io
import json
from typing import Any

import httpx
from PIL import Image

from conftest import running_application
from credentials import bearer_headers, make_token
from factories import post
from gallery.wiring import open_processing
from javascript_apps import CLOSED
from javascript_client import evaluate

MAYA = bearer_headers(make_token("maya"))
PRESETS = {"GALLERY_PRESETS__SMALL": "w=100", "GALLERY_PRESETS__LARGE": "w=300"}
WIDTHS = [64, 150, 300]
SCRIPT = """
    import astro from "gallery-client/loaders/astro";
    import { galleryLoader } from "gallery-client/loaders/next";
    import nuxt from "gallery-client/loaders/nuxt";
    import { transform } from "gallery-client/loaders/unpic";
    const { sources, widths, options } = JSON.parse(process.env.WANTED);
    const urls = [];
    for (const source of sources) {
      for (const width of widths) {
        urls.push([width, galleryLoader(options)({ src: source, width, quality: 60 })]);
        urls.push([width, nuxt().getImage(source, { ...options, modifiers: { width, fit: "inside" } }).url]);
        urls.push([width, transform(source, { width, height: width }, options)]);
        urls.push([width, astro.getURL({ src: source, width, height: 50 }, { service: { config: options } })]);
      }
    }
    console.log(JSON.stringify(urls));
"""


async def urls_of_loaders(sources: list[str], widths: list[int], **options: Any) -> list[tuple[int, str]]:
    """The wanted width and the URL, of each loader, source and width."""
    wanted = json.dumps({"sources": sources, "widths": widths, "options": options})
    return [(width, url) for width, url in await evaluate(SCRIPT, {"WANTED": wanted})]


async def width_of(client: httpx.AsyncClient, url: str, **headers: str) -> int:
    answer = await client.get(url, headers=headers)
    assert answer.status_code == 200, (url, answer.text)
    return Image.open(io.BytesIO(answer.content)).width


async def test_the_pictures_are_as_wide_as_the_frameworks_want(environment):
    async with running_application(environment, **CLOSED) as (gallery, client), open_processing(gallery) as processing:
        image = (await post(client, headers=MAYA)).json()
        await processing.process(image["id"])
        ready = (await client.get(f"/api/v1/images/{image['id']}", headers=MAYA)).json()
        query = {"pictures": ["fit=cover&h=200&w=200"]}
        links = (await client.post(f"/api/v1/images/{image['id']}/links", json=query, headers=MAYA)).json()
        signed = links["pictures"][0]["url"]
        unsigned = signed.partition("?")[0] + "?fit=cover&h=200&w=200&v=" + signed.partition("v=")[2][:8]
        sources = [image["id"], ready["original"], ready["renditions"][0]["url"], unsigned]
        base = str(client.base_url).rstrip("/")
        found = await urls_of_loaders(sources, WIDTHS, url=base)
        assert len(found) == len(sources) * len(WIDTHS) * 4
        for width, url in found:
            assert await width_of(client, url, **MAYA) == width, url
        assert [url for _, url in await urls_of_loaders([signed], [64], url=base)] == [signed] * 4
        assert await width_of(client, signed) == 200


async def test_anonymous_visitors_get_presets(environment):
    settings = CLOSED | PRESETS
    async with (
        running_application(environment, **settings) as (gallery, client),
        open_processing(gallery) as processing,
    ):
        image = (await post(client, headers=MAYA, visibility="public")).json()
        await processing.process(image["id"])
        base = str(client.base_url).rstrip("/")
        presets = {"small": 100, "large": 300}
        for width, url in await urls_of_loaders([image["id"]], [90, 150, 250, 500], url=base, preset=presets):
            assert await width_of(client, url) >= width
        for _, url in await urls_of_loaders([image["id"]], [64], url=base, preset="small"):
            assert await width_of(client, url) == 100
        [(_, plain), *_] = await urls_of_loaders([image["id"]], [64], url=base)
        assert (await client.get(plain)).status_code == 403
