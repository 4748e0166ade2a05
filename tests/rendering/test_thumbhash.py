"""The placeholder of about 25 bytes, against the format's reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.rendering.thumbhash import thumbhash
from thumbhashes import VECTORS, average, ratio


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_a_thumbhash_is_the_one_that_the_reference_makes(vector):
    assert thumbhash(vector.pixels, vector.width, vector.height).hex() == vector.hashed.hex()


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(1, 100), st.integers(1, 100))
def test_a_plain_picture_keeps_its_colour_and_its_shape(color, width, height):
    hashed = thumbhash(bytes((*color, 255)) * (width * height), width, height)
    assert average(hashed) == pytest.approx(color, abs=9)
    narrow = min(width / height, height / width)
    assert min(ratio(hashed), 1 / ratio(hashed)) == pytest.approx(max(narrow, 1 / 7), abs=0.08)
    assert (ratio(hashed) > 1) == (width > height and narrow < 13 / 14)


@given(st.data(), st.integers(1, 12), st.integers(1, 12))
def test_any_pixels_have_a_thumbhash(data, width, height):
    pixels = data.draw(st.binary(min_size=4 * width * height, max_size=4 * width * height))
    assert 18 <= len(thumbhash(pixels, width, height)) <= 25


def test_a_transparent_picture_has_a_thumbhash_too():
    assert thumbhash(bytes(4 * 50 * 50), 50, 50)[5] == 0  # neither a mean nor waves of the alpha


@pytest.mark.parametrize(("width", "height"), [(101, 1), (1, 101)])
def test_a_larger_picture_is_refused(width, height):
    with pytest.raises(ValueError, match=f"{width} × {height} px do not fit"):
        thumbhash(bytes(4 * 101), width, height)
