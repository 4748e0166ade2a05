"""Compares encoder settings: bytes and CPU at equal SSIMULACRA2.

    .venv/bin/pip install --no-deps ssimulacra2==0.3.0
    .venv/bin/python -m bench.encoders FOLDER        # of photos of any size; 40 minutes for 22 of them

For each photo the score of WebP at the recipe's quality is the target. For each setting the quality is searched that
reaches it, and bytes and CPU there are compared with those of WebP. README.md says where the photos come from.
"""

import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bench import results
from bench.results import Bar, Plot, Result, Table, number
from gallery.rendering.encode import SAVERS
from gallery.rendering.probe import Format
from gallery.rendering.recipe import ENCODERS, Recipe
from gallery.rendering.vips import Picture

LONGER_SIDE = 448  # px
STARTS, STEPS = (60, 80), 1  # qualities
ENCODINGS = 3  # of which the quickest counts


class Setting(NamedTuple):
    label: str
    kind: Format
    options: Mapping[str, object]


class Encoding(NamedTuple):
    quality: float
    score: float
    size: float  # bytes
    cpu: float  # ms for a megapixel


def _setting(kind: Format, label: str, **options: object) -> Setting:
    return Setting(f"{kind} {label}", kind, ENCODERS[kind] | options)


REFERENCE = _setting(Format.WEBP, "effort 2", effort=2)
SETTINGS = (
    _setting(Format.JPEG, "plain"),
    _setting(Format.JPEG, "progressive", interlace=True),
    _setting(Format.JPEG, "trellis", interlace=True, trellis_quant=True, quant_table=3),
    *(_setting(Format.WEBP, f"effort {effort}", effort=effort) for effort in (0, 1)),
    REFERENCE,
    *(_setting(Format.WEBP, f"effort {effort}", effort=effort) for effort in (4, 6)),
    _setting(Format.WEBP, "effort 2, sharp chroma", effort=2, smart_subsample=True),
    *(_setting(Format.AVIF, f"effort {effort}", effort=effort) for effort in (0, 1, 2, 3)),
    _setting(Format.AVIF, "effort 0, 10 bits", effort=0, bitdepth=10),
    _setting(Format.AVIF, "effort 0, 4:4:4", effort=0, subsample_mode="off"),
)


def main() -> None:
    photos = [read(path) for path in sorted(Path(sys.argv[1]).iterdir())]
    found: dict[str, list[tuple[Encoding, Encoding]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="gallery-bench-") as folder:
        for number_, photo in enumerate(photos):
            for setting, encoding, reference in compare(photo, Path(folder)):
                found[setting.label].append((encoding, reference))
            print(f"photo {number_ + 1} of {len(photos)}", file=sys.stderr, flush=True)
    results.finish(summary(found, len(photos)), results.FOLDER, None)


def read(path: Path) -> Picture:
    """At most `LONGER_SIDE` and half its own sides if it is a JPEG, whose artefacts are gone then; RGB in memory."""
    picture = Picture.new_from_file(str(path))
    picture = picture.flatten() if picture.hasalpha() else picture
    longer = max(picture.width, picture.height) // (2 if path.suffix in (".jpg", ".jpeg") else 1)
    side = min(LONGER_SIDE, longer)
    return picture.thumbnail_image(side, height=side).colourspace("srgb").copy_memory()


def compare(photo: Picture, folder: Path) -> Iterator[tuple[Setting, Encoding, Encoding]]:
    """Each setting with its encoding and the reference, both of the same score."""
    original = folder / "original.png"
    photo.pngsave(str(original))
    reference = _encode(photo, REFERENCE, Recipe().quality(Format.WEBP), folder)
    for setting in SETTINGS:
        yield setting, search(photo, setting, reference.score, folder), reference


def search(photo: Picture, setting: Setting, score: float, folder: Path) -> Encoding:
    """The encoding of this score, between those of the two nearest qualities that were tried."""
    tried: dict[int, Encoding] = {}
    for quality in STARTS:
        tried[quality] = _encode(photo, setting, quality, folder)
    for _ in range(STEPS):
        quality = min(98, max(10, round(_between(_nearest(tried.values(), score), score).quality)))
        if quality not in tried:
            tried[quality] = _encode(photo, setting, quality, folder)
    return _between(_nearest(tried.values(), score), score)


def _nearest(tried: Iterable[Encoding], score: float) -> list[Encoding]:
    return sorted(tried, key=lambda each: abs(each.score - score))[:2]


def _between(pair: list[Encoding], score: float) -> Encoding:
    one, other = pair
    share = (score - one.score) / (other.score - one.score) if other.score != one.score else 0.0
    return Encoding(*(a + (b - a) * share for a, b in zip(one, other, strict=True)))


def _encode(photo: Picture, setting: Setting, quality: int, folder: Path) -> Encoding:
    from ssimulacra2 import compute_ssimulacra2  # noqa: PLC0415 - installed for this alone

    file = folder / f"encoded.{setting.kind}"
    seconds = math.inf
    for _ in range(ENCODINGS):
        began = time.process_time()
        getattr(photo, SAVERS[setting.kind])(str(file), Q=quality, keep="none", **setting.options)
        seconds = min(seconds, time.process_time() - began)
    score = float(compute_ssimulacra2(folder / "original.png", file))
    return Encoding(quality, score, file.stat().st_size, seconds * 1e9 / (photo.width * photo.height))


# --- the summary --------------------------------------------------------------------------------------------------


def summary(found: Mapping[str, list[tuple[Encoding, Encoding]]], photos: int) -> Result:
    columns = ["encoder", "bytes, of WebP's", "CPU, of WebP's", "CPU, ms a megapixel", "quality"]
    rows, bars = [], []
    for label, pairs in found.items():
        sizes = _quartiles([one.size / other.size for one, other in pairs])
        cpu = _quartiles([one.cpu / other.cpu for one, other in pairs])
        absolute, quality = (_quartiles([getattr(one, name) for one, _ in pairs]) for name in ("cpu", "quality"))
        rows.append([label, *(_text(each) for each in (sizes, cpu, absolute, quality))])
        bars.append(Bar(label, sizes[1], sizes[0], sizes[2]))
    score = statistics.median(reference.score for pairs in found.values() for _, reference in pairs)
    title = f"Of {photos} photos at the score of WebP at quality {Recipe().webp_quality}, a median of {number(score)}"
    return Result(
        "encoders",
        tables=[Table(f"{title}: the median, with the quartiles", columns, rows)],
        plots=[Plot("encoders", "Bytes at equal SSIMULACRA2", "of WebP's at effort 2", bars)],
        notes=["The score is SSIMULACRA2: 90 cannot be told from the original, 70 is of high quality, 50 of medium."],
    )


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def _text(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = quartiles
    return f"{number(middle)} [{number(low)}–{number(high)}]"


if __name__ == "__main__":
    main()
