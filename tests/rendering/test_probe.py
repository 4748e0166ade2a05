"""The probe: format and sides of an uploaded file, without a decoder."""

import io
import struct
import subprocess
import sys

import pytest

import photos
from gallery.errors import NotAPicture, SideTooLong, TooManyPixels
from gallery.rendering.probe import Format, Limits, ProbeResult, probe

LIMITS = Limits()


def probed(file: bytes, limits: Limits = LIMITS) -> ProbeResult:
    return probe(io.BytesIO(file), limits)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (photos.a_jpeg, Format.JPEG),
        (photos.a_gray_jpeg, Format.JPEG),
        (photos.a_cmyk_jpeg, Format.JPEG),
        (photos.a_png, Format.PNG),
        (photos.a_png16, Format.PNG),
        (photos.a_gif, Format.GIF),
        (photos.a_webp, Format.WEBP),
        (photos.an_avif, Format.AVIF),
        (photos.a_heic, Format.HEIC),
    ],
)
def test_every_format_is_recognised_by_its_content(make, kind):
    facts = probed(make(300, 202))
    assert facts == ProbeResult(kind, 300, 202, animated=False)
    assert facts.mime_type == f"image/{kind.value}"


@pytest.mark.parametrize("options", [{"alpha": True}, {"lossless": True}, {"lossless": True, "alpha": True}])
def test_the_sides_of_each_kind_of_webp_are_read(options):
    assert probed(photos.a_webp(300, 202, **options)) == ProbeResult(Format.WEBP, 300, 202, animated=False)


def test_a_jpeg_is_found_behind_much_metadata():
    file = photos.a_jpeg(300, 202, exif=photos.CAMERA, comment=b"x" * 60_000, icc_profile=b"p" * 300_000)
    assert probed(file) == ProbeResult(Format.JPEG, 300, 202, animated=False)


def test_fill_bytes_between_jpeg_markers_are_legal():
    file = photos.a_jpeg(300, 202)
    assert probed(file[:2] + b"\xff" * 9 + file[2:]).width == 300


@pytest.mark.parametrize(
    "segment", [b"\xff\x01", b"\xff\xd0", b"\xff\xc4\x00\x02", b"\xff\xc8\x00\x04\x00\x00", b"\xff\xcc\x00\x02"]
)
def test_other_segments_before_the_frame_are_skipped(segment):
    file = photos.a_jpeg(300, 202)
    assert probed(file[:2] + segment + file[2:]) == probed(file)


def test_a_progressive_jpeg_is_a_jpeg():
    assert probed(photos.a_jpeg(300, 202, progressive=True)).height == 202


def test_sides_are_those_stored_before_any_orientation():
    facts = probed(photos.a_jpeg(300, 202, orientation=6))
    assert (facts.width, facts.height) == (202, 300)


def test_a_heic_in_tiles_has_the_sides_of_the_whole():
    facts = probed(photos.a_heic(900, 700, tile=256))
    assert (facts.width, facts.height) == (900, 700)


@pytest.mark.parametrize("make", [photos.a_gif, photos.a_webp, photos.an_avif])
def test_an_animation_is_noticed(make):
    assert probed(make(120, 90, animated=True)).animated
    assert not probed(make(120, 90)).animated


