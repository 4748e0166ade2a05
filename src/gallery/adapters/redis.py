"""Valkey (or Redis): what makes things fast, and what nothing depends on.

Every call is bounded by a short time-out and fails as `ValkeyAway`. After a failure the next calls fail at once for a
moment, so that a server that hangs costs one time-out and not one per request.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gallery.errors import ValkeyAway
from gallery.ops import metrics
from gallery.settings import Redis as Settings

T = TypeVar("T")

AWAY = (RedisError, OSError, TimeoutError)
BLOCKING = 15.0  # seconds, longer than any BZPOPMIN of BullMQ
BATCH = 500  # keys that one SCAN looks at
REST = 1.0  # seconds in which nobody asks a server that has just failed


class Valkey:
    def __init__(self, client: "redis.Redis", settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._away_until = 0.0
        self.trouble_at = float("-inf")  # when it was last away

    @property
    def prefix(self) -> str:
        return self._settings.prefix

    async def call(self, ask: Callable[["redis.Redis"], Awaitable[T]]) -> T:
        """What `ask` gets from the server, with our client or one of its own. Raises `ValkeyAway`."""
        now = asyncio.get_running_loop().time()
        if now < self._away_until:
            raise ValkeyAway(cause="it has just failed")
        if self._away_until:  # one asks whether it is back, the others do not wait for the answer
            self._away_until = now + self._settings.timeout + REST
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await ask(self._client)
        except AWAY as error:
            self._away_until = now + self._settings.timeout + REST
            metrics.AWAY.add("valkey")
            self.trouble_at = asyncio.get_running_loop().time()
            raise ValkeyAway(cause=repr(error)) from error
        self._away_until = 0.0
        return answer

    async def ping(self) -> None:
        """Ask even if the last call has failed: this is how readiness sees that it is back. Raises `ValkeyAway`."""
        self._away_until = 0.0
        await self.call(_ping)

    async def keys(self, beginning: str) -> AsyncIterator[list[str]]:
        """Our keys that begin like that, in small batches, some perhaps twice. Raises `ValkeyAway`."""
        pattern = _literally(f"{self.prefix}:{beginning}") + "*"
        cursor = 0
        while True:
            at = cursor
            cursor, found = await self.call(lambda server: server.scan(at, match=pattern, count=BATCH))  # noqa: B023
            if found:
                yield [str(key, "utf-8") for key in cast("list[bytes]", found)]
            if cursor == 0:
                return

    async def publish(self, channel: str, message: bytes) -> None:
        await self.call(lambda server: server.publish(f"{self.prefix}:{channel}", message))

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[Callable[[float], Awaitable[bytes | None]]]:
        """Subscribe to `channel`; yields a function that waits so many seconds for the next message."""
        async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await pubsub.subscribe(f"{self.prefix}:{channel}")
            except AWAY as error:
                raise ValkeyAway(cause=repr(error)) from error

            async def heard(seconds: float) -> bytes | None:
                try:
                    message = await pubsub.get_message(timeout=seconds)
                except AWAY as error:
                    self.trouble_at = asyncio.get_running_loop().time()
                    raise ValkeyAway(cause=repr(error)) from error
                return message["data"] if message else None

            yield heard


@asynccontextmanager
async def open_valkey(settings: Settings) -> AsyncIterator[Valkey]:
    client = connect(settings)
    try:
        yield Valkey(client, settings)
    finally:
        await client.aclose()


def connect(settings: Settings, *, decode: bool = False, blocking: bool = False) -> "redis.Redis":
    """A client of its own, for libraries that want one. A `blocking` one may wait `BLOCKING` seconds for an answer.

    The pool waits for a free connection instead of raising when there is none.
    """
    pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
        str(settings.url),
        max_connections=50,
        timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        socket_timeout=BLOCKING if blocking else settings.timeout,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=15,
        decode_responses=decode,
        client_name="gallery",
    )
    return redis.Redis.from_pool(pool)  # closed with the client


def _literally(text: str) -> str:
    """A pattern of SCAN that means just this text."""
    return re.sub(r"([*?\[\]^\\-])", r"\\\1", text)


async def _ping(server: "redis.Redis") -> None:
    await server.ping()
