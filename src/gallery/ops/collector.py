"""The garbage collector of a process that answers requests.

A full collection visits every object of the process, 400,000 of an API process at rest, and takes 65 ms in which no
request is answered. Objects that are frozen are not visited again.
"""

import gc


def freeze() -> None:
    """Freezes the objects that are there. To be called when those that last as long as the process are there."""
    gc.collect()
    gc.freeze()


def find_objects() -> list[object]:
    """All objects that the collector knows, the frozen ones too."""
    if not gc.get_freeze_count():
        return gc.get_objects()
    gc.unfreeze()
    found = gc.get_objects()
    freeze()
    return found
