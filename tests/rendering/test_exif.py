"""The EXIF fields that are read, and those that are not."""

import struct
import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags

import photos
from gallery.rendering import exif


def read(**tags):
    return exif.read(photos.an_exif(tags))


def by_hand(tag: int, kind: int, count: int, value: bytes, *, order: str = "<") -> bytes:
    """An EXIF directory of one entry, as no library would write it."""
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", 26)
    entry = struct.pack(f"{order}HHI", tag, kind, count) + inline
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    return head + entry + bytes(4) + value


def test_the_fields_of_a_photo():
    assert read(**photos.CAMERA) == {
        "camera": "Canon EOS R6",
        "lens": "RF24-105mm F4 L IS USM",
        "exposureTime": "1/250",
        "fNumber": 5.6,
        "iso": 400,
        "focalLength": 70.0,
        "takenAt": "2024-07-14T18:30:05+02:00",
    }


def test_location_owner_and_serial_number_are_not_read():
    assert exif.read(photos.an_exif(photos.CAMERA, gps=True)) == read(**photos.CAMERA)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R6", "Canon EOS R6"),
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"),
        ("", "Pixel 8", "Pixel 8"),
        ("Leica", "", "Leica"),
    ],
)
def test_a_camera_is_named_once(make, model, camera):
    assert read(Make=make, Model=model) == {"camera": camera}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.004, "1/250"),
        (1 / 3200, "1/3200"),
        (0.25, "1/4"),
        (0.5, "0.5"),
        (2.0, "2"),
        (9.4, "9.4"),
        (9.96, "10"),
        (30.0, "30"),
        (99.6, "100"),
        (120.0, "120"),
        (241.0, "241"),
        (3600.0, "3600"),
    ],
)
def test_exposure_reads_as_on_a_camera(seconds, shown):
    assert read(ExposureTime=seconds) == {"exposureTime": shown}


LOCAL = "2024-07-14T18:30:05"


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2024:07:14 18:30:05", LOCAL),
        ("2024-07-14 18:30:05", LOCAL),
        ("2024/07/14 18:30:05", LOCAL),
        ("2024:07:14T18:30:05", LOCAL),
        ("2024-07-14T18:30:05", LOCAL),
        ("2024:7:14  18:30:05 ", LOCAL),
        ("2024:07:14 18:30", "2024-07-14T18:30:00"),
        ("2024:07:14 18:30:05Z", f"{LOCAL}+00:00"),
        ("2024:07:14 18:30:05+0000", f"{LOCAL}+00:00"),
        ("2024:07:14 18:30:05.27-05:30", f"{LOCAL}.27-05:30"),
        ("2024:07:14 18:30:05,500 +02:00", f"{LOCAL}.5+02:00"),
        ("1839:08:19 12:00:00", "1839-08-19T12:00:00"),
    ],
)
def test_a_timestamp_is_read_in_every_notation(moment, shown):
    assert read(DateTimeOriginal=moment) == {"takenAt": shown}


@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        ("+02:00", "+02:00"),
        ("-03:30", "-03:30"),
        ("+0200", "+02:00"),
        ("+2:00", "+02:00"),
        ("+14:00", "+14:00"),
        ("Z", "+00:00"),
        ("+14:01", ""),
        ("+25:00", ""),
        ("+02:60", ""),
        ("02:00", ""),
        ("here", ""),
        ("", ""),
    ],
)
def test_a_timestamp_has_an_offset_only_if_the_camera_wrote_it(offset, shown):
    assert read(DateTimeOriginal="2024:07:14 18:30:05", OffsetTimeOriginal=offset) == {"takenAt": LOCAL + shown}


@pytest.mark.parametrize(
    ("written", "shown"),
    [("27", ".27"), ("5", ".5"), ("123456", ".123"), ("000", ""), ("  ", ""), ("4 ", ".4"), ("x", "")],
)
def test_a_fraction_has_its_own_tag(written, shown):
    tags = {"DateTimeOriginal": "2024:07:14 18:30:05", "SubsecTimeOriginal": written, "OffsetTimeOriginal": "+01:00"}
    assert read(**tags) == {"takenAt": f"{LOCAL}{shown}+01:00"}


