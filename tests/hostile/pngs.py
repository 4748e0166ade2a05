"""Hostile PNGs, and unusual ones that are valid."""

import struct
import zlib

import photos
from hostile.builders import MARKER, MIB, PNG, chunk, cuts, flat_png, flips, header, into_png, noise, zeros

SIDES = (96, 64)
HUGE = 0xFFFFFFFF


def pictures() -> dict[str, bytes]:
    plain = photos.a_png(*SIDES)
    files = {f"bad/png cut at {length}": file for length, file in list(cuts(plain, 9))[:-1]}
    files |= {f"any/png flipped {number}": file for number, file in enumerate(flips(plain, 10, seed=2))}
    return files | false_claims(plain) | expensive(plain) | metadata(plain) | valid()


def false_claims(plain: bytes) -> dict[str, bytes]:
    claims = [(0, 64), (96, 0), (1, 1 << 31), (1 << 31, 1), (65535, 65535), (HUGE, HUGE), (65_536, 9), (14_143, 14_143)]
    files = {f"refused/png claims {w}x{h}": PNG + header(w, h) + plain[33:] for w, h in claims}
    return files | {
        "bad/png claims 7000x7000": PNG + header(7000, 7000) + plain[33:],
        "bad/png claims one row more": PNG + header(96, 65) + plain[33:],
        "any/png claims one row less": PNG + header(96, 63) + plain[33:],
        "bad/png of 3 bits": PNG + header(*SIDES, 3) + plain[33:],
        "bad/png of colour type 5": PNG + header(*SIDES, 8, 2).replace(b"\x08\x02\0", b"\x08\x05\0") + plain[33:],
        "bad/png of interlace 9": PNG + header(*SIDES, 8, 2, 9) + plain[33:],
        "any/png whose header's checksum is wrong": plain[:29] + b"\0\0\0\0" + plain[33:],
        "any/png whose data's checksum is wrong": PNG
        + header(*SIDES)
        + chunk(b"IDAT", zeros(18_496), crc=1)
        + plain[-12:],
        "refused/png whose header is 0 bytes": PNG + chunk(b"IHDR") + plain[33:],
        "refused/png whose header is 4 GB": PNG + chunk(b"IHDR", plain[16:29], length=HUGE) + plain[33:],
        "refused/png without a header": PNG + plain[33:],
        "any/png of two headers": into_png(plain, header(4, 4)),
        "bad/png with a chunk of 4 GB": into_png(plain, chunk(b"junk", length=HUGE)),
        "bad/png with a chunk of 2 GB": into_png(plain, chunk(b"tEXt", b"a\0b", length=(1 << 31) - 1)),
        "bad/png without data": PNG + header(*SIDES) + chunk(b"IEND"),
        "bad/png with data of 0 bytes": PNG + header(*SIDES) + chunk(b"IDAT") * 50 + chunk(b"IEND"),
        "bad/png whose data is noise": PNG + header(*SIDES) + chunk(b"IDAT", noise(9000)) + chunk(b"IEND"),
        "bad/png with an unknown critical chunk": into_png(plain, chunk(b"HACK", b"x")),
        "bad/png of a palette without one": flat_png(64, 64, 8, 3),
        "any/png of a palette of 300": flat_png(64, 64, 8, 3, more=chunk(b"PLTE", bytes(900))),
        "any/png of a palette too small": flat_png(64, 64, 8, 3, more=chunk(b"PLTE")),
        "refused/jng": b"\x8bJNG\r\n\x1a\n" + plain[8:],
        "refused/mng": b"\x8aMNG\r\n\x1a\n" + plain[8:],
    }


