"""Benchmarks of Gallery's real processes: `make bench`. README.md says how to run them, one file has each group."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # processes are started, and pictures made, as the tests do
