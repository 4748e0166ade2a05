"""Hostile JPEGs, and unusual ones that are valid."""

import struct

import photos
from hostile.builders import (
    DQT,
    MARKER,
    cuts,
    flat_jpeg,
    flips,
    frame,
    huffman,
    into_jpeg,
    many_scans,
    noise,
    scan,
    segment,
)

SIDES = (96, 64)
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
METADATA = dict.fromkeys(
    ("Artist", "Copyright", "ImageDescription", "BodySerialNumber", "UserComment"), MARKER.decode()
)


def pictures() -> dict[str, bytes]:
    plain = photos.a_jpeg(*SIDES)
    files = {f"bad/jpeg cut at {length}": file for length, file in list(cuts(plain, 9))[:-1]}
    files["ready/jpeg without its last two bytes"] = plain[:-2]
    files |= {f"any/jpeg flipped {number}": file for number, file in enumerate(flips(plain, 10, seed=1))}
    return files | false_claims(plain) | expensive(plain) | metadata(plain) | valid(plain)


def false_claims(plain: bytes) -> dict[str, bytes]:
    at = plain.index(b"\xff\xc0") + 5  # height, width
    claims = {"0x64": (0, 64), "96x0": (96, 0), "65535x65535": (65535, 65535)}
    files = {f"refused/jpeg claims {name}": _claiming(plain, at, sides) for name, sides in claims.items()}
    return files | {
        "any/jpeg claims 7000x7000": _claiming(plain, at, (7000, 7000)),
        "any/jpeg claims 16383x3": _claiming(plain, at, (16383, 3)),
        "any/jpeg of two frames": plain[: at - 5] + frame(9, 9) + plain[at - 5 :],
        "any/jpeg of 255 components": b"\xff\xd8" + DQT + frame(64, 64, components=255) + plain[at:],
        "any/jpeg of no components": b"\xff\xd8" + DQT + frame(64, 64, components=0) + plain[at:],
        "any/jpeg with sampling 15x15": plain[: at + 5] + b"\x01\xff" + plain[at + 7 :],
        "any/jpeg with sampling 0x0": plain[: at + 5] + b"\x01\x00" + plain[at + 7 :],
        "bad/jpeg with a frame of 2 bytes": b"\xff\xd8\xff\xc0\x00\x02" + plain[at:],
        "bad/jpeg without tables": b"\xff\xd8" + frame(64, 64) + scan(0, 63, 128) + b"\xff\xd9",
        "any/jpeg with an impossible huffman table": flat_jpeg(64, 64, more=segment(0xC4, b"\0" + b"\xff" * 64)),
        "bad/jpeg of segments without length": b"\xff\xd8" + b"\xff\xe1\x00\x00" * 3000,
        "any/jpeg with a segment of 0 bytes": into_jpeg(plain, b"\xff\xe1\x00\x00"),
        "any/jpeg with a segment longer than it": into_jpeg(plain, b"\xff\xe1\xff\xff"),
        "refused/jpeg without a frame": b"\xff\xd8" + DQT * 20 + b"\xff\xd9",
        "refused/jpeg of nothing but its end": b"\xff\xd8\xff\xd9",
    }


def _claiming(plain: bytes, at: int, sides: tuple[int, int]) -> bytes:
    return plain[:at] + struct.pack(">HH", sides[1], sides[0]) + plain[at + 4 :]


def expensive(plain: bytes) -> dict[str, bytes]:
    return {
        "ready/jpeg of 49 megapixels": flat_jpeg(7000, 7000),
        "any/jpeg of 49 megapixels and 4 inks": flat_jpeg(7000, 7000, components=4),
        "refused/jpeg of 202 megapixels": flat_jpeg(14_200, 14_200),
        "ready/jpeg of 90 scans": many_scans(640, 480, 90),
        "any/jpeg of 49 megapixels and 90 scans": many_scans(7000, 7000, 90),
        "bad/jpeg of 49 megapixels and 500 scans": many_scans(7000, 7000, 500),
        "bad/jpeg of 100000 scans": many_scans(64, 64, 100_000),
        "any/jpeg in arithmetic coding": flat_jpeg(640, 480, sof=0xC9),
        "any/jpeg in arithmetic coding, progressive": flat_jpeg(640, 480, sof=0xCA),
        "any/jpeg of 12 bits": flat_jpeg(640, 480, sof=0xC1, precision=12),
        "any/jpeg of 255 bits": flat_jpeg(640, 480, precision=255),
        "any/jpeg without loss": flat_jpeg(640, 480, sof=0xC3),
        "any/jpeg in hierarchies": flat_jpeg(640, 480, sof=0xC5),
        "any/jpeg of nothing but restarts": into_jpeg(
            flat_jpeg(640, 480), segment(0xDD, b"\0\x01"), b"\xff\xd0\xff\xd7" * 100
        ),
        "any/jpeg with 200000 restarts": flat_jpeg(640, 480, more=segment(0xDD, b"\0\x01"))[:-2]
        + b"\xff\xd0" * 200_000,
        "any/jpeg with 900 tables": into_jpeg(plain, *([DQT, huffman(0, 0)] * 450)),
        "any/jpeg with a table of 64 kB": into_jpeg(plain, segment(0xDB, (b"\x00" + b"\x01" * 64) * 1000)),
        "any/jpeg with 250000 comments after its frame": flat_jpeg(64, 64, more=segment(0xFE, b"") * 250_000),
        "any/jpeg with 500000 segments after its frame": _behind_its_frame(segment(0xE5, b"") * 500_000),
        "any/jpeg with a megabyte of fill bytes": _behind_its_frame(b"\xff" * 1_000_000),
        "any/jpeg of noise after its scan": plain[: plain.index(b"\xff\xda") + 12] + noise(200_000, 3),
    }


