"""Fills a new Gallery for a benchmark: photos that are uploaded, rendered by a worker, and then only read."""

import asyncio
from typing import Any

import httpx

import photos
from bench.servers import Servers, Version
from factories import post, wait_until_settled

Image = dict[str, Any]
LARGE = (2400, 1800)  # px; its renditions have up to some 400 kB


def small_and_large_photos(count: int = 60) -> list[bytes]:
    return [photos.a_jpeg(640, 480, seed) for seed in range(count - 1)] + [photos.a_jpeg(*LARGE, seed=count)]


async def fill(servers: Servers, version: Version, contents: list[bytes]) -> list[Image]:
    """Uploads these photos, and returns their images when all are READY, the newest first."""
    async with (
        servers.api(version) as api,
        servers.worker(version),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=60) as client,
    ):
        uploaded = [(await post(client, content)).raise_for_status().json()["id"] for content in contents]
        images = await asyncio.gather(*(wait_until_settled(client, image, seconds=120) for image in uploaded))
    return list(reversed(images))


def rendition_of(images: list[Image], size: int) -> Image:
    """The rendition whose size is nearest."""
    return min((r for image in images for r in image["renditions"]), key=lambda r: abs(r["size"] - size))
