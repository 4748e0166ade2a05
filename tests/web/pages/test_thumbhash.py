"""Our decoder in JavaScript against the format's reference."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import numpy as np
import pytest
from playwright.async_api import Browser

from thumbhashes import VECTORS, Vector

DECODE = """
    async (hash) => {
      const { decode } = await import("/static/thumbhash.js");
      const { width, height, pixels } = decode(hash);
      return [width, height, [...pixels]];
    }
"""
Decode: TypeAlias = Callable[[Vector], Awaitable[tuple[int, int, list[int]]]]


@pytest.fixture(scope="module")
async def decode(browser: Browser, stack) -> AsyncIterator[Decode]:
    """Width, height and RGBA pixels by our decoder, in one page for all vectors: it keeps no state."""
    page = await browser.new_page(base_url=stack.url)
    await page.goto("/api")

    async def decoded(vector: Vector) -> tuple[int, int, list[int]]:
        width, height, pixels = await page.evaluate(DECODE, base64.b64encode(vector.hashed).decode())
        return width, height, pixels

    yield decoded
    await page.close()


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_a_placeholder_is_decoded_as_by_the_reference(decode, vector):
    width, height, pixels = await decode(vector)
    expected_width, expected_height, expected = vector.decoded
    assert (width, height) == (expected_width, expected_height)
    assert np.abs(np.array(pixels, np.int16) - np.frombuffer(expected, np.uint8)).max() <= 1


@pytest.mark.parametrize("vector", [each for each in VECTORS if not each.hole and each.width > 3], ids=str)
async def test_a_placeholder_looks_like_its_picture(decode, vector):
    _, _, pixels = await decode(vector)
    original = np.frombuffer(vector.pixels, np.uint8).reshape(-1, 4)
    assert np.abs(np.array(pixels).reshape(-1, 4).mean(axis=0) - original.mean(axis=0)).max() < 16