def test_an_animated_png_is_noticed():
    frames = [photos.photo(120, 90, seed) for seed in range(2)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    assert probed(out.getvalue()).animated


def test_colours_of_a_gif_frame_are_not_taken_for_frames():
    frame = b"\x2c" + bytes(4) + b"\x09\0\x09\0\x80" + b"\x2c\x2c\x2c\x21\xfe\0" + b"\x02\x01x\0"
    still = b"GIF89a\x09\0\x09\0\0\0\0" + frame
    assert probed(still + b";") == ProbeResult(Format.GIF, 9, 9, animated=False)
    assert probed(still + frame + b";").animated


def test_the_scale_of_a_webp_is_not_part_of_its_sides():
    file = bytearray(photos.a_webp(300, 202))
    start = file.index(b"\x9d\x01\x2a") + 3
    file[start + 1] |= 0x40
    file[start + 3] |= 0x80
    assert probed(bytes(file)) == ProbeResult(Format.WEBP, 300, 202, animated=False)


def test_a_webp_of_size_0_is_refused():
    file = photos.a_webp(300, 202)
    with pytest.raises(NotAPicture):
        probed(file[:4] + struct.pack("<I", 12) + file[8:])


def test_a_still_gif_with_a_loop_extension_is_not_animated():
    out = io.BytesIO()
    photos.photo(120, 90).save(out, "GIF", loop=0, comment=b"NETSCAPE2.0")
    assert not probed(out.getvalue()).animated


@pytest.mark.parametrize("name", photos.not_pictures())
def test_other_files_are_refused_under_any_name(name):
    with pytest.raises(NotAPicture):
        probed(photos.not_pictures()[name])


def test_a_bomb_is_refused_by_its_header():
    with pytest.raises(TooManyPixels) as refusal:
        probed(photos.a_png_bomb())
    assert refusal.value.message() == (
        "The picture has too many pixels. It has 2,500,000,000 (50000 × 50000); at most 200,000,000 are "
        "accepted (GALLERY_UPLOAD__MAX_PIXELS=200000000)."
    )


def test_the_limits_are_the_largest_sides_that_pass():
    exactly = Limits(max_pixels=300 * 202, max_side=300)
    file = photos.a_png(300, 202)
    assert probed(file, exactly).width == 300
    with pytest.raises(TooManyPixels):
        probed(file, Limits(max_pixels=300 * 202 - 1))
    with pytest.raises(SideTooLong):
        probed(file, Limits(max_side=299))
    with pytest.raises(SideTooLong):
        probed(photos.a_png(202, 300), Limits(max_side=299))


def test_the_sides_of_a_heic_are_those_of_its_largest_item():
    file = photos.a_heic(900, 700)
    ispe = file.index(b"ispe") + 8
    with pytest.raises(TooManyPixels):
        probed(file[:ispe] + struct.pack(">II", 40_000, 40_000) + file[ispe + 8 :])


@pytest.mark.parametrize("sides", [(0, 100), (100, 0)])
def test_a_picture_without_sides_is_refused(sides):
    with pytest.raises(NotAPicture):
        probed(photos.a_png_bomb(*sides))


@pytest.mark.parametrize("make", [photos.an_avif, photos.a_heic])
def test_with_generic_brands_the_codec_decides(make):
    file = bytearray(make(300, 202))
    file[8:12] = b"mif1"
    end = int.from_bytes(file[:4])
    file[16:end] = b"mif1" * ((end - 16) // 4)
    assert probed(bytes(file)) == probed(make(300, 202))
    with pytest.raises(NotAPicture):
        probed(bytes(file).replace(b"mif1", b"isom"))
    with pytest.raises(NotAPicture):
        probed(bytes(file).replace(b"av01", b"vvc1").replace(b"hvc1", b"vvc1"))


@pytest.mark.parametrize("make", [photos.a_jpeg, photos.a_gif, photos.a_heic])
def test_the_file_is_rewound(make):
    file = io.BytesIO(make(120, 90))
    file.seek(77)
    assert probe(file, LIMITS).width == 120
    assert file.tell() == 0


def test_the_file_is_rewound_after_a_refusal_too():
    file = io.BytesIO(b"%PDF-1.7 and so on")
    with pytest.raises(NotAPicture):
        probe(file, LIMITS)
    assert file.tell() == 0


def test_the_probe_loads_no_decoder():
    look = (
        "import sys; from gallery.rendering import pipeline, probe, recipe; recipe.Recipe().version;"
        "sys.exit(' '.join({'pyvips', 'PIL', 'pillow_heif'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