def _behind_its_frame(more: bytes) -> bytes:
    file = flat_jpeg(64, 64)
    at = file.index(b"\xff\xc4")
    return file[:at] + more + file[at:]


def metadata(plain: bytes) -> dict[str, bytes]:
    """Nothing of this is the picture's fault: it is shown, and nothing of it goes on."""
    loop = EXIF + b"II*\0\x08\0\0\0" + b"\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    wide = EXIF + b"MM\0*\0\0\0\x08" + b"\xff\xff" + noise(6000, 5)
    far = EXIF + b"II*\0\xf0\xff\xff\xff"
    strings = EXIF + b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 0x10F, 2, 1 << 31, 8, 0x110, 7, 1 << 31, 8)
    xmp = XMP + b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(
        b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    ) + b"]><x>&j;" + MARKER + b"</x>"  # fmt: skip
    everywhere = photos.a_jpeg(
        400, 300, exif={**photos.CAMERA, **METADATA}, gps=True, comment=MARKER, xmp=b"<x>" + MARKER + b"</x>"
    )
    press = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x20\x1c\x02\x78\0\x1b" + MARKER.ljust(27))
    return {
        "ready/jpeg with an exif loop": into_jpeg(plain, segment(0xE1, loop)),
        "ready/jpeg with 65535 exif tags": into_jpeg(plain, segment(0xE1, wide)),
        "ready/jpeg with exif beyond its end": into_jpeg(plain, segment(0xE1, far)),
        "ready/jpeg with exif texts of 2 GB": into_jpeg(plain, segment(0xE1, strings)),
        "ready/jpeg with two exif blocks": into_jpeg(everywhere, segment(0xE1, loop), segment(0xE1, EXIF + noise(90))),
        "ready/jpeg with 200 exif blocks": into_jpeg(plain, *[segment(0xE1, EXIF + MARKER + noise(900))] * 200),
        "ready/jpeg with an empty exif block": into_jpeg(plain, segment(0xE1, EXIF)),
        "ready/jpeg with an xmp bomb": into_jpeg(plain, segment(0xE1, xmp)),
        "ready/jpeg with 3 MB of xmp": into_jpeg(plain, *[segment(0xE1, XMP + b"<x>" * 21_000)] * 48),
        "ready/jpeg with text everywhere": into_jpeg(everywhere, press, segment(0xEB, b"JP" + MARKER)) + MARKER,
        "ready/jpeg with a garbage profile": photos.a_jpeg(*SIDES, icc_profile=noise(3000)),
        "ready/jpeg with a huge profile": photos.a_jpeg(*SIDES, icc_profile=noise(128) + b"x" * 2_000_000),
        "ready/jpeg with a profile of text": photos.a_jpeg(*SIDES, icc_profile=MARKER * 40),
        "ready/jpeg with a profile of another kind": photos.a_jpeg(*SIDES, icc_profile=_profile(b"linkCMYKLab ")),
        "ready/jpeg with a profile for inks": photos.a_jpeg(*SIDES, icc_profile=_profile(b"prtrCMYKLab ")),
        "ready/jpeg with a profile in pieces that miss": into_jpeg(
            plain, segment(0xE2, b"ICC_PROFILE\0\x01\xff" + noise(999)), segment(0xE2, b"ICC_PROFILE\0\x07\x02")
        ),
        **{f"ready/jpeg with orientation {n}": _oriented(plain, n) for n in (0, 9, 255, 65535)},
    }


def _profile(kind: bytes) -> bytes:
    head = struct.pack(">I4sI", 10_000, b"lcms", 0x04300000) + kind + bytes(12) + b"acsp"
    return head.ljust(128, b"\0") + struct.pack(">I", 1 << 30) + noise(9_868, 8)


def _oriented(plain: bytes, orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIII", 0x112, 3, 1, orientation, 0)
    return into_jpeg(plain, segment(0xE1, EXIF + tiff))


def valid(plain: bytes) -> dict[str, bytes]:
    return {
        "ready/jpeg": plain,
        "ready/jpeg of one pixel": photos.a_jpeg(1, 1),
        "ready/jpeg 16383x1": photos.a_jpeg(16383, 1),
        "ready/jpeg 1x16383": photos.a_jpeg(1, 16383),
        "ready/jpeg 16383x3000": flat_jpeg(16383, 3000),
        "ready/jpeg 3000x16383, rotated": _oriented(flat_jpeg(3000, 16383), 6),
        "ready/jpeg in inks": photos.a_cmyk_jpeg(*SIDES),
        "ready/jpeg in inks without a profile": flat_jpeg(*SIDES, components=4),
        "ready/jpeg in gray": photos.a_gray_jpeg(*SIDES),
        "ready/jpeg, progressive": photos.a_jpeg(*SIDES, progressive=True),
        "ready/jpeg without subsampling": photos.a_jpeg(97, 65, subsampling=0),
        "ready/jpeg with restarts": photos.a_jpeg(*SIDES, restart_marker_blocks=1),
        "ready/jpeg with bytes after its end": plain + noise(5000),
        "ready/jpeg with another after its end": plain + plain,
        "ready/jpeg without a head of its own": b"\xff\xd8" + plain[plain.index(b"\xff\xdb") :],
        **{f"ready/jpeg of orientation {n}": photos.a_jpeg(*SIDES, orientation=n) for n in range(2, 9)},
    }
