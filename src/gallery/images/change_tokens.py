"""A token for each image and each owner, which every change replaces: what was read under an older token is too old.

The tokens are in memory that all processes of this machine share, so comparing one costs no message, and a process
notices the changes of all others at once. Tokens are random and not counted: a write is eight bytes at once, so
processes that write the same token at the same time cannot lose each other's change. Subjects share slots by their
hash; a collision costs an invalidation too many, never one too few. See decision 0110.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import structlog
from msgspec import Struct

from gallery.access.model import Owner
from gallery.errors import describe_error
from gallery.images.model import ImageId
from gallery.local_disk.shared_memory import open_shared_memory, shared_memory_path

log = structlog.get_logger(__name__)

SLOTS = 65_536
WORD_BYTES = 8
BYPASS_SLOT, CAUGHT_UP_SLOT = 2 * SLOTS, 2 * SLOTS + 1  # after the tokens and the fingerprints
SIZE_BYTES = (2 * SLOTS + 2) * WORD_BYTES
MAX_LAG_SECONDS = 3.0  # of the feed, which looks for events every second; a later one means a stalled database
MAX_LAG_NS = int(MAX_LAG_SECONDS * 1e9)
FINGERPRINT_SECONDS = 60  # for which a change counts as made already; a restored database may repeat its version


class Change(Struct, frozen=True):
    """The version that an image of this owner has now."""

    owner: Owner
    image: ImageId
    version: int


class Reading(NamedTuple):
    """A subject's token at one moment, taken before the subject itself is read."""

    slot: int
    token: int


class ChangeTokens:
    def __init__(self, memory: memoryview, *, shared: bool) -> None:
        """`memory` holds `SIZE_BYTES`; `shared`: whether all processes of this machine have it."""
        self._words = memory.cast("Q")
        self.shared = shared

    def read(self, subject: str) -> Reading:
        """The token of `image_subject` or `owner_subject`."""
        slot = _hash(subject) % SLOTS
        return Reading(slot, self._words[slot])

    def is_current(self, reading: Reading) -> bool:
        """Whether the subject has not changed since."""
        return self._words[reading.slot] == reading.token

    def record(self, changes: Iterable[Change]) -> None:
        """Replace the tokens of these images and of their owners, once for each version.

        To be called after the commit and after Valkey was invalidated, before any client is told: so a later reader
        finds no older answer anywhere. A change is recorded by its writer and by the feeds of all processes; only the
        first one counts, or the answers of the meantime would be lost though they are right.
        """
        for change in changes:
            slot, fingerprint = _fingerprint(change)
            if self._words[slot] == fingerprint:
                continue
            for subject in (image_subject(change.image), owner_subject(change.owner)):
                self._words[_hash(subject) % SLOTS] = secrets.randbits(64)
            self._words[slot] = fingerprint

    def has_recorded(self, change: Change) -> bool:
        """Whether a process of this machine has recorded the change, and has therefore invalidated Valkey."""
        slot, fingerprint = _fingerprint(change)
        return self._words[slot] == fingerprint

    def replace_all(self) -> None:
        """Everything that was read before is too old."""
        size = SLOTS * WORD_BYTES
        self._words.cast("B")[:size] = secrets.token_bytes(size)

    def bypass_valkey(self, seconds: float) -> None:
        """No process of this machine reads from the cache for so long: Valkey may have older answers."""
        self._words[BYPASS_SLOT] = time.monotonic_ns() + int(seconds * 1e9)

    @property
    def valkey_bypassed(self) -> bool:
        return time.monotonic_ns() < self._words[BYPASS_SLOT]

    def set_caught_up(self, at_ns: int) -> None:
        """A feed of this machine has recorded all changes whose events were there at this time (`monotonic_ns`)."""
        self._words[CAUGHT_UP_SLOT] = max(at_ns, self._words[CAUGHT_UP_SLOT])

    @property
    def caught_up(self) -> bool:
        """Whether the changes of other machines are recorded too, but for those of the last `MAX_LAG_SECONDS`."""
        return time.monotonic_ns() - self._words[CAUGHT_UP_SLOT] < MAX_LAG_NS


@contextmanager
def open_change_tokens(installation: str) -> Iterator[ChangeTokens]:
    """The tokens of this installation on this machine; without shared memory only this process's, with a warning."""
    with ExitStack() as stack:
        try:
            memory = stack.enter_context(open_shared_memory(installation, SIZE_BYTES))
        except OSError as error:
            path = shared_memory_path(installation)
            log.warning("cache.no_shared_memory", path=str(path), error=describe_error(error))
            yield own_change_tokens()
        else:
            yield ChangeTokens(memory, shared=True)


def own_change_tokens() -> ChangeTokens:
    """Tokens that no other process sees."""
    return ChangeTokens(memoryview(bytearray(SIZE_BYTES)), shared=False)


def image_subject(image: ImageId) -> str:
    """The subject of a read of one image, for tokens and for `Database.read`."""
    return f"image:{image}"


def owner_subject(owner: Owner) -> str:
    """The subject of a read of one owner's images, for tokens and for `Database.read`."""
    return f"owner:{owner}"


def _fingerprint(change: Change) -> tuple[int, int]:
    """The slot of the image's last recorded change, and the word that stands for this one in it."""
    minute = int(time.time()) // FINGERPRINT_SECONDS
    return SLOTS + _hash(change.image) % SLOTS, _hash(f"{change.image} {change.version} {minute}")


def _hash(text: str) -> int:
    """64 bits, the same in all processes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=WORD_BYTES).digest())
