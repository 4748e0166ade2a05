"""Renditions, checked with another library than the one that made them."""

import base64
import io
import pickle
import subprocess
import sys

import numpy as np
import pillow_heif
import pytest
import pyvips
from PIL import Image, ImageCms

import photos
import thumbhashes
from gallery.rendering.probe import Format
from gallery.rendering.recipe import FORMATS, Recipe

MIN_SSIM = 0.9  # structural similarity; another photo, or the same one rotated, has less than 0.5


def on_white(picture: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def plain(color: tuple[int, ...], mode: str = "RGB", sides: tuple[int, int] = (64, 48), **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, sides, color).save(out, "PNG" if mode != "CMYK" else "JPEG", **options)
    return out.getvalue()


def color_of(picture: Image.Image) -> tuple[int, ...]:
    return picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))


# --- the renditions -----------------------------------------------------------------------------------------------


def test_a_phone_photo_becomes_six_files(render_file):
    rendered = render_file(photos.a_twelve_megapixel_photo())
    assert rendered.sizes == [
        ("320", "webp", 320, 240),
        ("320", "jpeg", 320, 240),
        ("960", "webp", 960, 720),
        ("960", "jpeg", 960, 720),
        ("1920", "webp", 1920, 1440),
        ("1920", "jpeg", 1920, 1440),
    ]
    assert (rendered.facts.width, rendered.facts.height) == (4032, 3024)
    assert rendered.facts.exif["camera"] == "Canon EOS R6"
    reference = photos.photo(4032, 3024).reduce(4)
    for each in rendered.facts.renditions:
        picture = rendered.picture(each.name, each.format)
        assert (picture.format, picture.size) == (each.format.upper(), (each.width, each.height))
        assert each.size == len(rendered.file(each.name, each.format))
        picture.thumbnail((960, 720))
        assert photos.likeness(picture, reference) > MIN_SSIM


def test_the_result_can_be_pickled(render_file):
    facts = render_file(photos.a_jpeg(400, 300, exif=photos.CAMERA)).facts
    home = pickle.dumps(facts)
    assert pickle.loads(home) == facts
    assert len(home) < 2_000


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (photos.a_jpeg, 0.9),
        (photos.a_png, 0.93),
        (photos.a_png16, 0.93),
        (photos.a_gif, 0.9),
        (photos.a_webp, 0.9),
        (photos.an_avif, 0.9),
        (photos.a_heic, 0.93),
    ],
)
def test_every_format_looks_like_its_original(render_file, make, least):
    rendered = render_file(make(600, 450, 2))
    for kind in ("webp", "jpeg"):
        picture = rendered.picture("960", kind)
        assert picture.size == (600, 450)
        assert photos.likeness(picture, photos.photo(600, 450, 2)) > least
        assert photos.difference(picture, photos.photo(600, 450, 2)) < 5


def test_a_small_picture_is_never_enlarged(render_file):
    assert [size[0] for size in render_file(photos.a_png(200, 150)).sizes] == ["320", "320"]
    assert render_file(photos.a_png(500, 100)).sizes[2:] == [("960", "webp", 500, 100), ("960", "jpeg", 500, 100)]


@pytest.mark.parametrize("sides", [(1, 1), (1, 16_383), (16_383, 1), (1921, 2)])
def test_the_narrowest_pictures_have_renditions_too(render_file, sides):
    rendered = render_file(plain((200, 30, 40), sides=sides))
    assert (rendered.facts.width, rendered.facts.height) == sides
    assert rendered.facts.color == "#c81e28"
    assert all(abs(a - b) < 6 for a, b in zip(color_of(rendered.picture("320", "webp")), (200, 30, 40), strict=True))


@pytest.mark.parametrize("make", [photos.a_gif, photos.a_webp, photos.an_avif])
def test_of_an_animation_the_first_frame_is_shown(render_file, make):
    picture = render_file(make(300, 200, 0, animated=True)).picture("320", "webp")
    assert not getattr(picture, "is_animated", False)
    assert photos.likeness(picture, photos.photo(300, 200, 0)) > MIN_SSIM - 0.05
    assert photos.likeness(picture, photos.photo(300, 200, 1)) < 0.5


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("sides", [(6000, 400), (400, 6000)])
def test_the_longest_pictures_are_sharp(render_file, sides, orientation):
    """A JPEG is shrunk while it is decoded, but never below what the largest rendition needs."""
    rendered = render_file(photos.a_jpeg(*sides, orientation=orientation, quality=90))
    largest = rendered.facts.renditions[-1]
    assert photos.likeness(rendered.picture(largest.name, "jpeg"), photos.photo(*sides)) > MIN_SSIM


def test_the_recipe_is_followed(render_file):
    rendered = render_file(photos.a_jpeg(600, 450), Recipe(widths=(100, 300), webp_quality=20, jpeg_quality=20))
    assert [size[0] for size in rendered.sizes] == ["100", "100", "300", "300"]
    better = render_file(photos.a_jpeg(600, 450), Recipe(widths=(100, 300)))
    assert all(a.size < 0.7 * b.size for a, b in zip(rendered.facts.renditions, better.facts.renditions, strict=True))


