"""Files that cannot be rendered, and files that only look as if."""

import io
import struct
import subprocess
import sys

import pytest
import pyvips
from PIL import Image

import photos
from gallery.errors import DamagedPicture, NotAPicture, RendererFailed, SideTooLong, TooManyPixels
from gallery.rendering import decode
from gallery.rendering.pipeline import render
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import Recipe

WHOLE = {
    "jpeg": photos.a_jpeg(400, 300),
    "progressive jpeg": photos.a_jpeg(400, 300, progressive=True),
    "rotated jpeg": photos.a_jpeg(400, 300, orientation=6),
    "large jpeg": photos.a_jpeg(4000, 3000),
    "png": photos.a_png(400, 300),
    "16-bit png": photos.a_png16(400, 300),
    "palette png": photos.a_png(400, 300, palette=True),
    "gif": photos.a_gif(400, 300),
    "webp": photos.a_webp(400, 300),
    "lossless webp": photos.a_webp(400, 300, lossless=True),
    "avif": photos.an_avif(400, 300),
    "heic": photos.a_heic(400, 300),
    "tiled heic": photos.a_heic(400, 300, tile=128),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_ends_too_soon_is_damaged(render_file, kind, share):
    file = WHOLE[kind]
    with pytest.raises((DamagedPicture, NotAPicture) if share < 0.5 else DamagedPicture) as damage:
        render_file(file[: int(len(file) * share)])
    assert len(str(damage.value)) < 300


@pytest.mark.parametrize("kind", WHOLE)
def test_missing_last_bytes_are_damage(render_file, kind):
    with pytest.raises(DamagedPicture):
        render_file(WHOLE[kind][:-20])


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png", "avif"])
def test_a_file_whose_second_half_was_never_written_is_damaged(render_file, kind):
    file = WHOLE[kind]
    with pytest.raises(DamagedPicture):
        render_file(file[: len(file) // 2] + bytes(len(file) - len(file) // 2))


@pytest.mark.parametrize("kind", WHOLE)
def test_bytes_after_the_end_do_no_harm(render_file, kind):
    assert render_file(WHOLE[kind] + b"\0" * 300 + b"motion photo video" * 20).sizes


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc0", b"\xff\xda", b"\xff\xd9"])
def test_a_phone_that_writes_stray_bytes_makes_photos_all_the_same(render_file, marker):
    file = WHOLE["jpeg"]
    at = file.rindex(marker)
    rendered = render_file(file[:at] + bytes(3) + file[at:])
    assert photos.likeness(rendered.picture("960", "jpeg"), photos.photo(400, 300)) > 0.9


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum(render_file):
    file = bytearray(WHOLE["png"])
    file[len(file) // 2] ^= 0x10
    with pytest.raises(DamagedPicture):
        render_file(bytes(file))


def test_other_files_are_not_rendered(render_file):
    for file in photos.not_pictures().values():
        with pytest.raises(NotAPicture):
            render_file(file)


def test_a_bomb_is_not_unpacked(render_file):
    with pytest.raises(TooManyPixels):
        render_file(photos.a_png_bomb())


@pytest.mark.parametrize("make", [photos.a_png, photos.a_jpeg, photos.a_heic, photos.an_avif])
def test_the_sides_are_checked_again_after_decoding(tmp_path, make):
    """The probe's reading of a header may differ from the decoder's, which counts."""
    original = tmp_path / "original"
    original.write_bytes(make(400, 300))
    kind = {photos.a_png: Format.PNG, photos.a_jpeg: Format.JPEG, photos.a_heic: Format.HEIC}.get(make, Format.AVIF)
    with pytest.raises(TooManyPixels):
        decode.open_picture(original, kind, Limits(max_pixels=400 * 300 - 1))
    with pytest.raises(SideTooLong):
        decode.open_picture(original, kind, Limits(max_side=399))


def _without_area() -> dict[str, bytes]:
    """Files whose main picture has no sides, though other parts of the file have some."""
    tiled = photos.a_heic(400, 300, tile=128)
    grid = tiled.index(bytes([0, 0, 2, 3]) + struct.pack(">HH", 400, 300)) + 4
    sides = tiled.index(b"ispe") + 8
    profiled = photos.a_heic(400, 300, display_p3=True)
    box = profiled.index(b"colrprof")
    webp = photos.a_webp(400, 300, alpha=True)
    frame = webp.index(b"\x9d\x01\x2a") + 3
    return {
        "heic of no width": tiled[:grid] + struct.pack(">HH", 0, 300) + tiled[grid + 4 :],
        "heic of no height": tiled[:grid] + struct.pack(">HH", 400, 0) + tiled[grid + 4 :],
        "heic with sides of 0": tiled[:sides] + struct.pack(">II", 0, 300) + tiled[sides + 8 :],
        "heic cropped to nothing": profiled[:box] + b"clap" + struct.pack(">8I", *[0, 1] * 4) + profiled[box + 36 :],
        "webp with an empty frame": webp[:frame] + struct.pack("<HH", 0, 300) + webp[frame + 4 :],
    }


@pytest.mark.parametrize("kind", _without_area())
def test_a_picture_without_area_is_damaged(render_file, kind):
    """And no lack of memory, as some decoders put it."""
    with pytest.raises(DamagedPicture):
        render_file(_without_area()[kind])


def test_a_failed_write_is_not_damage(tmp_path):
    original = tmp_path / "original"
    original.write_bytes(WHOLE["png"])
    with pytest.raises(RendererFailed) as failure:
        render(original, tmp_path / "no such folder", Recipe())
    assert not isinstance(failure.value, DamagedPicture)


def test_a_missing_original_is_not_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        render(tmp_path / "nowhere", tmp_path, Recipe())


def test_another_file_under_the_same_path_is_another_picture(tmp_path):
    original = tmp_path / "original"
    colors = []
    for color in ("#c81e28", "#1e28c8"):
        out = io.BytesIO()
        Image.new("RGB", (64, 64), color).save(out, "PNG")
        original.write_bytes(out.getvalue())
        colors.append(render(original, tmp_path, Recipe()).color)
    assert colors == ["#c81e28", "#1e28c8"]


def test_a_path_with_brackets_is_a_path(tmp_path):
    original = tmp_path / "photo[page=1].png"
    original.write_bytes(WHOLE["png"])
    assert render(original, tmp_path, Recipe()).width == 400


def test_a_renderer_without_memory_raises_memory_error(tmp_path):
    original = tmp_path / "original"
    pyvips.Image.black(6_000, 6_000, bands=3).pngsave(str(original), interlace=True, compression=1)
    script = (
        "import sys, resource; from pathlib import Path\n"
        "from gallery.rendering import decode, encode, pipeline, placeholder, recipe\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 80_000_000,) * 2)\n"
        "try: pipeline.render(Path(sys.argv[1]), Path(sys.argv[2]), recipe.Recipe())\n"
        "except MemoryError: print('out of memory')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, original, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "out of memory\n"
