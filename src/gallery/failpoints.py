"""Failpoints: named points at which a test can make the process die.

`GALLERY_FAULT=upload-committed` kills the process (SIGKILL) the first time it reaches that point, `upload-committed:3`
the third time. Without the setting, a failpoint costs one lookup in an empty dict.
"""

import os
import signal
from enum import StrEnum


class Failpoint(StrEnum):
    """Each is between two steps that belong together."""

    UPLOAD_PUT = "upload-put"  # the original is stored, there is no row yet
    UPLOAD_COMMITTED = "upload-committed"  # the row is committed, nothing is published or enqueued
    UPLOAD_ANSWER = "upload-answer"  # only the answer is missing
    UPLOAD_BEGUN = "upload-begun"  # the store has begun an object in parts, its row does not say so
    UPLOAD_PART_PUT = "upload-part-put"  # a part of an upload is stored, its row does not say so
    UPLOAD_PART_ADDED = "upload-part-added"  # the row says so, the answer is missing
    UPLOAD_ASSEMBLED = "upload-assembled"  # all parts are one object, its row does not say so
    DELETE_COMMITTED = "delete-committed"
    WORK_CLAIMED = "work-claimed"
    WORK_PUT = "work-put"  # the renditions are stored, the row is not updated
    WORK_SETTLED = "work-settled"  # READY is committed, nothing is published
    PICTURE_CLAIMED = "picture-claimed"  # a picture on demand has its claim, and no renderer
    PICTURE_PUT = "picture-put"  # a picture on demand is stored, its row does not say so
    SWEEP_MARKED = "sweep-marked"  # keys are marked, their objects still exist
    SWEEP_REMOVED = "sweep-removed"  # objects are removed, their rows still exist


_hits_left: dict[Failpoint, int] = {}


def arm(fault: str) -> None:
    """Makes this process die as `fault` says (see `parse`). Raises `ValueError`."""
    failpoint, hits = parse(fault)
    _hits_left[failpoint] = hits


def parse(fault: str) -> tuple[Failpoint, int]:
    """The failpoint and the number of the fatal hit, from `name` or `name:3`. Raises `ValueError`."""
    name, _, number = fault.partition(":")
    hits = int(number) if number.isascii() and number.isdigit() else 0 if number else 1
    if name not in set(Failpoint) or hits < 1:
        raise ValueError(f"Expected one of {', '.join(Failpoint)}, with :N for the Nth time")
    return Failpoint(name), hits


def hit(failpoint: Failpoint) -> None:
    """Kills the process if this is the fatal hit of an armed failpoint."""
    if failpoint not in _hits_left:
        return
    _hits_left[failpoint] -= 1
    if _hits_left[failpoint] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