def test_avif_can_be_in_the_recipe(render_file):
    reference = photos.photo(600, 450)
    rendered = render_file(photos.a_jpeg(600, 450), Recipe(widths=(300, 600), formats=FORMATS))
    assert [size[:2] for size in rendered.sizes] == [(name, kind) for name in ("300", "600") for kind in FORMATS]
    assert rendered.picture("600", "avif").format == "AVIF"
    assert photos.likeness(rendered.picture("600", "avif"), reference) > MIN_SSIM - 0.05
    plainer = render_file(photos.a_jpeg(600, 450), Recipe(widths=(600,), formats=(Format.AVIF,), avif_quality=10))
    assert plainer.facts.renditions[0].size < 0.7 * len(rendered.file("600", "avif"))


def test_avif_keeps_transparency(render_file):
    picture = render_file(plain((200, 30, 40, 0), "RGBA"), Recipe(formats=(Format.AVIF,))).picture("320", "avif")
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("sides", [(2, 16_383), (2, 17_000)])
def test_the_tallest_avif(render_file, sides):
    rendered = render_file(plain((200, 30, 40), sides=sides), Recipe(formats=(Format.AVIF, Format.WEBP)))
    assert {size[2:] for size in rendered.sizes} == {(2, 16_383)}


# --- upright --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", [photos.a_jpeg, photos.a_webp, photos.a_heic, photos.an_avif])
def test_every_orientation_is_made_upright(render_file, make, orientation):
    rendered = render_file(make(600, 400, 2, orientation=orientation))
    assert (rendered.facts.width, rendered.facts.height) == (600, 400)
    assert rendered.sizes[0] == ("320", "webp", 320, 213)
    assert rendered.picture("960", "webp").size == (600, 400)
    assert photos.likeness(rendered.picture("960", "webp"), photos.photo(600, 400, 2)) > MIN_SSIM - 0.05


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_invalid_orientation_is_ignored(render_file, orientation):
    rendered = render_file(photos.a_jpeg(600, 400, 2, orientation=orientation))
    assert photos.likeness(rendered.picture("960", "webp"), photos.photo(600, 400, 2)) > MIN_SSIM


# --- colours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [photos.a_display_p3_jpeg, lambda *a: photos.a_heic(*a, display_p3=True)])
def test_wide_colours_are_converted_not_relabelled(render_file, make):
    original = make(600, 450, 2)
    converted = render_file(original).picture("960", "jpeg")
    assert photos.difference(converted, photos.photo(600, 450, 2)) < 4
    assert "icc_profile" not in converted.info


def test_the_greenest_green_of_a_phone_is_not_dull(render_file):
    p3 = pyvips.Operation.call("profile_load", "p3")
    green = render_file(plain((100, 200, 100), icc_profile=p3)).picture("320", "webp")
    assert color_of(green)[0] < 80  # read as sRGB it would stay 100


