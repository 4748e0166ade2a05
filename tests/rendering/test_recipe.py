"""The renditions of a picture, and the version in their URLs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.rendering import memory
from gallery.rendering import recipe as recipes
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import FORMATS, MAX_SIDES, Recipe
from gallery.settings import Settings
from gallery.wiring import read_recipe


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
    sizes = Recipe(formats=FORMATS).all_sizes(width, height)
    for size, formats in sizes.items():
        assert max(size.width, size.height) <= min(MAX_SIDES[kind] for kind in formats)
        assert abs(size.height - height * size.width / width) <= max(1, height / width)
    for kind in FORMATS:
        widths = [size.width for size, formats in sizes.items() if kind in formats]
        assert widths == sorted(set(widths))
        assert all(width >= wide for wide in widths)


def test_the_memory_estimate_uses_the_widest_rendition():
    assert memory.Output(Recipe().widths[-1], avif=Format.AVIF in Recipe().formats) == Limits().output
    assert max(MAX_SIDES.values()) == memory.MAX_RENDITION_HEIGHT
    assert MAX_SIDES[Format.AVIF] == memory.MAX_AVIF_HEIGHT


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ({}, memory.Output(1920, avif=False)),
        ({"GALLERY_RENDITIONS__WIDTHS": "100,4000"}, memory.Output(4000, avif=False)),
        ({"GALLERY_RENDITIONS__FORMATS": "avif,jpeg"}, memory.Output(1920, avif=True)),
    ],
)
def test_wider_renditions_and_avif_take_more_memory(given, output):
    assert read_recipe(Settings.read(given)).limits.output == output
    more = memory.estimate(8000, 6000, 1, 0, output) - memory.estimate(8000, 6000, 1, 0, memory.Output())
    assert (
        more
        == {(1920, False): 0, (4000, False): 9 * (4000 * 5333 - 1920 * 2560), (1920, True): 48 * 1920 * 2560}[output]
    )


def test_the_recipe_of_the_settings():
    assert read_recipe(Settings()) == Recipe()
    given = {
        "GALLERY_RENDITIONS__WIDTHS": "100,200",
        "GALLERY_RENDITIONS__FORMATS": "jpeg,avif",
        "GALLERY_RENDITIONS__QUALITY_AVIF": "1",
        "GALLERY_RENDITIONS__QUALITY_WEBP": "2",
        "GALLERY_RENDITIONS__QUALITY_JPEG": "3",
        "GALLERY_UPLOAD__MAX_SIDE": "5000",
    }
    recipe = read_recipe(Settings.read(given))
    assert (recipe.widths, recipe.formats) == ((100, 200), (Format.AVIF, Format.JPEG))
    assert [recipe.quality(kind) for kind in (*FORMATS, Format.PNG)] == [1, 2, 3, 100]
    assert recipe.limits.max_side == 5000


def test_the_version_is_short_and_the_same_in_every_process():
    assert Recipe().version == Recipe().version
    assert len(Recipe().version) == 8
    assert int(Recipe().version, 16) >= 0


ENCODERS = [{"avif_quality": 64}, {"webp_quality": 81}, {"jpeg_quality": 83}]


@pytest.mark.parametrize("change", [{"widths": (320, 961)}, {"formats": (Format.JPEG,)}, *ENCODERS])
def test_the_version_changes_with_each_change_of_the_pixels(change):
    every_format = Recipe(formats=FORMATS)
    assert replace(every_format, **change).version != every_format.version


def test_an_encoder_of_no_rendition_is_not_in_the_version():
    assert Recipe(avif_quality=64).version == Recipe().version
    assert Recipe(formats=(Format.WEBP,), jpeg_quality=1).version == Recipe(formats=(Format.WEBP,)).version


@pytest.mark.parametrize("change", ENCODERS)
def test_every_encoder_is_in_the_version_of_pictures_on_demand(change):
    assert replace(Recipe(), **change).pictures_version != Recipe().pictures_version
    assert Recipe(widths=(5,), formats=(Format.JPEG,)).pictures_version == Recipe().pictures_version


def test_the_version_changes_with_the_encoder(monkeypatch):
    before = Recipe().version
    monkeypatch.setattr(recipes, "version", lambda package: f"{package} 99")
    assert Recipe().version != before
    assert Recipe().version != Recipe().pictures_version


def test_other_limits_are_the_same_recipe():
    assert Recipe(limits=Limits(max_pixels=1)).version == Recipe().version


@pytest.mark.parametrize(
    "file",
    [("../secret", Format.WEBP), ("320", "/../secret"), ("320", Format.PNG), ("320", Format.AVIF), ("321", "webp")],
)
def test_other_file_names_are_not_in_the_recipe(file):
    assert Recipe().includes([("320", Format.WEBP), ("1920", Format.JPEG)])
    assert not Recipe().includes([("320", Format.WEBP), file])


def test_the_versions_are_computed_once_since_they_read_the_installed_packages(monkeypatch):
    read = []
    monkeypatch.setattr(recipes, "version", lambda name: read.append(name) or "8.17")
    recipe = Recipe()
    for _ in range(3):
        assert recipe.version != recipe.pictures_version
    assert len(read) == 2
