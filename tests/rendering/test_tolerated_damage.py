"""Files that break a rule and lack nothing: they are rendered, since every viewer shows them."""

import io
import struct

import pytest

import photos
from gallery.errors import DamagedPicture, NotAPicture
from gallery.rendering.probe import Limits, probe
from hostile.gifs_and_webps import gif, gif_frame

JPEG = photos.a_jpeg(400, 300)
PROGRESSIVE = photos.a_jpeg(400, 300, progressive=True)
EOI = b"\xff\xd9"


def stray(content: bytes, between: bytes = JPEG) -> bytes:
    """A JPEG with these bytes before its tables."""
    at = between.index(b"\xff\xdb")
    return between[:at] + content + between[at:]


# --- JPEG: stray bytes ------------------------------------------------------------------------------------------------

STRAY_BYTES = {
    "zeroes": bytes(70),
    "fill bytes": b"\xff" * 200,
    "a segment whose marker has lost its first byte": b"\x00\xe1"
    + struct.pack(">H", 500)
    + b"Exif\0\0"
    + b"\x01" * 492,
    "what a camera left there": b" " * 24_242,
    "very much": b"\xff\x00" * 250_000,
}


@pytest.mark.parametrize("name", STRAY_BYTES)
def test_stray_bytes_between_segments_are_skipped(render_file, name):
    rendered = render_file(stray(STRAY_BYTES[name]))
    assert photos.likeness(rendered.picture("960", "jpeg"), photos.photo(400, 300)) > 0.9


def test_too_many_stray_bytes_are_refused(render_file):
    with pytest.raises(NotAPicture):
        render_file(stray(bytes(2_000_000)))


# --- JPEG: the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [JPEG, PROGRESSIVE, photos.a_jpeg(4000, 3000)], ids=["plain", "progressive", "shrunk"])
def test_the_end_of_image_may_be_missing(render_file, file):
    assert file.endswith(EOI)
    with_end, without = render_file(file), render_file(file[:-2])
    assert with_end.file("320", "webp") == without.file("320", "webp")


@pytest.mark.parametrize("file", [JPEG, PROGRESSIVE], ids=["plain", "progressive"])
@pytest.mark.parametrize("lost", [8, 60, 2_000])
def test_missing_pixels_are_damage(render_file, file, lost):
    for end in (b"", EOI[:1]):
        with pytest.raises(DamagedPicture):
            render_file(file[:-lost] + end)


def test_zeroes_in_place_of_pixels_are_damage(render_file):
    """As in a file whose last blocks were never written."""
    with pytest.raises(DamagedPicture):
        render_file(JPEG[:-2_000] + bytes(2_000))


def test_an_end_in_the_exif_thumbnail_is_not_the_pictures_own(render_file):
    """The thumbnail has an end marker; the picture around it lacks one, and a part of its pixels."""
    thumbnail = photos.a_jpeg(40, 30)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Thumb\0" + thumbnail
    file = JPEG[:2] + segment + JPEG[2:-2]
    assert render_file(file).facts.width == 400
    with pytest.raises(DamagedPicture):
        render_file(file[:-500])


# --- profiles ---------------------------------------------------------------------------------------------------------


def profile(kind: bytes = b"mntr", curve: bytes = b"curv") -> bytes:
    """An ICC profile of sRGB's primaries and a gamma of 2.2: https://www.color.org/icc1v42.pdf."""
    gamma = curve + bytes(4) + struct.pack(">IHxx", 1, round(2.2 * 256))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 4) + b"rgb\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": _xyz(0.9642, 1, 0.8249),
        b"rXYZ": _xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": _xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": _xyz(0.1431, 0.0606, 0.7141),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma),
    }
    table, values = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(values), len(value))
        values += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(values)
    head = struct.pack(">I", size) + b"lcms\x02\x10\0\0" + kind + b"RGB XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    head += b"acspAPPL" + bytes(4) + b"nonenone" + bytes(12) + _xyz(0.9642, 1, 0.8249)[8:] + b"lcms"
    return head.ljust(128, b"\0") + table + values


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65_536)) for value in values)


