"""Measures and traces the steps of an attempt."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.ops import metrics, tracing


class Timer:
    """The duration of a step, set when the step has ended."""

    seconds = 0.0


@contextmanager
def step(name: str) -> Iterator[Timer]:
    """A failed step is not measured: its duration would distort the metric."""
    timer, began = Timer(), time.perf_counter()
    with tracing.span(f"image {name}"):
        yield timer
    timer.seconds = time.perf_counter() - began
    metrics.STEP_DURATION.observe(timer.seconds, name)
