"""Named places at which a process dies on request, so that tests can show that it may die anywhere.

`GALLERY_FAULT=upload-committed` kills the process (SIGKILL) the first time it comes there, `upload-committed:3` the
third time. Without it a place costs one look into an empty table.
"""

import os
import signal
from enum import StrEnum


class Failpoint(StrEnum):
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


_hits_left: dict[Failpoint, int] = {}


def arm(fault: str) -> None:
    """Die at the place that `fault` names. Raises `ValueError`."""
    failpoint, passes = parse(fault)
    _hits_left[failpoint] = passes


def parse(fault: str) -> tuple[Failpoint, int]:
    """The place, and which pass of it is the last, of `place` or `place:3`. Raises `ValueError`."""
    name, _, number = fault.partition(":")
    passes = int(number) if number.isascii() and number.isdigit() else 0 if number else 1
    if name not in set(Failpoint) or passes < 1:
        raise ValueError(f"Expected one of {', '.join(Failpoint)}, with :N for the Nth time")
    return Failpoint(name), passes


def hit(failpoint: Failpoint) -> None:
    """Die here, if this is the place and the time."""
    if failpoint not in _hits_left:
        return
    _hits_left[failpoint] -= 1
    if _hits_left[failpoint] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
