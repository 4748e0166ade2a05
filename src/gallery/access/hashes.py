"""A set of recent texts, kept as hashes, so that no text can be read from the process's memory."""

import hashlib
from collections import OrderedDict


class RecentHashes:
    """The last `max_size` texts that were added."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._hashes: OrderedDict[bytes, None] = OrderedDict()

    def add(self, text: str) -> None:
        digest = _digest(text)
        self._hashes[digest] = None
        self._hashes.move_to_end(digest)
        if len(self._hashes) > self._max_size:
            self._hashes.popitem(last=False)

    def discard(self, text: str) -> None:
        self._hashes.pop(_digest(text), None)

    def __contains__(self, text: str) -> bool:
        return _digest(text) in self._hashes


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
