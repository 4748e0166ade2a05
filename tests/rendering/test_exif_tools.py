"""EXIF as cameras and programs write it, compared with Pillow's and ExifRead's results for the same files."""

import io
import logging
import struct
import warnings
from datetime import datetime, timedelta
from typing import Any

import exifread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import photos
from exif_writer import (
    ASCII,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    SLONG,
    SRATIONAL,
    UTF8,
    directory,
    in_jpeg,
    make_exif,
    number,
    text,
)
from gallery.rendering import exif, exif_tags

JPEG = photos.a_jpeg(16, 12)
FUZZ_SETTINGS = settings(deadline=timedelta(seconds=5))
ORDERS = st.sampled_from("<>")
WORDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-", min_size=3, max_size=40)
MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2099, 12, 31))
MAKE, MODEL, EXPOSURE, F_NUMBER, ISO, FOCAL, LENS = 0x010F, 0x0110, 0x829A, 0x829D, 0x8827, 0x920A, 0xA434
TAKEN, FRACTION, OFFSET = 0x9003, 0x9291, 0x9011


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [(SHORT, 8), (LONG, 8), (SLONG, 8), (RATIONAL, (16, 2)), (SRATIONAL, (-16, -2)), (FLOAT, 8.0), (DOUBLE, 8.0)],
)
def test_a_number_is_read_from_any_type(order, kind, value):
    details = [number(tag, kind, value, order=order) for tag in (F_NUMBER, ISO, FOCAL, EXPOSURE)]
    read = exif.read(make_exif([], details, order))
    assert read == {"fNumber": 8.0, "iso": 8, "focalLength": 8.0, "exposureTime": "8"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [ASCII, UTF8])
def test_text_is_read_as_utf8(order, kind):
    main = [text(MAKE, "株式会社", kind), text(MODEL, "Größe 1", kind)]
    details = [text(LENS, "Objektiv für Ærø", kind), text(TAKEN, "2024:07:14 18:30:05", kind), text(OFFSET, "Z", kind)]
    assert exif.read(make_exif(main, details, order)) == {
        "camera": "株式会社 Größe 1",
        "lens": "Objektiv für Ærø",
        "takenAt": "2024-07-14T18:30:05+00:00",
    }


def test_of_several_numbers_the_first_counts():
    assert exif.read(make_exif([], [number(ISO, SHORT, 400, 800)])) == {"iso": 400}


@pytest.mark.parametrize("kind", [SLONG, SRATIONAL, DOUBLE, FLOAT])
def test_an_invalid_pointer_is_not_followed(kind):
    value = (-8, 1) if kind == SRATIONAL else -8
    blob = b"II*\0\x08\0\0\0" + directory([text(MAKE, "Leica"), number(0x8769, kind, value)], 8, "<")
    assert exif.read(blob) == {"camera": "Leica"}


def test_a_value_behind_the_end_does_not_hide_others():
    """Pillow alone ends the directory there."""
    blob = bytearray(make_exif([text(MAKE, "Leica Camera"), text(MODEL, "Q3")], [number(ISO, SHORT, 400)]))
    blob[18:22] = struct.pack("<I", 60_000)
    assert exif.read(bytes(blob)) == {"camera": "Q3", "iso": 400}


def test_a_value_that_claims_too_much_does_not_hide_others():
    """Pillow alone takes no value behind it that stands outside of its entry."""
    details = [number(EXPOSURE, RATIONAL, (1, 250)), (0x927C, 7, 1 << 30, bytes(8)), text(LENS, "50 mm")]
    exposed = bytearray(make_exif([], details))
    assert exif.read(bytes(exposed)) == {"exposureTime": "1/250", "lens": "50 mm"}
    at = exposed.index(struct.pack("<HHI", EXPOSURE, RATIONAL, 1)) + 4
    exposed[at : at + 4] = struct.pack("<I", 1 << 30)
    assert exif.read(bytes(exposed)) == {"exposureTime": "1/250", "lens": "50 mm"}


def test_unwanted_tags_do_not_hide_wanted_ones():
    others = [(0x9400 + number, 7, 1 << 20, bytes(8)) for number in range(400)]
    assert exif.read(make_exif([], [*others, text(LENS, "50 mm")])) == {"lens": "50 mm"}


