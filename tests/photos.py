"""Makes the pictures that the tests upload: real photographs in every format, and damaged and hostile files.

The photographs come with scikit-image: `astronaut` and `hubble_deep_field` (NASA, public domain), `coffee` (Rachel
Michetti, CC0), `chelsea` the cat (Stefan van der Walt, CC0) and `rocket` (SpaceX, public domain). They are cropped,
mirrored, tinted and grained by a seed: the same arguments give the same pixels, another seed gives another picture.

`width` and `height` are those of the upright picture; an `orientation` from 2 to 8 stores it rotated or mirrored.
"""

import io
import struct
import zlib
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pillow_heif
import pyvips
from PIL import ExifTags, Image, ImageCms, ImageOps
from skimage import data

TILE = 1200  # px; larger pictures are mosaics, so that they keep detail at every size
SOURCES = ("chelsea", "coffee", "astronaut", "rocket", "hubble_deep_field")

# typical EXIF of a camera; pass `exif=CAMERA` or a variation of it
CAMERA: dict[str, Any] = {
    "Make": "Canon",
    "Model": "Canon EOS R6",
    "LensModel": "RF24-105mm F4 L IS USM",
    "ExposureTime": 0.004,
    "FNumber": 5.6,
    "ISOSpeedRatings": 400,
    "FocalLength": 70.0,
    "DateTimeOriginal": "2024:07:14 18:30:05",
    "OffsetTimeOriginal": "+02:00",
    "Artist": "Marie Curie",
    "BodySerialNumber": "SN-0042-PRIVATE",
}
PLACE = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0), 29: "2024:07:14"}  # GPS in Berlin


# --- photographs ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def photo(width: int = 1200, height: int = 900, seed: int = 0) -> Image.Image:
    """The upright picture as RGB, the reference for renditions. Do not write into it."""
    rng = np.random.default_rng(seed)
    mosaic = Image.new("RGB", (width, height))
    corners = [(left, top) for top in range(0, height, TILE) for left in range(0, width, TILE)]
    for number, (left, top) in enumerate(corners, start=seed):
        source = _source(SOURCES[number % len(SOURCES)])
        mosaic.paste(_tile(source, min(TILE, width - left), min(TILE, height - top), rng), (left, top))
    return mosaic


def _tile(source: Image.Image, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(0.7, 1.0) * min(source.width / width, source.height / height)
    box_width, box_height = width * scale, height * scale
    left, top = rng.uniform(0, source.width - box_width), rng.uniform(0, source.height - box_height)
    crop = source.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + box_width, top + box_height))
    tint = rng.uniform(0.85, 1.1, 3)
    grain = rng.normal(0, 2, (height, width, 1))
    pixels = np.clip(np.asarray(ImageOps.mirror(crop) if rng.random() < 0.5 else crop) * tint + grain, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


@cache
def _source(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)())


def cut_out(picture: Image.Image) -> Image.Image:
    """The picture with transparency: clear on its left quarter, fading in to opaque at the middle."""
    ramp = np.clip(np.linspace(-1, 3, picture.width), 0, 1) * 255
    alpha = Image.fromarray(np.tile(ramp.astype(np.uint8), (picture.height, 1)))
    transparent = picture.copy()
    transparent.putalpha(alpha)
    return transparent


# --- as files ---------------------------------------------------------------------------------------------------


def a_jpeg(
    width: int = 1200,
    height: int = 900,
    seed: int = 0,
    *,
    orientation: int = 1,
    exif: Mapping[str, Any] | None = None,
    gps: bool = False,
    **options: Any,
) -> bytes:
    """Options go to Pillow: `quality`, `progressive`, `comment`, `xmp`, `icc_profile` …"""
    stored = _turned(photo(width, height, seed), orientation)
    return _saved(stored, "JPEG", exif=an_exif(exif or {}, orientation=orientation, gps=gps), **options)


