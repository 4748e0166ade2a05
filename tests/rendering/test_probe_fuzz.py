"""Files made to attack the probe: it must accept or refuse them soon, and read little."""

import contextlib
import io
import time
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import photos
from gallery.errors import NotAPicture, SideTooLong, TooManyPixels, TooMuchMemory
from gallery.rendering.probe import Limits, ProbeResult, probe

REFUSALS = (NotAPicture, TooManyPixels, SideTooLong, TooMuchMemory)
FUZZ_SETTINGS = settings(deadline=timedelta(seconds=1), max_examples=400)
HEADER_BYTES = 700  # bytes, where headers are

FILES = {
    "jpeg": photos.a_jpeg(64, 48, exif=photos.CAMERA, gps=True),
    "png": photos.a_png(64, 48),
    "gif": photos.a_gif(64, 48, animated=True),
    "webp": photos.a_webp(64, 48),
    "webp with alpha": photos.a_webp(64, 48, alpha=True),
    "webp lossless": photos.a_webp(64, 48, lossless=True),
    "avif": photos.an_avif(64, 48, animated=True),
    "heic": photos.a_heic(128, 96, tile=64),
}
MAGICS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR",
    b"GIF89a",
    b"RIFF\xff\xff\x00\x00WEBPVP8X",
    b"RIFF\xff\xff\x00\x00WEBPVP8L",
    b"RIFF\xff\xff\x00\x00WEBPVP8 ",
    b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00mif1",
    b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1\x00\x00\x01\x00meta\x00\x00\x00\x00",
]


class CountingFile(io.BytesIO):
    """A file that counts the reads and their bytes."""

    reads = 0
    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads += 1
        self.bytes_read += len(data)
        return data


def probe_or_none(file: bytes) -> ProbeResult | None:
    """The probe's result or its refusal; any other error fails the test."""
    try:
        facts = probe(io.BytesIO(file), Limits())
    except REFUSALS:
        return None
    assert 0 < facts.width <= 65_535
    assert 0 < facts.height <= 65_535
    return facts


@FUZZ_SETTINGS
@given(magic=st.sampled_from([b"", *MAGICS]), rest=st.binary(max_size=2_000))
def test_noise_is_refused(magic, rest):
    probe_or_none(magic + rest)


@FUZZ_SETTINGS
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, HEADER_BYTES), st.integers(0, 255)), max_size=12),
    cut=st.none() | st.integers(0, HEADER_BYTES),
)
def test_a_picture_with_a_damaged_header_is_accepted_or_refused(kind, changes, cut):
    file = bytearray(FILES[kind])
    for at, value in changes:
        file[min(at, len(file) - 1)] = value
    probe_or_none(bytes(file[:cut]))


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_header_is_accepted_or_refused(kind):
    file = FILES[kind]
    answers = [probe_or_none(file[:length]) for length in range(min(len(file), HEADER_BYTES))]
    assert answers[0] is None
    assert probe_or_none(file) is not None


def sub_blocks(count: int) -> bytes:
    return b"\x01x" * count


ABUSIVE_FILES = {
    "a jpeg of empty segments": b"\xff\xd8\xff" + b"\xe1\x00\x02\xff" * 2_000_000,
    "a jpeg of standalone markers": b"\xff\xd8" + b"\xff\x01" * 4_000_000,
    "a jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 8_000_000,
    "a jpeg of segments without length": b"\xff\xd8\xff\xe1\x00\x00" * 1_000_000,
    "a png of empty chunks": photos.a_png_bomb(9, 9)[:33] + b"\0\0\0\0junk\0\0\0\0" * 700_000,
    "a gif of tiny blocks": b"GIF89a\x09\0\x09\0\0\0\0\x21\xfe" + sub_blocks(4_000_000),
    "a gif of empty extensions": b"GIF89a\x09\0\x09\0\0\0\0" + b"\x21\xfe\0" * 2_500_000,
    "an avif whose first box is shorter than its head": b"\0\0\0\x07ftypavif\0\0\0\0mif1",
    "an avif of empty boxes": b"\0\0\0\x14ftypavif\0\0\0\0mif1" + b"\0\0\0\x08free" * 1_000_000,
    "an avif of empty items": b"\0\0\0\x14ftypavif\0\0\0\0mif1\0\x0f\0\0meta\0\0\0\0" + b"\0\0\0\x08iprp" * 125_000,
    "an avif with an enormous meta": b"\0\0\0\x14ftypavif\0\0\0\0mif1\x7f\0\0\0meta" + bytes(8_000_000),
    "an avif with a box of 2**63 bytes": b"\0\0\0\x14ftypavif\0\0\0\0mif1\0\0\0\x01free\x7f" + b"\xff" * 7,
}


@pytest.mark.parametrize("trick", ABUSIVE_FILES)
def test_endless_structures_are_not_walked(trick):
    watched = CountingFile(ABUSIVE_FILES[trick])
    begin = time.process_time()
    with contextlib.suppress(*REFUSALS):
        probe(watched, Limits())
    assert time.process_time() - begin < 0.5
    assert watched.reads <= 2_010
    assert watched.bytes_read <= 1_100_000


def test_a_large_animated_gif_is_detected_in_few_reads():
    watched = CountingFile(photos.a_gif(1600, 1200, animated=True, frames=2))
    assert len(watched.getvalue()) > 2_000_000
    assert probe(watched, Limits()).animated
    assert watched.reads <= 4
    assert watched.bytes_read < 1_100_000


def test_a_large_still_gif_is_not_animated():
    file = photos.a_gif(1600, 1200)
    assert len(file) > 1_100_000
    assert not probe(io.BytesIO(file), Limits()).animated


@pytest.mark.parametrize("kind", FILES)
def test_an_ordinary_file_takes_no_time(kind):
    file = io.BytesIO(FILES[kind])
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        probe(file, Limits())
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.001
