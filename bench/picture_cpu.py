"""The CPU of rendering one picture on demand of a 12-megapixel JPEG, without the server: `python -m bench.picture_cpu`.

Each round renders every kind once, so that all meet the same load of the machine; the lowest figure is the one to
compare, since other work only adds to it. The goal is for the first request of a picture, which finds renditions.
"""

import tempfile
import time
from collections import defaultdict
from pathlib import Path

import photos
from bench import results
from bench.results import Goal, Result, Table, number, with_range
from gallery.rendering.picture import render_picture
from gallery.rendering.picture_spec import Fit, Gravity, PictureSpec, Rect
from gallery.rendering.pipeline import render
from gallery.rendering.probe import Format, Limits
from gallery.rendering.recipe import Recipe

SIDES = (4032, 3024)
ROUNDS = 25
BOX = {"width": 800, "height": 600}
LARGE, ORIGINAL = "1920.jpeg", "original"
KINDS = {
    "800 × 600 WebP": (LARGE, BOX),
    "800 × 600 WebP, from the original": (ORIGINAL, BOX),
    "800 × 600 JPEG": (LARGE, BOX | {"format": Format.JPEG}),
    "800 × 600 AVIF": (LARGE, BOX | {"format": Format.AVIF}),
    "800 × 600 PNG, from the original": (ORIGINAL, BOX | {"format": Format.PNG}),
    "400 × 400 WebP, cover": ("960.jpeg", {"width": 400, "height": 400, "fit": Fit.COVER}),
    "400 × 400 WebP, attention": (
        "960.jpeg",
        {"width": 400, "height": 400, "fit": Fit.COVER, "focus": Gravity.ATTENTION},
    ),
    "96 × 96 WebP, cover": ("320.jpeg", {"width": 96, "height": 96, "fit": Fit.COVER}),
    "512 × 512 WebP, a tile of the original": (ORIGINAL, {"rect": Rect(1024, 1024, 512, 512)}),
    "1600 px WebP, from the original": (ORIGINAL, {"width": 1600}),
    "4032 px WebP, from the original": (ORIGINAL, {}),
}


def main() -> None:
    cpu: dict[str, list[float]] = defaultdict(list)
    sizes = {}
    with tempfile.TemporaryDirectory(prefix="gallery-bench-") as name:
        folder = Path(name)
        (folder / ORIGINAL).write_bytes(photos.a_twelve_megapixel_photo())
        render(folder / ORIGINAL, folder, Recipe())
        for _ in range(ROUNDS):
            for kind, (source, fields) in KINDS.items():
                cpu[kind].append(measure(folder / source, folder / "picture", fields))
                sizes[kind] = (folder / "picture").stat().st_size
    rows = [
        [kind, KINDS[kind][0], number(min(values)), with_range(values), number(sizes[kind] / 1000)]
        for kind, values in cpu.items()
    ]
    first = min(cpu["800 × 600 WebP"])
    table = Table(
        "CPU of one renderer for a picture of a 12-megapixel JPEG of 1.9 MB, in ms",
        ["picture", "from", "lowest", f"median of {ROUNDS}", "kB"],
        rows,
    )
    goals = [Goal("800 × 600 WebP for the first time, CPU", 60, first, " ms")]
    results.finish(Result("rendering", goals=goals, tables=[table]), results.FOLDER, None)


def measure(source: Path, target: Path, fields: dict[str, object]) -> float:
    kind = fields.get("format", Format.WEBP)
    spec = PictureSpec(**({"format": kind, "quality": Recipe().quality(kind)} | fields))
    began = time.process_time()
    render_picture(source, target, spec, SIDES, Limits())
    return (time.process_time() - began) * 1000


if __name__ == "__main__":
    main()