def a_png(width: int = 600, height: int = 450, seed: int = 0, *, alpha: bool = False, palette: bool = False) -> bytes:
    picture = photo(width, height, seed)
    if palette:
        picture = picture.quantize(64)
    return _saved(cut_out(picture) if alpha else picture, "PNG", compress_level=1)


def a_png16(width: int = 600, height: int = 450, seed: int = 0) -> bytes:
    """16 bits a channel, every value a full one."""
    pixels = np.asarray(photo(width, height, seed)).astype(np.uint16) * 257
    picture = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16")
    return bytes(picture.pngsave_buffer(compression=1))


def a_gray_jpeg(width: int = 600, height: int = 450, seed: int = 0) -> bytes:
    return _saved(photo(width, height, seed).convert("L"), "JPEG")


def a_cmyk_jpeg(width: int = 600, height: int = 450, seed: int = 0) -> bytes:
    """As Photoshop writes it: inks inverted, with an Adobe marker and a press profile."""
    picture = pyvips.Image.new_from_array(np.asarray(photo(width, height, seed)))
    inks = picture.copy(interpretation="srgb").icc_transform("cmyk", input_profile="srgb")
    return bytes(inks.jpegsave_buffer(Q=92))


def a_display_p3_jpeg(width: int = 600, height: int = 450, seed: int = 0) -> bytes:
    """The photo in the colours of an iPhone's screen; shown as sRGB without conversion it looks pale."""
    p3 = pyvips.Operation.call("profile_load", "p3")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    wide = ImageCms.profileToProfile(photo(width, height, seed), srgb, io.BytesIO(p3))
    return _saved(wide, "JPEG", quality=92, icc_profile=p3)


def a_gif(width: int = 400, height: int = 300, seed: int = 0, *, animated: bool = False, frames: int = 3) -> bytes:
    return _saved(photo(width, height, seed), "GIF", **_more(width, height, seed, frames if animated else 1))


def a_webp(
    width: int = 600,
    height: int = 450,
    seed: int = 0,
    *,
    animated: bool = False,
    alpha: bool = False,
    lossless: bool = False,
    orientation: int = 1,
) -> bytes:
    picture = _turned(photo(width, height, seed), orientation)
    options = _more(width, height, seed, 3 if animated else 1)
    if orientation > 1:
        options["exif"] = an_exif({}, orientation=orientation)
    return _saved(cut_out(picture) if alpha else picture, "WEBP", lossless=lossless, method=0, **options)


def an_avif(
    width: int = 600, height: int = 450, seed: int = 0, *, animated: bool = False, orientation: int = 1
) -> bytes:
    """A rotated one has the rotation in the container (which counts) and the same in EXIF (which does not)."""
    stored = _turned(photo(width, height, seed), orientation)
    exif = an_exif({}, orientation=orientation)
    return _saved(stored, "AVIF", speed=10, exif=exif, **_more(width, height, seed, 3 if animated else 1))


def a_heic(
    width: int = 600,
    height: int = 450,
    seed: int = 0,
    *,
    orientation: int = 1,
    exif: Mapping[str, Any] | None = None,
    gps: bool = False,
    display_p3: bool = False,
    tile: int | None = None,
) -> bytes:
    """As an iPhone writes it: rotated by the container *and* by EXIF, in tiles of `tile` px if given."""
    stored = _turned(photo(width, height, seed), orientation)
    if display_p3:
        p3 = a_display_p3_jpeg(width, height, seed)
        stored = Image.open(io.BytesIO(p3))
    heif = pillow_heif.from_pillow(Image.new("RGB", (1, 1)))
    del heif[0]
    heif.add_frombytes("RGB", stored.size, stored.tobytes())
    out = io.BytesIO()
    options = {"icc_profile": stored.info["icc_profile"], "icc_profile_type": "prof"} if display_p3 else {}
    heif[0].info |= options | {"exif": an_exif(exif or {}, orientation=orientation, gps=gps)}
    heif.save(out, quality=85, enc_params={"preset": "ultrafast"}, tile_size=tile)
    return out.getvalue()


@cache
def a_forty_megapixel_photo() -> bytes:
    return a_jpeg(7700, 5200, quality=60)


