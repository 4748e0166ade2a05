"""Hostile GIFs and WebPs, and unusual ones that are valid."""

import struct

import photos
from hostile.builders import (
    MARKER,
    canvas,
    cuts,
    flips,
    gif,
    gif_frame,
    lossless,
    noise,
    part,
    riff,
    sub_blocks,
    webp_frame,
)

SIDES = (96, 64)
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
ANIM = part(b"ANIM", bytes(6))
ANIMATION, XMP, EXIF, ALPHA, ICC = 0x02, 0x04, 0x08, 0x10, 0x20  # flags of a WebP's canvas


def pictures() -> dict[str, bytes]:
    return gifs() | webps()


def gifs() -> dict[str, bytes]:
    plain = photos.a_gif(*SIDES)
    files = {f"bad/gif cut at {length}": file for length, file in list(cuts(plain, 9))[:-1]}
    files |= {f"any/gif flipped {number}": file for number, file in enumerate(flips(plain, 10, seed=3))}
    claims = {"ready": [(0, 64), (96, 0), (0, 0)], "refused": [(65535, 65535)]}
    files |= {
        f"{end}/gif claims {w}x{h}": b"GIF89a" + struct.pack("<HH", w, h) + plain[10:]
        for end, sides in claims.items()
        for w, h in sides
    }
    block = b"\x21\xfe\x01x\0"
    return files | {
        "any/gif claims 7000x7000": b"GIF89a" + struct.pack("<HH", 7000, 7000) + plain[10:],
        "any/gif whose frame is larger": gif(8, 8, gif_frame(4000, 3000)),
        "any/gif whose frame is enormous": gif(8, 8, gif_frame(65535, 65535, data=b"\x02\x01\x44\0")),
        "any/gif whose frame lies outside": gif(64, 64, gif_frame(64, 64, left=60_000, top=60_000)),
        "any/gif whose frame has no sides": gif(64, 64, gif_frame(0, 0)),
        "any/gif without a frame": gif(64, 64),
        "any/gif of text alone": gif(64, 64, b"\x21\xfe" + sub_blocks(MARKER)),
        "any/gif of codes of 12 bits": gif(64, 64, gif_frame(64, 64, data=b"\x0b" + sub_blocks(noise(4000)))),
        "any/gif of codes of 255 bits": gif(64, 64, gif_frame(64, 64, data=b"\xff" + sub_blocks(noise(400)))),
        "any/gif of noise": gif(64, 64, gif_frame(64, 64, data=b"\x08" + sub_blocks(noise(4000)))),
        "any/gif of clear codes": gif(64, 64, gif_frame(64, 64, data=b"\x02" + sub_blocks(b"\x24\x49\x92" * 20_000))),
        "any/gif with an unknown block": gif(64, 64, b"\x99", gif_frame(64, 64)),
        "ready/gif of 49 megapixels": gif(7000, 7000, gif_frame(7000, 7000)),
        "refused/gif of 202 megapixels": gif(14_200, 14_200, gif_frame(64, 64)),
        "ready/gif of 5000 frames": gif(100, 100, LOOP, gif_frame(9, 9) * 5000),
        "ready/gif of 200000 frames": gif(100, 100, LOOP, gif_frame(1, 1) * 200_000),
        "any/gif of 300000 extensions": gif(64, 64, block * 300_000, gif_frame(64, 64)),
        "ready/gif with text everywhere": gif(
            400, 300, b"\x21\xfe" + sub_blocks(MARKER), b"\x21\xff\x0bXMP DataXMP" + sub_blocks(MARKER * 9),
            b"\x21\x01\x0c" + bytes(12) + sub_blocks(MARKER), gif_frame(400, 300),
        ) + MARKER,
        "ready/gif": plain,
        "ready/gif of 1989": b"GIF89a" + plain[6:],
        "ready/gif that moves": photos.a_gif(*SIDES, animated=True),
        "ready/gif of one pixel": gif(1, 1, gif_frame(1, 1)),
        "ready/gif 16383x1": gif(16383, 1, gif_frame(16383, 1)),
        "ready/gif 1x16383": gif(1, 16383, gif_frame(1, 16383)),
        "any/gif without colours": gif(64, 64, gif_frame(64, 64), flags=0),
        "ready/gif with a small frame": gif(64, 64, b"\x21\xf9\x04\x01\0\0\0\0", gif_frame(9, 9, left=9, top=9)),
        "ready/gif with bytes after its end": plain + noise(5000),
    }  # fmt: skip


