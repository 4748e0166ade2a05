"""How hard the faults are: long with `FAULTS=long`, as in `make faults`; with `FAULTS=short` all of them, briefly."""

import os
from typing import NamedTuple

import pytest

in_full_only = pytest.mark.skipif("FAULTS" not in os.environ, reason="make faults runs it")


class Intensity(NamedTuple):
    """Durations in seconds, and counts."""

    load_seconds: float  # of uploads around a fault
    api_kills: int  # kills of the API
    worker_kills: int  # workers killed while they decode
    outage_seconds: float  # of a server that is gone, paused or slow
    suspended_seconds: float  # of a frozen worker
    pending_images: int  # images that wait when Valkey is flushed
    listeners: int  # clients that connect and disconnect
    races: int  # deletes and edits against workers
    healthy_images: int  # around one that exhausts memory
    small_images: int  # behind large ones
    total_kills: int  # kills of all processes


SHORT = Intensity(
    load_seconds=4,
    api_kills=3,
    worker_kills=3,
    outage_seconds=3,
    suspended_seconds=6,
    pending_images=60,
    listeners=200,
    races=60,
    healthy_images=100,
    small_images=40,
    total_kills=1,
)
LONG = Intensity(
    load_seconds=20,
    api_kills=20,
    worker_kills=10,
    outage_seconds=20,
    suspended_seconds=90,
    pending_images=200,
    listeners=200,
    races=200,
    healthy_images=100,
    small_images=1000,
    total_kills=5,
)
INTENSITIES = {"short": SHORT, "long": LONG}