def test_without_a_timestamp_the_next_best_counts_with_its_own_zone():
    digitized = {
        "DateTimeDigitized": "2024:07:14 18:30:05",
        "OffsetTimeDigitized": "+09:00",
        "SubsecTimeDigitized": "1",
    }
    changed = {"DateTime": "2025:01:01 00:00:00", "OffsetTime": "-05:00", "SubsecTime": "2"}
    assert read(**digitized, **changed) == {"takenAt": f"{LOCAL}.1+09:00"}
    assert read(**changed) == {"takenAt": "2025-01-01T00:00:00.2-05:00"}
    assert read(DateTimeOriginal="    :  :     :  :  ", **digitized, **changed) == {"takenAt": f"{LOCAL}.1+09:00"}


@pytest.mark.parametrize(
    "moment",
    [
        "0000:00:00 00:00:00",
        "2024:13:01 00:00:00",
        "yesterday",
        "0001:01:01 00:00:00",
        "9999:12:31 23:59:59",
        "2024:07:14",
        "2024:07:14 24:30:05",
    ],
)
def test_an_impossible_timestamp_is_left_out(moment):
    assert read(DateTimeOriginal=moment) == {}


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"Canon\0secret", "Canon"),
        (b"Ca\x1b[31mnon\x07\n", "Ca[31mnon"),
        (b"Caf\xe9 Camera", "Caf Camera"),
        ("Kamera Größe".encode(), "Kamera Größe"),
        ("\u202egnp.exe".encode(), "gnp.exe"),
        (b"x" * 5_000, "x" * 200),
    ],
)
def test_text_is_clean_and_short(raw, clean):
    assert exif.read(by_hand(0x010F, 2, len(raw), raw)) == {"camera": clean}


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order):
    assert exif.read(by_hand(0x8827, 3, 1, struct.pack(f"{order}H", 800), order=order)) == {"iso": 800}
    ratio = struct.pack(f"{order}II", 28, 10)
    assert exif.read(b"Exif\0\0" + by_hand(0x829D, 5, 1, ratio, order=order)) == {"fNumber": 2.8}


@pytest.mark.parametrize(
    "blob",
    [
        by_hand(0x829D, 5, 1, struct.pack("<II", 28, 0)),
        by_hand(0x829D, 12, 1, struct.pack("<d", float("nan"))),
        by_hand(0x829A, 12, 1, struct.pack("<d", 1e-300)),
        by_hand(0x8827, 12, 1, struct.pack("<d", float("inf"))),
        by_hand(0x8827, 12, 1, struct.pack("<d", -100.0)),
        by_hand(0x010F, 5, 1, struct.pack("<II", 28, 10)),
        by_hand(0x829D, 2, 4, b"2.8\0"),
        by_hand(0x010F, 99, 2**32 - 1, b"what?"),
    ],
)
def test_values_that_no_camera_writes_are_left_out(blob):
    assert exif.read(blob) == {}


def test_a_directory_that_points_to_itself_is_read_once():
    assert exif.read(by_hand(ExifTags.IFD.Exif, 4, 1, struct.pack("<I", 8))) == {}


def test_many_entries_that_claim_the_same_megabyte_take_no_memory():
    entry = struct.pack("<HHII", 0x010F, 2, 1_000_000, 8)
    entries = b"".join(struct.pack("<H", tag) + entry[2:] for tag in range(500))
    blob = b"II*\0" + struct.pack("<IH", 8, 500) + entries + b"x" * 1_000_000
    tracemalloc.start()
    exif.read(blob)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


@settings(deadline=timedelta(seconds=1), max_examples=300)
@given(
    blob=st.binary(max_size=400)
    | st.builds(bytes.__add__, st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]), st.binary(max_size=400)),
)
def test_noise_is_not_exif(blob):
    facts = exif.read(blob)
    assert all(isinstance(fact, str | int | float) and fact for fact in facts.values())


@settings(deadline=timedelta(seconds=1), max_examples=300)
@given(changes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=20))
def test_damaged_exif_never_raises(changes):
    blob = bytearray(photos.an_exif(photos.CAMERA, gps=True))
    for at, value in changes:
        blob[at % len(blob)] = value
    assert set(exif.read(bytes(blob))) <= set(read(**photos.CAMERA))