def webps() -> dict[str, bytes]:
    plain, quiet = photos.a_webp(*SIDES), photos.a_webp(*SIDES, lossless=True)
    files = {f"bad/webp cut at {length}": file for length, file in cuts(plain, 9)}
    files |= {f"any/webp flipped {number}": file for number, file in enumerate(flips(plain, 8, seed=4))}
    files |= {f"any/lossless webp flipped {number}": file for number, file in enumerate(flips(quiet, 4, seed=5))}
    frames, moving = plain[12:], photos.a_webp(*SIDES, animated=True)
    exif = photos.an_exif({"Artist": MARKER.decode()}, gps=True)
    texts = part(b"EXIF", exif) + part(b"XMP ", b"<x>" + MARKER + b"</x>") + part(b"MARK", MARKER)
    return files | {
        "refused/webp with a canvas of 2**24": riff(canvas(1 << 24, 1 << 24), frames),
        "bad/webp with a canvas 16384 wide": riff(canvas(16384, 2), frames),
        "refused/webp of 202 megapixels": riff(lossless(14_200, 14_200)),
        "refused/webp of a frame 0 wide": riff(part(b"VP8 ", frames[8:14] + bytes(4) + frames[18:])),
        "refused/webp of 0 bytes": riff(frames, size=0),
        "any/webp of 4 GB": riff(frames, size=0xFFFFFFFE),
        "bad/webp with a chunk of 4 GB": riff(part(frames[:4], frames[8:], length=0xFFFFFFF0)),
        "any/webp with a chunk of 0 bytes": riff(part(b"junk", b""), frames),
        "any/webp with a canvas and no frame": riff(canvas(64, 64)),
        "any/webp with a canvas larger than its frame": riff(canvas(7000, 7000), frames),
        "any/webp with a canvas smaller than its frame": riff(canvas(2, 2), frames),
        "any/webp of two canvases": riff(canvas(*SIDES), canvas(7000, 7000), frames),
        "any/webp whose alpha is noise": riff(canvas(*SIDES, ALPHA), part(b"ALPH", b"\x01" + noise(900)), frames),
        "bad/webp of noise": riff(part(b"VP8L", b"\x2f\x3f\xc0\x0f\0" + noise(3000))),
        "any/webp that moves without a frame": riff(canvas(64, 64, ANIMATION), ANIM),
        "any/webp whose frame lies outside": riff(canvas(64, 64, ANIMATION), ANIM, webp_frame(64, 64, 40_000, 40_000)),
        "any/webp whose frame is larger": riff(canvas(64, 64, ANIMATION), ANIM, webp_frame(16383, 3000)),
        "ready/webp of 49 megapixels in 34 bytes": riff(lossless(16383, 3000)),
        "ready/webp that moves on 49 megapixels": riff(canvas(16383, 3000, ANIMATION), ANIM, webp_frame(16, 16) * 50),
        "ready/webp of 5000 frames": riff(canvas(64, 64, ANIMATION), ANIM, webp_frame(16, 16) * 5_000),
        "ready/webp of 100000 frames": riff(canvas(64, 64, ANIMATION), ANIM, webp_frame(16, 16) * 100_000),
        "any/webp with 200000 chunks": riff(canvas(*SIDES), frames, part(b"junk", b"") * 200_000),
        "any/webp with a garbage profile": riff(canvas(*SIDES, ICC), part(b"ICCP", noise(3000)), frames),
        "any/webp with garbage exif": riff(canvas(*SIDES, EXIF), frames, part(b"EXIF", noise(3000))),
        "any/webp with 3 MB of xmp": riff(canvas(*SIDES, XMP), frames, part(b"XMP ", b"<x>" * 1_000_000)),
        "ready/webp with text everywhere": riff(canvas(*SIDES, EXIF | XMP), frames, texts) + MARKER,
        "ready/animated webp with text": riff(*_chunks(moving, EXIF | XMP), texts),
        "ready/webp": plain,
        "ready/lossless webp": quiet,
        "ready/webp with alpha": photos.a_webp(*SIDES, alpha=True),
        "ready/webp that moves": moving,
        "ready/webp, rotated": photos.a_webp(*SIDES, orientation=6),
        "ready/webp of one pixel": riff(lossless(1, 1)),
        "ready/webp 16383x1": riff(lossless(16383, 1)),
        "ready/webp 1x16383": riff(lossless(1, 16383)),
        "ready/webp with bytes after its end": plain + noise(5000),
    }


def _chunks(file: bytes, flags: int) -> list[bytes]:
    """The chunks of a file with a canvas, with further flags."""
    return [file[12:20], bytes([file[20] | flags]), file[21:]]
