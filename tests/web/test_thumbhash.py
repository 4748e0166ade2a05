"""Our decoder in JavaScript against the library that makes the hashes."""

import base64

import numpy as np
import pytest
from fast_thumbhash import rgba_to_thumb_hash, thumb_hash_to_rgba

from photos import cut_out, photo

DECODE = """
    async (hash) => {
      const { decode } = await import("/static/thumbhash.js");
      const { width, height, pixels } = decode(hash);
      return [width, height, [...pixels]];
    }
"""


@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
@pytest.mark.parametrize(("width", "height"), [(100, 75), (60, 100), (100, 100), (100, 25), (20, 100)])
async def test_a_placeholder_looks_like_its_picture(visit, width, height, alpha):
    picture = photo(width, height, width + height)
    rgba = (cut_out(picture) if alpha else picture).convert("RGBA")
    hashed = bytes(rgba_to_thumb_hash(width, height, rgba.tobytes()))
    ours_width, ours_height, ours = await visit.page.evaluate(DECODE, base64.b64encode(hashed).decode())
    theirs_width, theirs_height, theirs = thumb_hash_to_rgba(hashed)
    assert (ours_width, ours_height) == (theirs_width, theirs_height)
    difference = np.abs(np.array(ours, np.int16) - np.array(list(theirs), np.int16))
    assert difference.max() <= 1
    if not alpha:
        shown = np.array(ours).reshape(-1, 4).mean(axis=0)[:3]
        assert np.abs(shown - np.asarray(picture).reshape(-1, 3).mean(axis=0)).max() < 16
