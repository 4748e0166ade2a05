"""Responses in the memory of this process, up to a number of bytes; those used last stay."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TypeAlias

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from gallery.access.key_checks import KeyCheck
from gallery.conditions import unchanged
from gallery.images.change_tokens import ChangeTokens, Reading
from gallery.images.reusable import ResponseKind
from gallery.web.request_key import RequestKey
from gallery.web.request_limits import Counter
from gallery.web.routing import Route

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

ENTRY_OVERHEAD_BYTES = 4_000  # of the objects of an entry and its key, beside the bytes of head and body
MAX_SHARE = 8  # an entry is at most this part of all
NOT_MODIFIED = 304
CONNECTION_HEADERS = (b"connection", b"transfer-encoding")


class KeptResponse(Struct, frozen=True):
    """A response as it went out, without the headers of one request, and what repeating it needs to know."""

    status: int
    headers: Headers
    head: bytes | None  # `encode_head`
    body: bytes
    etag: bytes | None
    kind: ResponseKind
    reading: Reading  # of the subject's token, before it was read
    valid_until: float  # `time.monotonic`
    link_expires_at: float | None  # of a signed link, seconds since 1970: clients may store the response until then
    route: Route
    path: str  # as the log has it
    caller: str | None  # as the log has it
    key_checks: Sequence[KeyCheck] = ()  # of its caller; while one does not hold, the response is not repeated
    counter: Counter | None = None  # of each request for it; `None`: unlimited

    @property
    def size(self) -> int:
        fields = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.body) + fields + ENTRY_OVERHEAD_BYTES

    def is_unchanged_for(self, if_none_match: bytes) -> bool:
        """Whether a client with this header has the response already."""
        if self.etag is None:
            return False
        return if_none_match == self.etag or unchanged(if_none_match.decode("latin-1"), self.etag.decode().strip('"'))


class KeptResponses:
    """For a request there may be two: the whole response, and the 304 for a client that has it."""

    def __init__(self, tokens: ChangeTokens, max_bytes: int) -> None:
        self._tokens = tokens
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, KeptResponse] = OrderedDict()
        self.max_entry_bytes = max_bytes // MAX_SHARE
        self.size = 0  # bytes

    def find(self, request: RequestKey, now: float) -> KeptResponse | None:
        """The response to this request, if there is one that is valid at `now` (`time.monotonic`)."""
        entry = self.find_unchecked(request, now)
        if entry is not None and entry.key_checks and not all(check.holds(now) for check in entry.key_checks):
            return None
        return entry

    def find_unchecked(self, request: RequestKey, now: float) -> KeptResponse | None:
        """The same, whether or not its key checks hold."""
        if not request.repeatable or not self._tokens.caught_up:
            return None
        if request.if_none_match is not None:
            entry = self._find_valid((NOT_MODIFIED, request.key), now)
            if entry is not None and entry.is_unchanged_for(request.if_none_match):
                return entry
        entry = self._find_valid((None, request.key), now)
        if entry is None or request.if_none_match is None or not entry.is_unchanged_for(request.if_none_match):
            return entry
        return None

    def put(self, request: RequestKey, entry: KeptResponse) -> None:
        """Keep an entry that is not too large, in place of those that were not used for longest."""
        key = (NOT_MODIFIED if entry.status == NOT_MODIFIED else None, request.key)
        self._drop(key)
        if entry.size > self.max_entry_bytes:
            return
        self._entries[key] = entry
        self.size += entry.size
        while self.size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _find_valid(self, key: Hashable, now: float) -> KeptResponse | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.valid_until or not self._tokens.is_current(entry.reading):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size


def encode_head(status: int, headers: Headers, size: int) -> bytes | None:
    """The head of a response with a body of `size` bytes, as uvicorn writes it, but for `Date` and the empty line.

    `None` for a response to which it adds headers of its own, or that it refuses to send.
    """
    lengths = [value for name, value in headers if name == b"content-length"]
    if lengths != ([] if status == NOT_MODIFIED else [b"%d" % size]):
        return None
    if any(name in CONNECTION_HEADERS or HEADER_RE.search(name) or HEADER_VALUE_RE.search(v) for name, v in headers):
        return None
    return b"".join([STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers)])
