"""Hostile AVIFs and HEICs, and unusual ones that are valid."""

import struct
from functools import reduce

import photos
from hostile.builders import MARKER, box, cuts, flips, ftyp, noise

SIDES = (96, 64)
BOXES = (b"meta", b"iprp", b"ipco", b"ispe", b"iloc", b"iinf", b"infe", b"pitm", b"ipma", b"mdat", b"hdlr", b"ftyp")
CODECS = {"avif": (b"av01", b"av1C"), "heic": (b"hvc1", b"hvcC")}


def pictures() -> dict[str, bytes]:
    avif, heic, tiled = photos.an_avif(*SIDES), photos.a_heic(*SIDES), photos.a_heic(160, 128, tile=64)
    files = hostile("avif", avif, seed=6) | hostile("heic", heic, seed=7) | without_picture() | valid(avif, heic, tiled)
    files |= {f"any/tiled heic flipped {number}": file for number, file in enumerate(flips(tiled, 6, seed=8))}
    at = tiled.index(b"grid") if b"grid" in tiled else 0
    return files | {
        "any/tiled heic of 65536 tiles": _with_grid(tiled, bytes([255, 255])),
        "any/tiled heic of one tile": _with_grid(tiled, bytes([0, 0])),
        "any/tiled heic whose tiles are itself": tiled.replace(b"\0\x06\0\x02\0\x03", b"\0\x06\0\x01\0\x01"),
        "any/tiled heic that refers to a thumbnail": tiled.replace(b"dimg", b"thmb"),
        "any/tiled heic without its grid": tiled[:at] + b"junk" + tiled[at + 4 :],
    }


def hostile(name: str, file: bytes, seed: int) -> dict[str, bytes]:
    item, config = CODECS[name]
    files = {f"bad/{name} cut at {length}": cut for length, cut in cuts(file, 9)}
    files |= {f"any/{name} flipped {number}": flipped for number, flipped in enumerate(flips(file, 10, seed))}
    claims = [(0, 64), (96, 0), (65535, 65535), (1, 1 << 31), (0xFFFFFFFF, 0xFFFFFFFF), (65_536, 9)]
    files |= {f"refused/{name} claims {w}x{h}": _claiming(file, w, h) for w, h in claims}
    files |= {f"any/{name} claims {w}x{h}": _claiming(file, w, h) for w, h in [(7000, 7000), (2, 2), (16383, 3000)]}
    for kind in BOXES:
        files |= {f"any/{name} whose {kind.decode()} is {size:#x}": _sized(file, kind, size) for size in (7, 1 << 31)}
    return files | {
        f"any/{name} whose {kind.decode()} is another": file.replace(kind, b"junk") for kind in (item, config, b"iloc")
    } | {
        f"any/{name} without picture": file[: file.index(b"mdat") + 4] + bytes(len(file) - file.index(b"mdat") - 4),
        f"any/{name} that lies far away": _far(file),
        f"any/{name} of another codec": file.replace(item, {b"av01": b"hvc1", b"hvc1": b"av01"}[item]),
        f"refused/{name} without meta": ftyp(name.encode(), b"mif1") + box(b"mdat", noise(900)),
        f"refused/{name} of ftyp alone": ftyp(name.encode(), b"mif1"),
    }  # fmt: skip


def _claiming(file: bytes, width: int, height: int) -> bytes:
    at = file.index(b"ispe") + 8
    return file[:at] + struct.pack(">II", width, height) + file[at + 8 :]


def _sized(file: bytes, kind: bytes, size: int) -> bytes:
    at = file.find(kind)
    return file[: at - 4] + struct.pack(">I", size) + file[at:] if at >= 4 else file


def _far(file: bytes) -> bytes:
    at = file.index(b"iloc")
    end = at - 4 + int.from_bytes(file[at - 4 : at])
    return file[: end - 8] + b"\x7f\xff\xff\xf0\x7f\xff\xff\xf0" + file[end:]


def _with_grid(file: bytes, rows_and_columns: bytes) -> bytes:
    """A grid is `version flags rows-1 columns-1 width height`, here of 160 x 128."""
    sides = struct.pack(">HH", 160, 128)
    at = file.find(sides)
    return file[: at - 2] + rows_and_columns + file[at:] if at > 0 else file


def _without_times(file: bytes) -> bytes:
    """Removes the times of an animation, so that the file is the same in every run."""
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        at = file.index(kind) + 8
        length = 16 if file[at - 4] else 8  # by the box's version
        file = file[:at] + bytes(length) + file[at + length :]
    return file


def without_picture() -> dict[str, bytes]:
    """Structures without a picture in them."""
    meta = b"\0\0\0\0"
    nest = reduce(lambda inner, _: box(b"meta", meta + inner), range(5_000), b"")
    ispe = box(b"ispe", meta + struct.pack(">II", 64, 64))
    item = box(b"infe", b"\x02\0\0\0\0\x01\0\0hvc1\0")
    described = box(b"iinf", meta + b"\0\x01" + item) + box(b"iprp", box(b"ipco", ispe))
    tiles = box(b"iref", meta + box(b"dimg", b"\0\x01\xff\xff" + b"\0\x01" * 65_535))
    heic = ftyp(b"heic", b"mif1")
    return {
        "refused/heic of boxes in boxes": heic + nest,
        "refused/heic of 100000 boxes": heic + box(b"free") * 100_000,
        "refused/heic with a box of -1 bytes": heic + box(b"meta", meta, size=0xFFFFFFFF),
        "refused/heic with a box of 2**63 bytes": heic + struct.pack(">I4sQ", 1, b"meta", (1 << 63) - 1) + noise(99),
        "refused/heic with a box of 1 byte": heic + struct.pack(">I4sQ", 1, b"meta", 1) + noise(99),
        "refused/heic with an empty meta": heic + box(b"meta"),
        "refused/heic with 100 brands too many": box(b"ftyp", b"heic" + bytes(4) + b"mif1" * 400),
        "bad/heic of text about a picture": heic + box(b"meta", meta + described),
        "bad/heic of 65535 tiles that are itself": heic + box(b"meta", meta + described + tiles),
        "bad/heic of 30000 items": heic
        + box(b"meta", meta + box(b"iinf", meta + b"\x75\x30" + item * 30_000) + box(b"iprp", box(b"ipco", ispe))),
        "refused/mp4 with the brand of a heic": heic
        + box(b"moov", box(b"mvhd", bytes(100)))
        + box(b"mdat", noise(900)),
    }


def valid(avif: bytes, heic: bytes, tiled: bytes) -> dict[str, bytes]:
    texts = {"Artist": MARKER.decode(), "UserComment": MARKER.decode()}
    return {
        "ready/avif": avif,
        "ready/heic": heic,
        "ready/heic of tiles": tiled,
        "ready/avif that moves": _without_times(photos.an_avif(*SIDES, animated=True)),
        "ready/avif, rotated": photos.an_avif(*SIDES, orientation=6),
        "ready/heic, rotated": photos.a_heic(*SIDES, orientation=8),
        "ready/heic in another colour space": photos.a_heic(*SIDES, display_p3=True),
        "ready/heic with text everywhere": photos.a_heic(400, 300, exif={**photos.CAMERA, **texts}, gps=True)
        + box(b"uuid", MARKER * 3),
        "ready/avif with text after its end": avif + box(b"free", MARKER * 3),
        "ready/avif of one pixel": photos.an_avif(1, 1),
        "any/heic of one pixel": photos.a_heic(1, 1),
    }
