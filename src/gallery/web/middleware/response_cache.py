"""Responses that this process has sent before, from its memory. A hit passes none of the other middlewares.

A response is kept as it went out if its handler has declared what it depends on (`images/reusable.py`). It is sent
again to a request with the same path, query and headers, so to the same caller, while the token of its subject is
unchanged (`images/change_tokens.py`): a client that was told of a change is never answered from before it. Requests for
the same response at the same time wait for the first one's. See decision 0109.
"""

import asyncio
import re
import time
from collections.abc import Hashable, Iterable, Sequence
from enum import Enum, auto
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.access.key_checks import KeyCheck
from gallery.access.model import Caller, CredentialKind
from gallery.access.service import Access
from gallery.errors import DatabaseUnavailable, ValkeyUnavailable
from gallery.images.change_tokens import ChangeTokens, Reading
from gallery.images.reusable import DECLARE_KEY, ResponseKind, reuse_ends_at, reuse_key_checks
from gallery.ops import metrics
from gallery.settings import CacheSettings
from gallery.web.authentication import callers_of
from gallery.web.kept_responses import NOT_MODIFIED, Headers, KeptResponse, KeptResponses, encode_head
from gallery.web.middleware.repeat import TARGET_PREFIX, repeat
from gallery.web.request_key import RequestKey
from gallery.web.request_limits import Counter, RequestLimits, client_address, counter_of, set_count
from gallery.web.routing import extensions, route_of

MAX_PICTURE_BYTES = 256 * 1024  # as much as a handler holds in memory in any case
MAX_AGE = re.compile(rb"\bmax-age=(\d+)")
WAIT_SECONDS = 2.0  # for the first one's response, before a request is answered by itself
REQUEST_HEADERS = frozenset({b"x-request-id", b"ratelimit", b"ratelimit-policy"})  # of one request, never kept


class Outcome(Enum):
    KEPT = auto()
    NOT_KEPT = auto()
    FAILED = auto()  # without a response


