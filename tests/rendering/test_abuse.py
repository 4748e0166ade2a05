"""Files that repeat valid structures, each cheap to send and expensive to decode."""

import time

import pytest

import photos
from gallery.errors import DamagedPicture
from gallery.rendering.abuse import MAX_SCANS, keep_first_frame
from hostile.builders import canvas, flat_jpeg, into_jpeg, many_scans, part, riff, segment, webp_frame
from hostile.gifs_and_webps import ANIM, ANIMATION
from hostile.isobmff_files import without_picture


def test_a_webp_of_very_many_frames_takes_no_longer_than_its_first(render_file):
    file = riff(canvas(64, 64, ANIMATION), ANIM, webp_frame(16, 16) * 200_000)
    began = time.monotonic()
    assert render_file(file).facts.width == 64
    assert time.monotonic() - began < 5


def test_chunks_behind_the_frames_of_a_webp_are_kept():
    head, frames, tail = (
        canvas(64, 64, ANIMATION) + ANIM,
        [webp_frame(n, 16) for n in (16, 8, 4)],
        part(b"EXIF", b"turned"),
    )
    assert keep_first_frame(riff(head, *frames, tail)) == riff(head, frames[0], tail)
    assert keep_first_frame(riff(head, frames[0], part(b"junk", b"x"), *frames, tail)) == riff(
        head, frames[0], part(b"junk", b"x"), tail
    )


@pytest.mark.parametrize("file", [photos.a_webp(64, 48), photos.a_webp(64, 48, alpha=True), b"", b"RIFF", bytes(99)])
def test_a_still_webp_is_unchanged(file):
    assert keep_first_frame(file) == file


def test_an_animated_webp_is_rotated_by_its_exif(render_file):
    frames = photos.a_webp(96, 64, animated=True)[30:]
    file = riff(canvas(96, 64, ANIMATION | 0x08), frames, part(b"EXIF", photos.an_exif({}, orientation=6)))
    assert (render_file(file).facts.width, render_file(file).facts.height) == (64, 96)


def test_an_animated_webp_that_is_cut_within_its_first_frame_is_damaged(render_file):
    file = photos.a_webp(400, 300, animated=True)
    with pytest.raises(DamagedPicture):
        render_file(file[: file.index(b"ANMF") + 2000])


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(render_file):
    began = time.monotonic()
    with pytest.raises(DamagedPicture):
        render_file(many_scans(7000, 7000, 50_000))
    assert time.monotonic() - began < 5
    assert render_file(many_scans(640, 480, MAX_SCANS)).sizes


def test_only_scans_of_the_picture_itself_are_counted(render_file):
    scans = b"\xff\xda" * 2000
    assert render_file(into_jpeg(flat_jpeg(64, 64), segment(0xE1, scans))).sizes
    assert render_file(flat_jpeg(64, 64) + scans).sizes


@pytest.mark.parametrize(("width", "height"), [(16383, 1), (1, 16383), (16383, 3), (5, 16383)])
def test_a_jpeg_as_thin_as_a_thread_keeps_both_its_sides(render_file, width, height):
    facts = render_file(photos.a_jpeg(width, height)).facts
    assert (facts.width, facts.height) == (width, height)


def test_a_heic_without_a_picture_inside_is_damaged(render_file):
    with pytest.raises(DamagedPicture):
        render_file(photos.a_heic(160, 128, tile=64).replace(b"dimg", b"thmb"))


def test_a_decoders_own_limit_is_not_a_lack_of_memory(render_file):
    with pytest.raises(DamagedPicture):
        render_file(without_picture()["bad/heic of 30000 items"])
