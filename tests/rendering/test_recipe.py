"""The renditions of a picture, and the version in their URLs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.rendering import memory
from gallery.rendering import recipe as recipes
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import FORMATS, MAX_SIDES, Recipe


@pytest.mark.parametrize(
    ("width", "height", "sizes"),
    [
        (4032, 3024, [("320", 320, 240), ("960", 960, 720), ("1920", 1920, 1440)]),
        (1920, 1080, [("320", 320, 180), ("960", 960, 540), ("1920", 1920, 1080)]),
        (961, 961, [("320", 320, 320), ("960", 960, 960), ("1920", 961, 961)]),
        (960, 400, [("320", 320, 133), ("960", 960, 400)]),
        (500, 1000, [("320", 320, 640), ("960", 500, 1000)]),
        (320, 16, [("320", 320, 16)]),
        (200, 100, [("320", 200, 100)]),
        (1, 16_383, [("320", 1, 16_383)]),
        (16_383, 1, [("320", 320, 1), ("960", 960, 1), ("1920", 1920, 1)]),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_no_rendition_is_larger_than_the_picture(kind, width, height, sizes):
    assert Recipe().sizes(width, height, kind) == sizes


@pytest.mark.parametrize(
    ("kind", "width", "height", "sizes"),
    [
        (Format.WEBP, 320, 65_535, [("320", 80, 16_383)]),
        (Format.JPEG, 320, 65_535, [("320", 320, 65_500)]),
        (Format.WEBP, 1920, 65_535, [("320", 320, 10_922), ("960", 480, 16_383)]),
        (Format.JPEG, 1920, 65_535, [("320", 320, 10_922), ("960", 960, 32_768), ("1920", 1919, 65_500)]),
        (Format.WEBP, 1, 65_535, [("320", 1, 16_383)]),
        (Format.WEBP, 65_535, 1, [("320", 320, 1), ("960", 960, 1), ("1920", 1920, 1)]),
    ],
)
def test_a_picture_that_does_not_fit_into_a_format_is_scaled_to_fit(kind, width, height, sizes):
    assert Recipe().sizes(width, height, kind) == sizes


@given(st.integers(1, 65_535), st.integers(1, 65_535))
def test_each_size_is_made_once_and_in_proportion(width, height):
    sizes = Recipe().all_sizes(width, height)
    for size, formats in sizes.items():
        assert max(size.width, size.height) <= min(MAX_SIDES[kind] for kind in formats)
        assert abs(size.height - height * size.width / width) <= max(1, height / width)
    for kind in FORMATS:
        widths = [size.width for size, formats in sizes.items() if kind in formats]
        assert widths == sorted(set(widths))
        assert all(width >= wide for wide in widths)


def test_the_memory_estimate_uses_the_widest_rendition():
    assert Recipe().widths[-1] == memory.MAX_RENDITION_WIDTH
    assert max(MAX_SIDES.values()) == memory.MAX_RENDITION_HEIGHT


def test_the_version_is_short_and_the_same_in_every_process():
    assert Recipe().version == Recipe().version
    assert len(Recipe().version) == 8
    assert int(Recipe().version, 16) >= 0


@pytest.mark.parametrize(
    "change", [{"widths": (320, 961)}, {"webp_quality": 81}, {"webp_effort": 3}, {"jpeg_quality": 83}]
)
def test_the_version_changes_with_each_change_of_the_pixels(change):
    assert replace(Recipe(), **change).version != Recipe().version


def test_the_version_changes_with_the_encoder(monkeypatch):
    before = Recipe().version
    monkeypatch.setattr(recipes, "version", lambda package: f"{package} 99")
    assert Recipe().version != before


def test_other_limits_are_the_same_recipe():
    assert Recipe(limits=Limits(max_pixels=1)).version == Recipe().version


@pytest.mark.parametrize(
    "file", [("../secret", Format.WEBP), ("320", "/../secret"), ("320", Format.PNG), ("321", "webp")]
)
def test_other_file_names_are_not_in_the_recipe(file):
    assert Recipe().includes([("320", Format.WEBP), ("1920", Format.JPEG)])
    assert not Recipe().includes([("320", Format.WEBP), file])
