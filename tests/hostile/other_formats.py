"""Files of other kinds, files of two kinds at once, and files of next to nothing."""

import io
import zipfile

import photos
from hostile.builders import MARKER, PNG, chunk, gif, gif_frame, header, into_jpeg, into_png, noise, segment

SIDES = (96, 64)
MAGICS = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": PNG + b"\0\0\0\x0dIHDR",
    "gif": b"GIF89a",
    "webp": b"RIFF\xff\xff\0\0WEBPVP8 ",
    "webp canvas": b"RIFF\xff\xff\0\0WEBPVP8X",
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
}
SCRIPT = b"<?php system($_GET['c']); ?><script>alert(1)</script>" + MARKER


def pictures() -> dict[str, bytes]:
    return polyglots() | unsupported_files() | tiny_files()


def polyglots() -> dict[str, bytes]:
    jpeg, png, archive = photos.a_jpeg(*SIDES), photos.a_png(*SIDES), _zip()
    return {
        "ready/jpeg and zip": jpeg + archive,
        "ready/jpeg with php in a comment": into_jpeg(jpeg, segment(0xFE, SCRIPT)),
        "ready/jpeg with a pdf in a comment": into_jpeg(jpeg, segment(0xFE, b"%PDF-1.7\n1 0 obj\n" + SCRIPT)),
        "ready/gif and jar": photos.a_gif(*SIDES) + archive,
        "any/gif and script": gif(0x2A2F, 64, gif_frame(64, 64)) + b"*/=1;alert(1)//" + MARKER,
        "ready/png and html": into_png(png, chunk(b"tEXt", b"Comment\0" + SCRIPT)) + SCRIPT,
        "ready/webp and mp4": photos.a_webp(*SIDES) + b"\0\0\0\x18ftypisom" + SCRIPT,
        "refused/pdf and jpeg": b"%PDF-1.7\n" + jpeg,
        "refused/html and jpeg": b"<html><!--" + jpeg,
        "refused/zip and jpeg": archive + jpeg,
        "refused/blank and jpeg": b"\n" + jpeg,
    }


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../../etc/passwd"), MARKER)
    return out.getvalue()


def unsupported_files() -> dict[str, bytes]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">'
    entities = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    files = {
        "svg": svg + b"<script>alert(1)</script></svg>",
        "svg with entities": entities + svg + b"&e;</svg>",
        "svgz": b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + noise(90),
        "html": b"<!doctype html><script>alert(1)</script>",
        "xml with entities": entities + b"<x>&e;</x>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<</OpenAction 2 0 R>>\nendobj\n%%EOF",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file\n",
        "imagemagick drawing": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|id\")'\npop graphic-context",
        "imagemagick script": b'<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>',
        "playlist": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n",
        "photoshop": b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x40\0\0\0\x40\0\x08\0\x03" + bytes(999),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + noise(99),
        "jpeg xl": b"\xff\x0a" + noise(99),
        "jpeg xl in boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + noise(99),
        "openexr": b"\x76\x2f\x31\x01" + noise(99),
        "radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 64\n" + noise(99),
        "fits": b"SIMPLE  =                    T".ljust(2880),
        "netpbm": b"P6\n64 64\n255\n" + noise(64 * 64 * 3),
        "dicom": bytes(128) + b"DICM" + noise(99),
        "mp4": b"\0\0\0\x18ftypisom\0\0\x02\0isommp41" + noise(99),
        "canon raw": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + noise(99),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(99),
        "script": b"#!/bin/sh\nid\n",
    }
    out = {f"refused/{name}": file for name, file in files.items()}
    for kind in ("TIFF", "BMP", "ICO", "TGA", "PCX"):
        file = io.BytesIO()
        photos.photo(*SIDES).save(file, kind)
        out[f"refused/{kind.lower()}"] = file.getvalue()
    return out


def tiny_files() -> dict[str, bytes]:
    files = {f"refused/{count} bytes": b"\xff\xd8"[:count] for count in range(3)}
    files |= {f"refused/{count} zeros": bytes(count) for count in (1, 12, 100_000)}
    files["refused/noise"] = noise(50_000, 9)
    for seed, (kind, magic) in enumerate(MAGICS.items()):
        files[f"refused/{kind} that is its magic alone"] = magic
        files[f"bad/{kind} of zeros"] = magic + bytes(5_000)
        files[f"any/{kind} of noise"] = magic + noise(20_000, seed)
    return files | {"bad/png of header alone": PNG + header(*SIDES)}