def test_a_press_jpeg_has_its_colours(render_file):
    file = photos.a_cmyk_jpeg(600, 450, 2)
    press = photos.opened(file)
    assert press.mode == "CMYK"
    profile = io.BytesIO(press.info["icc_profile"])
    expected = ImageCms.profileToProfile(press, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert photos.difference(render_file(file).picture("960", "jpeg"), expected) < 4


@pytest.mark.parametrize(
    ("inks", "light"), [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk_without_a_profile_looks_as_in_a_browser(render_file, inks, light):
    shown = color_of(render_file(plain(inks, "CMYK")).picture("320", "webp"))
    assert all(abs(a - b) < 5 for a, b in zip(shown, light, strict=True))


@pytest.mark.parametrize(
    "profile", [b"no profile at all" * 20, pyvips.Operation.call("profile_load", "cmyk")], ids=["broken", "of a press"]
)
def test_a_profile_that_cannot_be_used_is_ignored(render_file, profile):
    picture = render_file(photos.a_jpeg(600, 450, 2, icc_profile=profile)).picture("960", "jpeg")
    assert photos.difference(picture, photos.photo(600, 450, 2)) < 4


@pytest.mark.parametrize("mode", ["L", "LA", "1", "RGBA"])
def test_every_kind_of_png_is_shown(render_file, mode):
    out = io.BytesIO()
    picture = photos.photo(400, 300, 2).convert(mode)
    picture.save(out, "PNG")
    rendered = render_file(out.getvalue())
    assert rendered.picture("960", "jpeg").mode == "RGB"
    assert photos.difference(rendered.picture("960", "jpeg"), picture) < 6


def test_a_picture_of_few_colours_is_shown(render_file):
    few = photos.opened(photos.a_png(400, 300, 2, palette=True))
    assert few.mode == "P"
    assert photos.difference(render_file(photos.a_png(400, 300, 2, palette=True)).picture("960", "webp"), few) < 6


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "L;16"])
def test_every_kind_of_heic_is_shown(render_file, mode):
    picture = photos.photo(400, 300, 2).convert(mode.partition(";")[0])
    pixels = (np.asarray(picture, np.uint16) * 257).tobytes() if mode == "L;16" else picture.tobytes()
    out = io.BytesIO()
    pillow_heif.from_bytes(mode, picture.size, pixels).save(out, quality=90)
    assert photos.difference(render_file(out.getvalue()).picture("960", "webp"), picture) < 4


def test_a_gray_jpeg_is_shown(render_file):
    gray = photos.photo(400, 300, 2).convert("L")
    assert photos.difference(render_file(photos.a_gray_jpeg(400, 300, 2)).picture("960", "webp"), gray) < 4


def test_transparency_is_kept_in_webp_and_white_in_jpeg(render_file):
    rendered = render_file(photos.a_png(400, 300, 2, alpha=True))
    webp, jpeg = rendered.picture("960", "webp"), rendered.picture("960", "jpeg")
    assert webp.mode == "RGBA"
    assert [webp.getpixel((x, 150))[3] for x in (0, 90, 399)] == [0, 0, 255]
    assert jpeg.getpixel((10, 150)) == (255, 255, 255)
    assert photos.difference(jpeg, on_white(photos.cut_out(photos.photo(400, 300, 2)))) < 4


def test_clear_pixels_do_not_bleed_when_shrunk(render_file):
    """Red where it is opaque, green where it is clear: between them there must be no yellow or brown."""
    stripes = np.zeros((200, 800, 4), np.uint8)
    stripes[:, 0::2] = (255, 0, 0, 255)
    stripes[:, 1::2] = (0, 255, 0, 0)
    out = io.BytesIO()
    Image.fromarray(stripes).save(out, "PNG")
    red, green, _, alpha = render_file(out.getvalue()).picture("320", "webp").getpixel((160, 40))
    assert red > 200
    assert green < 30
    assert 90 < alpha < 170


# --- no metadata ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "original",
    [
        photos.a_jpeg(
            400,
            300,
            exif=photos.CAMERA,
            gps=True,
            comment=b"SECRET-COMMENT",
            xmp=b"<x:xmpmeta>SECRET-XMP</x:xmpmeta>",
            icc_profile=pyvips.Operation.call("profile_load", "p3"),
        ),
        photos.a_heic(400, 300, exif=photos.CAMERA, gps=True, display_p3=True),
    ],
    ids=["jpeg", "heic"],
)
def test_a_rendition_has_only_pixels(render_file, original):
    assert b"Marie Curie" in original
    rendered = render_file(original)
    for each in rendered.facts.renditions:
        file = rendered.file(each.name, each.format)
        for secret in (
            b"Exif",
            b"GPS",
            b"Canon",
            b"Marie",
            b"SN-0042",
            b"SECRET",
            b"xmp",
            b"http",
            b"ICC",
            b"acsp",
            b"Pillow",
        ):
            assert secret not in file, (each.name, each.format, secret)
        assert photos.opened(file).getexif() == {}
    assert "Marie" not in str(rendered.facts)
    assert "SN-0042" not in str(rendered.facts)
    assert set(rendered.facts.exif) == {"camera", "lens", "exposureTime", "fNumber", "iso", "focalLength", "takenAt"}


# --- the placeholder --------------------------------------------------------------------------------------------------


def test_a_placeholder_has_the_shape_and_colours_of_the_picture(render_file):
    facts = render_file(plain((250, 120, 10), sides=(600, 300))).facts
    hashed = base64.b64decode(facts.thumbhash)
    assert len(hashed) < 30
    assert thumbhashes.ratio(hashed) == pytest.approx(2, rel=0.3)
    assert thumbhashes.average(hashed) == pytest.approx((250, 120, 10), abs=15)


def test_the_color_is_the_most_frequent_one_not_the_average(render_file):
    """A third of exactly one yellow, and two thirds of blues of which no two are quite the same."""
    pixels = np.random.default_rng(0).integers((4, 4, 200), (28, 28, 220), (100, 300, 3)).astype(np.uint8)
    pixels[:, :100] = (250, 240, 10)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert tuple(bytes.fromhex(render_file(out.getvalue()).facts.color[1:])) == pytest.approx((16, 16, 210), abs=12)


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 6])
def test_fifty_megapixels_need_little_memory(tmp_path, orientation):
    """Row by row, in every orientation; the pixels alone would be 150 MB."""
    original = tmp_path / "original"
    picture = pyvips.Image.black(8_000, 6_200, bands=3).copy(interpretation="srgb")
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    picture.jpegsave(str(original))
    script = (
        "import sys; from pathlib import Path; from gallery.rendering import pipeline, recipe\n"
        "pipeline.render(Path(sys.argv[1]), Path(sys.argv[2]), recipe.Recipe())\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # kB, of this process alone
    )
    done = subprocess.run(
        [sys.executable, "-c", script, original, tmp_path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 140_000
    assert pyvips.Image.new_from_file(str(tmp_path / "320.jpeg")).height == (413 if orientation == 6 else 248)