@cache
def a_twelve_megapixel_photo() -> bytes:
    """A typical photo of a phone: 4032 x 3024, about 2 MB, stored rotated, with full EXIF."""
    return a_jpeg(4032, 3024, orientation=6, exif=CAMERA, gps=True, quality=88)


def distinct_photos(n: int, width: int = 480, height: int = 360) -> list[bytes]:
    """`n` different small photos, some milliseconds each."""
    return [a_jpeg(width, height, seed) for seed in range(1, n + 1)]


# --- damaged and hostile files ------------------------------------------------------------------------------------


def a_png_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of some hundred bytes that claims to be enormous."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def an_interlaced_png(width: int, height: int) -> bytes:
    """A small file; rendering needs all its 16-bit pixels at once, for any output size."""
    pixels = pyvips.Image.black(width, height, bands=4).cast("ushort").copy(interpretation="rgb16")
    return bytes(pixels.pngsave_buffer(interlace=True, compression=1))


def a_greedy_gif() -> bytes:
    """A GIF that seems to have a hundred pixels: its frame of 81 megapixels is hidden behind a comment of 1.2 MB."""
    frame = _saved(Image.new("P", (9_000, 9_000)), "GIF")
    at = frame.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 9_000, 9_000))
    comment = b"\x21\xfe" + (b"\xff" + bytes(255)) * 4_800 + b"\0"
    return frame[:6] + struct.pack("<HH", 10, 10) + frame[10:at] + comment + frame[at:]


def not_pictures() -> dict[str, bytes]:
    """Files that people upload as pictures but that Gallery does not support, by name."""
    tiff, archive = io.BytesIO(), b"PK\x03\x04\x14\x00\x00\x00\x00\x00" + bytes(200)
    photo(64, 48).save(tiff, "TIFF")
    return {
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
        "paper.pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
        "archive.zip": archive,
        "clip.mp4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"\x00\x00\x00\x08free" + bytes(200),
        "scan.tiff": tiff.getvalue(),
        "page.html": b"<!doctype html><title>Hello</title><script>alert(1)</script>",
        "empty.jpg": b"",
        "noise.jpg": np.random.default_rng(7).bytes(4096),
        "three-bytes.jpg": b"\xff\xd8\xff",
        "sound.webp": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28),
    }


# --- comparing results ------------------------------------------------------------------------------------------------


def opened(file: bytes) -> Image.Image:
    """A rendition, decoded by Pillow (not by the library that wrote it)."""
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Structural similarity of two pictures, `other` brought to the size of `one`: 1 is the same, 0.9 is alike."""
    from skimage.metrics import structural_similarity  # noqa: PLC0415 - brings all of SciPy

    same_size = other.convert("RGB").resize(one.size, Image.Resampling.LANCZOS)
    return float(structural_similarity(np.asarray(one.convert("RGB")), np.asarray(same_size), channel_axis=2))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of the two pictures' values, 0 to 255: sees a change of colour that `likeness` may not."""
    same_size = other.convert("RGB").resize(one.size, Image.Resampling.LANCZOS)
    return float(np.abs(np.asarray(one.convert("RGB"), np.int16) - np.asarray(same_size, np.int16)).mean())


# --- details ------------------------------------------------------------------------------------------------------


def an_exif(tags: Mapping[str, Any], *, orientation: int = 1, gps: bool = False) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        tag = ExifTags.Base[name]
        (exif if tag <= ExifTags.Base.Copyright else details)[tag] = value
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(PLACE)
    return exif.tobytes()


TURNS = {  # how a picture is stored so that the orientation turns it back
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _turned(upright: Image.Image, orientation: int) -> Image.Image:
    return upright.transpose(TURNS[orientation]) if orientation in TURNS else upright


def _more(width: int, height: int, seed: int, frames: int) -> dict[str, Any]:
    if frames == 1:
        return {}
    others = [photo(width, height, seed + n) for n in range(1, frames)]
    return {"save_all": True, "append_images": others, "duration": 100, "loop": 0}


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's word
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
