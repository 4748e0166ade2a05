"""A renderer's work without Gallery around it: `python -m bench.render_loop KIND COUNT FOLDER ORIGINAL...`.

Renders COUNT images and prints images a second. KIND is `render` for Gallery's function, or `libvips` for the fewest
calls of libvips that make the same files. It begins at a line on stdin, so that several processes begin together.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyvips

from gallery.renderers.pool import NICENESS
from gallery.rendering.pipeline import render
from gallery.rendering.probe import Format
from gallery.rendering.recipe import ENCODERS, Recipe

RECIPE = Recipe()


def main(kind: str, count: int, folder: Path, originals: Sequence[Path]) -> None:
    os.nice(NICENESS)
    pyvips.concurrency_set(1)
    work: Callable[[Path, Path], object] = make_files if kind == "libvips" else lambda a, b: render(a, b, RECIPE)
    work(originals[0], folder)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for number in range(count):
        work(originals[number % len(originals)], folder)
    print(count / (time.perf_counter() - began))


def make_files(original: Path, folder: Path) -> None:
    """The same six files: each size from the one above it, as WebP and JPEG."""
    picture = pyvips.Image.thumbnail(str(original), RECIPE.widths[-1], height=1 << 20).copy_memory()
    for width in reversed(RECIPE.widths):
        if width < picture.width:
            picture = picture.resize(width / picture.width).copy_memory()
        picture.webpsave(str(folder / f"{width}.webp"), Q=RECIPE.webp_quality, keep="none", **ENCODERS[Format.WEBP])
        picture.jpegsave(str(folder / f"{width}.jpeg"), Q=RECIPE.jpeg_quality, keep="none")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), [Path(word) for word in sys.argv[4:]])
