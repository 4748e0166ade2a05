"""Colour spaces given by numbers, gray of a limited range, and premultiplied colours."""

import io

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gallery.errors import NotAPicture
from gallery.rendering import av1, heif_colors, png_colors
from gallery.rendering.color_space import BT2020, ColorInfo, ColorSpace, Curve, Hdr, from_code_points
from isobmff_writer import nclx, with_property
from rendering.samples import png_chunks, saved

RED = (180, 60, 60)
RED_OF_P3 = (196, 47, 53)  # the same values in Display P3, by CSS Color 4


def a_picture(format_name: str, color: tuple[int, ...] = RED, mode: str = "RGB", **options) -> bytes:
    return saved(Image.new(mode, (64, 48), color), format_name, **options)


def a_heic(color: tuple[int, ...] = RED, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    pillow_heif.from_bytes(mode, (64, 48), bytes(color) * 64 * 48).save(out, quality=95, chroma=444)
    return out.getvalue()


def an_avif(**options) -> bytes:
    return a_picture("AVIF", quality=98, subsampling="4:4:4", **options)


def color_of(picture: Image.Image) -> np.ndarray:
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    return np.array(picture.convert(mode).getpixel((32, 24)))


def with_chunks(png: bytes, colors: str) -> bytes:
    return png[:33] + b"".join(png_chunks(colors)) + png[33:]


@pytest.mark.parametrize(
    "file",
    [
        with_property(an_avif(), nclx(12, 13)),
        with_property(a_heic(), nclx(12, 13)),
        with_chunks(a_picture("PNG"), "p3"),
    ],
    ids=["avif", "heic", "png"],
)
def test_display_p3_without_a_profile_is_converted(render_file, file):
    assert np.abs(color_of(render_file(file).picture("320", "jpeg")) - RED_OF_P3).max() <= 6


@pytest.mark.parametrize(("gamma", "shown"), [("gamma 1.0", 122), ("gamma 2.2", 50), ("broken primaries", 50)])
def test_a_png_is_shown_with_its_gamma(render_file, gamma, shown):
    rendered = render_file(with_chunks(a_picture("PNG", (50, 50, 50)), gamma))
    assert np.abs(color_of(rendered.picture("320", "webp")) - shown).max() <= 4


@pytest.mark.parametrize("in_container", [True, False], ids=["in its container", "in its pixels' header"])
def test_gray_of_a_limited_range_is_stretched(render_file, in_container):
    """In the second file only the AV1 sequence header has the range."""
    half = Image.new("L", (64, 48), 0)
    half.paste(255, (32, 0, 64, 48))
    file = saved(half, "AVIF", quality=95, range="limited")
    picture = (
        render_file(file if in_container else file.replace(b"colrnclx", b"freenclx"))
        .picture("320", "webp")
        .convert("L")
    )
    assert picture.getpixel((8, 24)) <= 3
    assert picture.getpixel((56, 24)) >= 252


@pytest.mark.parametrize("format_name", ["avif", "heic"])
def test_colors_multiplied_by_alpha_are_divided_again(render_file, format_name):
    red, half = (200, 40, 40), 128
    file = (
        an_avif(color=(*red, half), mode="RGBA", alpha_premultiplied=True)
        if format_name == "avif"
        else a_heic((*(each * half // 255 for each in red), half), "RGBa")
    )
    rendered = render_file(file)
    assert np.abs(color_of(rendered.picture("320", "webp")) - (*red, half)).max() <= 6
    assert np.abs(color_of(rendered.picture("320", "jpeg")) - (227, 147, 147)).max() <= 6


def test_the_brightest_of_an_hdr_picture_keep_their_hue(render_file):
    """A red of 1,000 nits becomes the brightest red of the screen, and so does one of twice as much."""
    pixels = np.zeros((48, 64, 3), np.uint16)
    pixels[:, :32] = round(0.7518 * 65_535), 0, 0
    pixels[:, 32:] = round(0.8275 * 65_535), 0, 0
    from rendering.samples import as_vips  # noqa: PLC0415

    png = bytes(as_vips(pixels / 65_535, deep=True).pngsave_buffer(compression=1))
    picture = render_file(with_chunks(png, "pq")).picture("320", "webp")
    one, twice = (np.array(picture.convert("RGB").getpixel((x, 24))) for x in (8, 56))
    assert one[0] >= 252
    assert one[1:].max() <= 4
    assert np.abs(one - twice).max() <= 3


@pytest.mark.parametrize("nits", [1, 100, 203, 204])
def test_hdr_whose_peak_is_no_brighter_than_paper_is_shown_as_it_is(render_file, nits):
    """Half of the light of the reference white, as PQ encodes it; the peak in the metadata does not darken it."""
    png = with_chunks(a_picture("PNG", (130, 130, 130)), f"pq of {nits} nits")
    gray = color_of(render_file(png).picture("320", "webp"))
    assert np.abs(gray - 188).max() <= 4


# --- the readers ---------------------------------------------------------------------------------------------------


def test_unknown_code_points_are_ignored():
    assert (
        from_code_points(2, 2) is from_code_points(1, 2) is from_code_points(99, 13) is from_code_points(12, 9) is None
    )
    assert from_code_points(9, 16) == ColorSpace(BT2020, Hdr.PQ)


def read_of_png(colors: str) -> ColorInfo:
    return png_colors.read(io.BytesIO(with_chunks(a_picture("PNG"), colors)))


def test_of_a_png_cicp_goes_before_a_profile_and_a_profile_before_gamma():
    assert read_of_png("profile p3 and srgb").space.is_srgb
    assert read_of_png("profile p3").space is None
    assert read_of_png("srgb chunk").space is None
    assert read_of_png("none").space is None
    assert read_of_png("gamma 1.8").space.transfer == Curve(pytest.approx(1.8, abs=1e-4))


def test_the_peak_of_the_content_is_read():
    assert read_of_png("pq of 4000 nits").space.peak_nits == 4_000
    assert read_of_png("pq").space.peak_nits == 1_000


@given(st.binary(max_size=300))
def test_no_coded_picture_breaks_the_reader_of_its_header(data):
    av1.find_color_coding(data)


@given(st.integers(0, 500), st.binary(min_size=1, max_size=4), st.sampled_from(["avif", "heic", "png"]))
def test_no_damage_of_a_file_breaks_the_readers_of_its_colors(place, damage, format_name):
    file = {"avif": AVIF, "heic": HEIC, "png": PNG}[format_name]
    damaged = file[:place] + damage + file[place + len(damage) :]
    read = png_colors.read if format_name == "png" else heif_colors.read
    try:
        read(io.BytesIO(damaged))
    except NotAPicture:
        assert format_name != "png"


AVIF, HEIC = with_property(an_avif(), nclx(9, 16)), with_property(a_heic(), nclx(9, 18))
PNG = with_chunks(a_picture("PNG"), "gamma and primaries")
