"""Pictures on demand in pixels, against independent ways to compute them (Pillow and numpy)."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

import photos
from gallery.rendering.picture import render_picture
from gallery.rendering.picture_spec import Color, Fit, Gravity, PictureSpec, Point, Rect
from gallery.rendering.probe import Format, Limits

WIDTH, HEIGHT = 600, 450


@pytest.fixture
def render(tmp_path: Path):
    """Renders a file by a spec as PNG unless it says otherwise; returns the opened picture."""

    def run(content: bytes, sides=(WIDTH, HEIGHT), **fields):
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(content)
        target.unlink(missing_ok=True)
        spec = PictureSpec(**{"format": Format.PNG, "quality": 90, **fields})
        made = render_picture(source, target, spec, sides, Limits())
        picture = Image.open(io.BytesIO(target.read_bytes()))
        picture.load()
        assert picture.size == (made.width, made.height)
        return picture

    return run


@pytest.fixture(scope="module")
def original() -> Image.Image:
    return photos.photo(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def png(original: Image.Image) -> bytes:
    return encoded(original, "PNG")


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def difference(one: Image.Image, other: Image.Image, mode: str = "RGB") -> float:
    """The mean difference of two pictures of the same size, from 0 to 255."""
    a, b = (np.asarray(picture.convert(mode), dtype=float) for picture in (one, other))
    assert a.shape == b.shape
    return float(np.abs(a - b).mean())


def test_nothing_asked_is_the_picture_itself(render, png, original):
    assert difference(render(png), original) == 0


def test_a_rect_is_cut_out_exactly(render, png, original):
    assert difference(render(png, rect=Rect(100, 50, 200, 150)), original.crop((100, 50, 300, 200))) == 0


@pytest.mark.parametrize(
    ("angle", "how"),
    [(90, Image.Transpose.ROTATE_270), (180, Image.Transpose.ROTATE_180), (270, Image.Transpose.ROTATE_90)],
)
def test_rotation_is_clockwise(render, png, original, angle, how):
    assert difference(render(png, rotate=angle), original.transpose(how)) == 0


def test_flips(render, png, original):
    assert difference(render(png, flip="h"), ImageOps.mirror(original)) == 0
    assert difference(render(png, flip="v"), ImageOps.flip(original)) == 0
    assert difference(render(png, flip="hv"), original.transpose(Image.Transpose.ROTATE_180)) == 0


def test_rect_rotate_and_flip_are_applied_in_this_order(render, png, original):
    expected = ImageOps.mirror(original.crop((100, 50, 300, 200)).transpose(Image.Transpose.ROTATE_270))
    assert difference(render(png, rect=Rect(100, 50, 200, 150), rotate=90, flip="h"), expected) == 0


def test_the_picture_is_shrunk_as_by_another_library(render, png, original):
    expected = original.resize((200, 150), Image.Resampling.LANCZOS)
    assert difference(render(png, width=200), expected) < 2


def test_fill_stretches(render, png, original):
    expected = original.resize((100, 300), Image.Resampling.LANCZOS)
    assert difference(render(png, width=100, height=300, fit=Fit.FILL), expected) < 2


@pytest.mark.parametrize(
    ("focus", "left"), [(Point(0, 0.5), 0), (Point(0.5, 0.5), 25), (Point(1, 0.5), 50), (Point(0.4, 0.5), 5)]
)
def test_cover_keeps_its_focus_in_sight(render, png, original, focus, left):
    whole = original.resize((200, 150), Image.Resampling.LANCZOS)
    expected = whole.crop((left, 0, left + 150, 150))
    assert difference(render(png, width=150, height=150, fit=Fit.COVER, focus=focus), expected) < 2


@pytest.mark.parametrize("gravity", Gravity)
def test_a_crop_finds_where_something_is(render, gravity):
    """A small photo on a plain ground, far off the centre."""
    ground = Image.new("RGB", (600, 200), (120, 120, 120))
    ground.paste(photos.photo(150, 150), (430, 25))
    found = render(encoded(ground, "PNG"), (600, 200), width=200, height=200, fit=Fit.COVER, focus=gravity)
    covered = np.abs(np.asarray(found, dtype=int)[..., :3] - 120).max(axis=2) > 3
    assert covered.mean() > 0.5


def test_contain_pads_with_its_background(render, png, original):
    found = render(png, width=200, height=200, fit=Fit.CONTAIN, background=Color(255, 0, 128))
    assert found.size == (200, 200)
    assert found.getpixel((100, 5)) == (255, 0, 128)
    expected = original.resize((200, 150), Image.Resampling.LANCZOS)
    assert difference(found.crop((0, 25, 200, 175)), expected) < 2


def test_contain_without_a_background_is_padded_with_transparency(render, png):
    found = render(png, width=200, height=200, fit=Fit.CONTAIN)
    assert found.mode == "RGBA"
    assert found.getpixel((100, 5))[3] == 0
    assert found.getpixel((100, 100))[3] == 255
    jpeg = render(png, width=200, height=200, fit=Fit.CONTAIN, format=Format.JPEG)
    assert min(jpeg.getpixel((100, 5))) > 250


def half_transparent() -> Image.Image:
    """Red of half opacity on the left, blue that is opaque on the right."""
    picture = Image.new("RGBA", (200, 100), (255, 0, 0, 128))
    picture.paste((0, 0, 255, 255), (100, 0, 200, 100))
    return picture


def test_transparency_stays_where_the_format_has_it(render):
    content = encoded(half_transparent(), "PNG")
    for kind in (Format.PNG, Format.WEBP, Format.AVIF):
        found = render(content, (200, 100), format=kind).convert("RGBA")
        assert abs(found.getpixel((20, 50))[3] - 128) <= 2
        assert found.getpixel((180, 50))[3] == 255


def test_transparency_is_put_on_the_background(render):
    content = encoded(half_transparent(), "PNG")
    on_green = render(content, (200, 100), background=Color(0, 255, 0))
    assert on_green.getpixel((20, 50))[:3] == pytest.approx((128, 127, 0), abs=2)
    jpeg = render(content, (200, 100), format=Format.JPEG)
    assert jpeg.getpixel((20, 50)) == pytest.approx((255, 127, 127), abs=6)
    expected = Image.alpha_composite(Image.new("RGBA", (200, 100), (0, 255, 0, 100)), half_transparent())
    translucent = render(content, (200, 100), background=Color(0, 255, 0, 100))
    assert translucent.getpixel((20, 50)) == pytest.approx(expected.getpixel((20, 50)), abs=3)
    assert translucent.getpixel((180, 50)) == (0, 0, 255, 255)


def test_blur_is_gaussian(render, png, original):
    assert difference(render(png, blur=4.0), original.filter(ImageFilter.GaussianBlur(4))) < 1.5


def test_blur_does_not_bleed_the_colour_of_transparent_pixels(render):
    picture = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (50, 0, 100, 100))
    found = render(encoded(picture, "PNG"), (100, 100), blur=5.0)
    assert found.getpixel((54, 50))[0] < 5


def test_sharpen_is_an_unsharp_mask(render, png, original):
    pixels = np.asarray(original, dtype=float)
    blurred = np.asarray(original.filter(ImageFilter.GaussianBlur(1)), dtype=float)
    expected = Image.fromarray(np.clip(pixels + 1.5 * (pixels - blurred), 0, 255).astype("uint8"))
    assert difference(render(png, sharpen=1.5), expected) < 2.5
    assert difference(render(png, sharpen=1.5), original) > 3


def test_gray_is_the_luminance(render, png, original):
    found = render(png, gray=True)
    linear = np.where(
        (share := np.asarray(original, dtype=float) / 255) <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4
    ) @ np.array([0.2126, 0.7152, 0.0722])
    expected = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(np.asarray(found.convert("L"), dtype=float) - expected).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright_before_anything_else(render, orientation):
    upright = photos.photo(WIDTH, HEIGHT)
    content = photos.a_jpeg(WIDTH, HEIGHT, orientation=orientation)
    assert difference(render(content, width=200), upright.resize((200, 150), Image.Resampling.LANCZOS)) < 4
    cut = render(content, rect=Rect(300, 100, 200, 300))
    assert difference(cut, upright.crop((300, 100, 500, 400))) < 4
    small = render(content, rect=Rect(160, 80, 320, 240), width=40, rotate=90, flip="v")
    expected = ImageOps.flip(upright.crop((160, 80, 480, 320)).transpose(Image.Transpose.ROTATE_270))
    assert difference(small, expected.resize((40, 53), Image.Resampling.LANCZOS)) < 8


def test_a_smaller_rendition_as_source_gives_the_same_picture(render, original):
    rendition = encoded(original.resize((300, 225), Image.Resampling.LANCZOS), "PNG")
    expected = original.resize((100, 75), Image.Resampling.LANCZOS)
    assert difference(render(rendition, width=100), expected) < 3
    covered = render(rendition, width=80, height=80, fit=Fit.COVER, focus=Point(1, 0))
    assert difference(covered, original.resize((107, 80), Image.Resampling.LANCZOS).crop((27, 0, 107, 80))) < 3


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP, Format.JPEG, Format.PNG])
def test_every_format_is_written_without_metadata(render, kind, original):
    content = photos.a_jpeg(WIDTH, HEIGHT, exif=photos.CAMERA)
    found = render(content, width=300, format=kind)
    assert found.format == kind.upper()
    assert not found.getexif()
    assert "icc_profile" not in found.info
    assert difference(found, original.resize((300, 225), Image.Resampling.LANCZOS)) < 5


def test_quality_decides_the_size(render, png, tmp_path):
    sizes = []
    for quality in (20, 90):
        render(png, format=Format.WEBP, quality=quality)
        sizes.append((tmp_path / "target").stat().st_size)
    assert sizes[0] < sizes[1] / 2
