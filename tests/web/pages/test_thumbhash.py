"""Our decoder in JavaScript against the format's reference."""

import base64

import numpy as np
import pytest

from thumbhashes import VECTORS

DECODE = """
    async (hash) => {
      const { decode } = await import("/static/thumbhash.js");
      const { width, height, pixels } = decode(hash);
      return [width, height, [...pixels]];
    }
"""


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_a_placeholder_is_decoded_as_by_the_reference(visit, vector):
    width, height, pixels = await visit.page.evaluate(DECODE, base64.b64encode(vector.hashed).decode())
    expected_width, expected_height, expected = vector.decoded
    assert (width, height) == (expected_width, expected_height)
    assert np.abs(np.array(pixels, np.int16) - np.frombuffer(expected, np.uint8)).max() <= 1


@pytest.mark.parametrize("vector", [each for each in VECTORS if not each.hole and each.width > 3], ids=str)
async def test_a_placeholder_looks_like_its_picture(visit, vector):
    _, _, pixels = await visit.page.evaluate(DECODE, base64.b64encode(vector.hashed).decode())
    original = np.frombuffer(vector.pixels, np.uint8).reshape(-1, 4)
    assert np.abs(np.array(pixels).reshape(-1, 4).mean(axis=0) - original.mean(axis=0)).max() < 16
