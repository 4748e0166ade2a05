"""The steps of an attempt, each measured and traced."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.ops import metrics, tracing


class Timer:
    """How long something took, once it is over."""

    seconds = 0.0


@contextmanager
def step(name: str) -> Iterator[Timer]:
    """One that fails is not measured: it would say how quickly things go wrong."""
    timer, began = Timer(), time.perf_counter()
    with tracing.span(f"image {name}"):
        yield timer
    timer.seconds = time.perf_counter() - began
    metrics.STEP_DURATION.observe(timer.seconds, name)