class ResponseCache:
    def __init__(
        self,
        app: ASGIApp,
        responses: KeptResponses,
        tokens: ChangeTokens,
        access: Access,
        settings: CacheSettings,
        limits: RequestLimits | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._responses = responses
        self._tokens = tokens
        self._access = access
        self._lifetime = settings.seconds
        self._max_json_bytes = min(settings.max_entry_bytes, self._responses.max_entry_bytes)
        self._pending: dict[Hashable, asyncio.Future[Outcome]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _is_read(scope):
            await self._app(scope, receive, send)
            return
        request = RequestKey.of_scope(scope)
        entry = await self._find(request)
        if entry is None and scope["method"] == "GET" and request.repeatable:
            entry = await self._wait(request)
            if entry is None:
                await self._respond(request, scope, receive, send)
                return
        limit_headers: Headers = ()
        if entry is not None and self._limits is not None and entry.counter is not None:
            count = self._limits.try_count(entry.counter, client_address(scope))
            if count is None:
                entry, limit_headers = await self._count(self._limits, entry.counter, request, scope)
            else:
                limit_headers = count.headers
        if entry is None:
            await self._app(scope, receive, send)
        else:
            await repeat(entry, request, limit_headers, scope, send)

    async def _find(self, request: RequestKey) -> KeptResponse | None:
        """The kept response. A check of a key that has run out is repeated first, and not the whole request."""
        entry = self._responses.find_unchecked(request, time.monotonic())
        if entry is None:
            return None
        try:
            valid = all([await check.repeat() for check in entry.key_checks])
        except DatabaseUnavailable:  # raised again by the application
            return None
        return self._responses.find(request, time.monotonic()) if valid else None

    async def _count(
        self, limits: RequestLimits, counter: Counter, request: RequestKey, scope: HTTPScope
    ) -> tuple[KeptResponse | None, Headers]:
        """Count the request in Valkey; the response if it may still be repeated, and the headers of the limit.

        Without a response the application has to answer. It does not count the request again.
        """
        try:
            count = await limits.count(counter, client_address(scope))
        except ValkeyUnavailable:  # raised again by the application
            return None, ()
        set_count(scope, count)
        if count is None:
            return self._responses.find(request, time.monotonic()), ()
        return (self._responses.find(request, time.monotonic()) if count.verdict.allowed else None), count.headers

    async def _wait(self, request: RequestKey) -> KeptResponse | None:
        """The response to the same request that is being answered, if there is one that can be kept.

        When the first one fails without a response, the next one tries, and the others wait for that.
        """
        outcome = Outcome.FAILED
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while outcome is Outcome.FAILED and (pending := self._pending.get(request)) is not None:
                    outcome = await asyncio.shield(pending)  # a client that leaves does not cancel it for the others
        except TimeoutError:
            return None
        return self._responses.find(request, time.monotonic()) if outcome is Outcome.KEPT else None

    async def _respond(self, request: RequestKey, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer by the application, and keep the response before its last part is sent."""
        pending = asyncio.get_running_loop().create_future()
        self._pending.setdefault(request, pending)
        recording = Recording(self._tokens, self._max_json_bytes)
        extensions(scope)[DECLARE_KEY] = recording.declare

        def settle(outcome: Outcome) -> None:
            if self._pending.get(request) is pending:
                del self._pending[request]
                pending.set_result(outcome)

        async def send_and_record(message: Message) -> None:
            if recording.ends_with(message):
                entry = self._make_entry(scope, recording)
                if entry is not None:
                    self._responses.put(request, entry)
                settle(Outcome.NOT_KEPT if entry is None else Outcome.KEPT)
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            settle(Outcome.FAILED)

    def _make_entry(self, scope: HTTPScope, recording: "Recording") -> KeptResponse | None:
        """The entry of a complete response, if nothing has changed since its subject was declared."""
        callers = callers_of(scope)
        counter = counter_of(scope)
        if not recording.complete or recording.reading is None or not callers:
            return None
        if self._limits is not None and counter is None:  # the caller was not known before the application answered
            return None
        started_at = recording.started_at
        credentials_until = min(self._access.valid_until(caller, started_at) for caller in callers)
        valid_until = min(started_at + self._lifetime, credentials_until, reuse_ends_at(scope))
        if time.monotonic() >= valid_until or not self._tokens.is_current(recording.reading):
            return None
        checks = [check for caller in dict.fromkeys(callers) for check in self._access.key_checks(caller)]
        return recording.make_entry(scope, valid_until, callers[0], [*checks, *reuse_key_checks(scope)], counter)


class Recording:
    """A response while it is sent."""

    def __init__(self, tokens: ChangeTokens, max_json_bytes: int) -> None:
        self._tokens = tokens
        self._max_json_bytes = max_json_bytes
        self._kind: ResponseKind | None = None
        self._start: Any = None  # the message with status and headers
        self._body = b""
        self.started_at = time.monotonic()
        self.reading: Reading | None = None
        self.complete = False
        self._ended = False  # complete, or not to be kept

    def declare(self, kind: ResponseKind, subject: str) -> None:
        self._kind = kind
        if self._tokens.caught_up:  # else a change of another machine may never be recorded here
            self.reading = self._tokens.read(subject)
        if kind is ResponseKind.PICTURE:
            metrics.CACHE.add(kind, "miss")

    def ends_with(self, message: Message) -> bool:
        """Record the message; whether it completes the response, or shows that it will not be kept."""
        if self._ended:
            return False
        if message["type"] == "http.response.start":
            self._start = message
            self._ended = self.reading is None or not _may_be_kept(message["status"], message["headers"])
        elif message["type"] == "http.response.body":
            self._body = message["body"]
            max_bytes = MAX_PICTURE_BYTES if self._kind is ResponseKind.PICTURE else self._max_json_bytes
            self.complete = not message.get("more_body") and len(self._body) <= max_bytes
            self._ended = True
        return self._ended

    def make_entry(
        self,
        scope: HTTPScope,
        valid_until: float,
        caller: Caller,
        key_checks: Sequence[KeyCheck],
        counter: Counter | None,
    ) -> KeptResponse:
        """The entry of a complete response to `caller`."""
        assert self._kind is not None and self.reading is not None  # noqa: S101,PT018  for mypy; declared together
        fresh_until = self._fresh_until() if caller.kind is CredentialKind.LINK else None
        dropped = REQUEST_HEADERS if fresh_until is None else {*REQUEST_HEADERS, b"cache-control"}
        headers = [(name.lower(), value) for name, value in self._start["headers"] if name.lower() not in dropped]
        return KeptResponse(
            status=self._start["status"],
            headers=headers,
            head=encode_head(self._start["status"], headers, len(self._body)),
            body=self._body,
            etag=dict(headers).get(b"etag"),
            kind=self._kind,
            reading=self.reading,
            valid_until=valid_until,
            link_expires_at=fresh_until,
            route=route_of(scope),
            path=scope["path"],
            caller=caller.logged_as,
            key_checks=key_checks,
            counter=counter,
        )

    def _fresh_until(self) -> float | None:
        """The end of the response's `max-age`, in seconds since 1970."""
        max_age = MAX_AGE.search(dict(self._start["headers"]).get(b"cache-control", b""))
        return None if max_age is None else time.time() + int(max_age[1])


def _is_read(scope: HTTPScope) -> bool:
    return scope["method"] in ("GET", "HEAD") and scope["raw_path"].startswith(TARGET_PREFIX)


def _may_be_kept(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    found = dict(headers)
    return (
        status in (200, NOT_MODIFIED)
        and b"no-store" not in found.get(b"cache-control", b"")
        and b"set-cookie" not in found
    )
