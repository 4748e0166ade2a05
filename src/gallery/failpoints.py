"""Named places at which a process dies on request, so that tests can show that it may die anywhere.

`GALLERY_FAULT=upload-committed` kills the process (SIGKILL) the first time it comes there, `upload-committed:3` the
third time. Without it a place costs one look into an empty table.
"""

import os
import signal
from enum import StrEnum


class Place(StrEnum):
    """Between two steps that belong together."""

    UPLOAD_PUT = "upload-put"  # the original is stored, no row knows of the image
    UPLOAD_COMMITTED = "upload-committed"  # the row is there, nobody was told nor rung
    UPLOAD_ANSWER = "upload-answer"  # all is done but the answer
    DELETE_COMMITTED = "delete-committed"
    WORK_CLAIMED = "work-claimed"
    WORK_PUT = "work-put"  # the renditions are stored, the row does not know
    WORK_SETTLED = "work-settled"  # READY, and nobody was told
    SWEEP_MARKED = "sweep-marked"  # keys are marked, their objects still there
    SWEEP_REMOVED = "sweep-removed"  # objects are gone, their keys still known


_passes_left: dict[Place, int] = {}


def arm(fault: str) -> None:
    """Die at the place that `fault` names. Raises `ValueError`."""
    place, passes = read(fault)
    _passes_left[place] = passes


def read(fault: str) -> tuple[Place, int]:
    """The place, and which pass of it is the last, of `place` or `place:3`. Raises `ValueError`."""
    name, _, number = fault.partition(":")
    passes = int(number) if number.isascii() and number.isdigit() else 0 if number else 1
    if name not in set(Place) or passes < 1:
        raise ValueError(f"Expected one of {', '.join(Place)}, with :N for the Nth time")
    return Place(name), passes


def at(place: Place) -> None:
    """Die here, if this is the place and the time."""
    if place not in _passes_left:
        return
    _passes_left[place] -= 1
    if _passes_left[place] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