UNUSABLE_PROFILES = {
    "random": bytes(range(256)) * 4,
    "cut": profile()[:200],
    "a curve of unknown type": profile(curve=b"xxxx"),
    "a device link": profile(kind=b"link"),
}


def with_profile(jpeg: bytes, icc: bytes) -> bytes:
    segment = b"ICC_PROFILE\0\x01\x01" + icc
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("name", UNUSABLE_PROFILES)
@pytest.mark.parametrize("make", [photos.a_jpeg, photos.a_gray_jpeg, photos.a_cmyk_jpeg], ids=["rgb", "gray", "cmyk"])
def test_a_profile_that_cannot_be_used_is_ignored(render_file, name, make):
    plain = make(400, 300)
    profiled = render_file(with_profile(plain, UNUSABLE_PROFILES[name])).picture("960", "jpeg")
    assert photos.difference(profiled, render_file(plain).picture("960", "jpeg")) < 1


def test_a_usable_profile_is_used(render_file):
    """The same curve with other primaries: colours differ."""
    plain = photos.a_jpeg(400, 300)
    assert (
        photos.difference(
            render_file(with_profile(plain, profile())).picture("960", "jpeg"),
            render_file(plain).picture("960", "jpeg"),
        )
        > 0
    )


# --- GIF canvases -----------------------------------------------------------------------------------------------------


OPAQUE, TRANSPARENT = (0, 20, 40, 255), (0, 0, 0, 0)
CANVASES = {  # as Chromium draws them: the sides, the first pixel and the last
    "all of it": (gif(64, 64, gif_frame(64, 64)), (64, 64), OPAQUE, OPAQUE),
    "the left half": (gif(64, 64, gif_frame(32, 64)), (64, 64), OPAQUE, TRANSPARENT),
    "a spot": (gif(64, 64, gif_frame(9, 9, left=30, top=30)), (64, 64), TRANSPARENT, TRANSPARENT),
    "a spot on an old screen": (
        gif(1024, 768, gif_frame(90, 80, left=20, top=10)),
        (1024, 768),
        TRANSPARENT,
        TRANSPARENT,
    ),
    "an old screen": (gif(640, 480, gif_frame(640, 480)), (640, 480), OPAQUE, OPAQUE),
    "more than it": (gif(40, 40, gif_frame(60, 60)), (60, 60), OPAQUE, OPAQUE),
    "a corner, and more": (gif(40, 40, gif_frame(30, 30, left=20, top=20)), (50, 50), TRANSPARENT, OPAQUE),
    "what is far away": (gif(40, 40, gif_frame(20, 20, left=100, top=100)), (120, 120), TRANSPARENT, OPAQUE),
    "no canvas": (gif(0, 0, gif_frame(20, 20)), (20, 20), OPAQUE, OPAQUE),
    "less than the second frame": (gif(40, 40, gif_frame(20, 20), gif_frame(60, 60)), (40, 40), OPAQUE, TRANSPARENT),
    "a comment before it": (gif(64, 64, b"\x21\xfe\x03abc\0", gif_frame(32, 64)), (64, 64), OPAQUE, TRANSPARENT),
}


@pytest.mark.parametrize("name", CANVASES)
def test_a_gifs_first_frame_stands_on_its_canvas(render_file, name):
    file, sides, first, last = CANVASES[name]
    rendered = render_file(file)
    assert (rendered.facts.width, rendered.facts.height) == sides
    assert probe(io.BytesIO(file), Limits()).width == sides[0]
    size = rendered.sizes[-1][0]
    webp, jpeg = rendered.picture(size, "webp").convert("RGBA"), rendered.picture(size, "jpeg")
    for at, wanted in (((0, 0), first), ((webp.width - 1, webp.height - 1), last)):
        seen = webp.getpixel(at)
        assert seen[3] == wanted[3], (at, seen)
        on_white = wanted[:3] if wanted[3] else (255, 255, 255)
        assert max(abs(a - b) for a, b in zip(jpeg.getpixel(at), on_white, strict=True)) < 12