def expensive(plain: bytes) -> dict[str, bytes]:
    bomb = zeros(200 * MIB)
    return {
        "ready/png of 49 megapixels": flat_png(7000, 7000),
        "any/png of 49 megapixels, 16 bits, interlaced": flat_png(7000, 7000, 16, 6, 1),
        "ready/png of 49 megapixels, 1 bit": flat_png(7000, 7000, 1, 0),
        "refused/png of 1 gigapixel": flat_png(16383, 16383, 1, 0),
        "refused/png of 2500 megapixels": photos.a_png_bomb(),
        "any/png with 200 MB of data too many": PNG + header(9, 9) + chunk(b"IDAT", bomb) + chunk(b"IEND"),
        "any/png with a text bomb": into_png(plain, chunk(b"zTXt", b"Comment\0\0" + bomb)),
        "any/png with an international text bomb": into_png(plain, chunk(b"iTXt", b"x\0\x01\0\0\0" + bomb)),
        "any/png with a profile bomb": into_png(plain, chunk(b"iCCP", b"x\0\0" + bomb)),
        "any/png with 10000 texts": into_png(plain, chunk(b"tEXt", b"Comment\0" + MARKER) * 10_000),
        "any/png with 200000 chunks": into_png(plain, chunk(b"junk") * 200_000),
        "any/png in 100000 pieces of data": _in_pieces(100_000),
        "ready/png of 2 billion frames": into_png(plain, chunk(b"acTL", struct.pack(">II", (1 << 31) - 1, 0))),
        "ready/png of 20000 frames": plain[:-12] + chunk(b"fcTL", bytes(26)) * 20_000 + plain[-12:],
    }


def _in_pieces(pieces: int) -> bytes:
    data = zlib.compress(noise(64 * (1 + 96 * 3)), 0)
    parts = b"".join(chunk(b"IDAT", data[at : at + 1]) for at in range(len(data)))
    return PNG + header(*SIDES) + chunk(b"IDAT") * (pieces - len(data)) + parts + chunk(b"IEND")


def metadata(plain: bytes) -> dict[str, bytes]:
    exif = photos.an_exif({"Artist": MARKER.decode()}, gps=True).removeprefix(b"Exif\0\0")
    texts = [
        chunk(b"tEXt", b"Author\0" + MARKER),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MARKER * 20)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x>" + MARKER + b"</x>"),
        chunk(b"iTXt", b"Raw profile type exif\0\0\0\0\0" + MARKER),
        chunk(b"eXIf", exif),
        chunk(b"maRk", MARKER),
    ]
    return {
        "ready/png with text everywhere": into_png(photos.a_png(400, 300), *texts) + MARKER,
        "ready/png with text and no colour": into_png(photos.a_png(400, 300, palette=True), *texts[:4]),
        "any/png with a garbage profile": into_png(plain, chunk(b"iCCP", b"x\0\0" + zlib.compress(noise(3000)))),
        "any/png with a profile that does not unpack": into_png(plain, chunk(b"iCCP", b"x\0\0" + noise(300))),
        "any/png with garbage exif": into_png(plain, chunk(b"eXIf", noise(3000))),
        "any/png with a gamma of 0": into_png(plain, chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))),
        "any/png of 0 pixels an inch": into_png(plain, chunk(b"pHYs", bytes(9))),
        "any/png with a transparency of nothing": into_png(plain, chunk(b"tRNS"), chunk(b"bKGD")),
    }


def valid() -> dict[str, bytes]:
    palette = chunk(b"PLTE", bytes(range(48)))
    files = {
        "ready/png": photos.a_png(*SIDES),
        "ready/png with alpha": photos.a_png(*SIDES, alpha=True),
        "ready/png of 16 bits": photos.a_png16(*SIDES),
        "ready/png of a palette": photos.a_png(*SIDES, palette=True),
        "ready/png of a palette with holes": flat_png(*SIDES, 4, 3, more=palette + chunk(b"tRNS", b"\0\x7f")),
        "ready/png of one transparent colour": flat_png(*SIDES, 8, 2, more=chunk(b"tRNS", bytes(6))),
        "ready/png of one transparent gray": flat_png(*SIDES, 16, 0, more=chunk(b"tRNS", bytes(2))),
        "ready/png with bytes after its end": photos.a_png(*SIDES) + noise(5000),
        "ready/png 16383x1": flat_png(16383, 1),
        "ready/png 1x16383": flat_png(1, 16383),
        "ready/png of one pixel": flat_png(1, 1, 1, 0),
    }
    kinds = [(1, 0), (2, 0), (4, 0), (16, 0), (8, 4), (16, 4), (16, 6)]
    return files | {
        f"ready/png of {depth} bits, colour type {colour}{', interlaced' * interlace}": flat_png(
            61, 43, depth, colour, interlace
        )
        for depth, colour in kinds
        for interlace in (0, 1)
    }
