"""Measures the memory of rendering each kind of picture, and compares it with the estimate of `rendering/memory.py`.

    .venv/bin/python -m bench.picture_memory [--avif] [WIDTH HEIGHT]

With `--avif`, renditions are made as AVIF, too.

Run it after an update of libvips, libheif or Pillow. It exits with 1 when a picture takes more than its estimate. By
default pictures have 48 megapixels, and all kinds together take three minutes.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import large_pictures
from gallery.errors import TooMuchMemory
from gallery.rendering.memory import Output
from gallery.rendering.probe import Limits, probe

AVIF = sys.argv[1:2] == ["--avif"]
SIDES = sys.argv[2:] if AVIF else sys.argv[1:]
CHILD = """
import sys, threading, time
from pathlib import Path
from gallery.rendering import decode, encode, placeholder, pipeline, probe, recipe, transforms

def used():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) << 10

def watch():
    while True:
        peak[0] = max(peak[0], used())
        time.sleep(0.002)

peak = [0]
threading.Thread(target=watch, daemon=True).start()
began = time.monotonic()
limits = probe.Limits(max_pixels=1 << 32, memory=1 << 40)
formats = recipe.FORMATS if sys.argv[3:] else recipe.Recipe().formats
pipeline.render(Path(sys.argv[1]), Path(sys.argv[2]), recipe.Recipe(formats=formats, limits=limits))
print(peak[0], time.monotonic() - began)
"""


def main() -> int:
    width, height = (int(side) for side in SIDES) if SIDES else (8_000, 6_000)
    over = 0
    print(f"{width} × {height} px{'':22}MB used{'':5}estimated{'':6}seconds")
    for kind, make in large_pictures.KINDS.items():
        file = make(width, height)
        used, seconds = measure(file)
        over += used > estimated_bytes(file)
        mark = "  MORE" if used > estimated_bytes(file) else ""
        print(f"{kind:32}{used / 1e6:10.0f}{estimated_bytes(file) / 1e6:13.0f}{seconds:13.1f}{mark}", flush=True)
    return int(over > 0)


def measure(file: bytes) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "original"
        original.write_bytes(file)
        child = subprocess.run(
            [sys.executable, "-c", CHILD, original, folder, *(["avif"] if AVIF else [])],
            capture_output=True,
            text=True,
            check=True,
        )
    used, seconds = child.stdout.split()
    return int(used), float(seconds)


def estimated_bytes(file: bytes) -> int:
    try:
        probe(io.BytesIO(file), Limits(max_pixels=1 << 32, memory=0, output=Output(avif=AVIF)))
    except TooMuchMemory as refusal:
        return int(str(refusal.facts["needed"]))
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