def test_a_directory_that_claims_to_be_endless_is_read_up_to_a_bound(monkeypatch):
    read: list[int] = []
    real = exif_tags._PaddedBytesIO.read
    monkeypatch.setattr(exif_tags._PaddedBytesIO, "read", lambda file, size: read.append(size) or real(file, size))
    assert exif.read(b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(12) * 20_000) == {}
    assert len(read) < 600


def test_a_number_is_no_text_and_a_text_no_number():
    assert exif.read(make_exif([number(MAKE, SHORT, 7)], [text(ISO, "400"), text(LENS, "50 mm")])) == {"lens": "50 mm"}


@FUZZ_SETTINGS
@given(order=ORDERS, make=WORDS, model=WORDS, lens=WORDS)
def test_texts_are_those_of_other_tools(order, make, model, lens):
    blob = make_exif([text(MAKE, make), text(MODEL, model)], [text(LENS, lens)], order)
    facts, seen, pillow = exif.read(blob), by_exifread(blob), by_pillow(blob)
    assert facts["lens"] == str(seen["EXIF LensModel"]) == pillow[LENS] == lens
    assert facts["camera"] in (model, f"{make} {model}")
    assert str(seen["Image Model"]) == pillow[MODEL] == model


@FUZZ_SETTINGS
@given(
    order=ORDERS,
    iso=st.integers(1, 65_535),
    aperture=st.tuples(st.integers(1, 10_000), st.integers(1, 1_000)),
    focal=st.tuples(st.integers(1, 100_000), st.integers(1, 1_000)),
)
def test_numbers_are_those_of_other_tools(order, iso, aperture, focal):
    details = [
        number(ISO, SHORT, iso, order=order),
        number(F_NUMBER, RATIONAL, aperture, order=order),
        number(FOCAL, SRATIONAL, focal, order=order),
    ]
    blob = make_exif([], details, order)
    facts, seen, pillow = exif.read(blob), by_exifread(blob), by_pillow(blob)
    assert facts["iso"] == seen["EXIF ISOSpeedRatings"].values[0] == pillow[ISO] == iso
    for name, tag, title in (("fNumber", F_NUMBER, "EXIF FNumber"), ("focalLength", FOCAL, "EXIF FocalLength")):
        assert facts.get(name, 0) == round(float(seen[title].values[0]), 2) == round(float(pillow[tag]), 2)


@FUZZ_SETTINGS
@given(
    order=ORDERS,
    moment=MOMENTS,
    fraction=st.integers(0, 999),
    offset=st.integers(-14 * 60, 14 * 60),
)
def test_timestamps_are_those_of_other_tools(order, moment, fraction, offset):
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    written = moment.strftime("%Y:%m:%d %H:%M:%S")
    details = [text(TAKEN, written), text(FRACTION, f"{fraction:03}"), text(OFFSET, zone)]
    blob = make_exif([], details, order)
    seen, pillow = by_exifread(blob), by_pillow(blob)
    assert str(seen["EXIF DateTimeOriginal"]) == pillow[TAKEN] == written
    taken = datetime.fromisoformat(str(exif.read(blob)["takenAt"]))
    assert taken.replace(tzinfo=None) == moment.replace(microsecond=fraction * 1_000)
    assert taken.utcoffset() == timedelta(minutes=offset)


@FUZZ_SETTINGS
@given(data=st.binary(max_size=300), order=ORDERS, at=st.integers(0, 200))
def test_no_warning_leaves_the_reader(data, order, at):
    blob = make_exif([text(MAKE, "Leica")], [number(ISO, SHORT, 400, order=order), text(LENS, "x" * 60)], order)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exif.read(blob[:at] + data + blob[at + len(data) :])
        exif.read(blob[:at])


def by_exifread(blob: bytes) -> dict[str, Any]:
    logging.getLogger("exifread").setLevel(logging.ERROR)
    return exifread.process_file(io.BytesIO(in_jpeg(blob, JPEG)), details=False)


def by_pillow(blob: bytes) -> dict[int, object]:
    """Pillow's own result for a JPEG."""
    found = Image.open(io.BytesIO(in_jpeg(blob, JPEG))).getexif()
    return dict(found) | found.get_ifd(0x8769)
