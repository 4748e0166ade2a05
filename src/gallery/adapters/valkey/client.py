"""Valkey (or Redis), one server or a cluster: what makes things fast, and what nothing depends on.

Every call is bounded by a short time-out and fails as `ValkeyAway`. After a failure the next calls fail at once for a
moment, so that a server that hangs costs one time-out and not one per request.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

import redis.asyncio as redis
import structlog
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gallery.errors import ValkeyAway, ValkeyRefused, in_words
from gallery.ops import metrics
from gallery.settings import Nodes
from gallery.settings import Redis as Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")
Client: TypeAlias = redis.Redis | RedisCluster
Heard: TypeAlias = Callable[[float], Awaitable[bytes | None]]

CONFUSED = (AttributeError, RuntimeError)  # redis-py's and uvloop's words for a connection closed while it is opened
AWAY = (RedisError, OSError, TimeoutError, *CONFUSED)
REFUSED = (AuthenticationError, NoPermissionError)
BLOCKING = 15.0  # seconds, longer than any BZPOPMIN of BullMQ
BATCH = 500  # keys that one SCAN looks at
REST = 1.0  # seconds in which nobody asks a server that has just failed
MOST = 50  # connections to one server


class Valkey:
    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._away_until = 0.0
        self._places = asyncio.Semaphore(MOST)  # a cluster's client raises when it has no connection left
        self.trouble_at = float("-inf")  # when it was last away

    @property
    def prefix(self) -> str:
        return self._settings.prefix

    @property
    def cluster(self) -> bool:
        return isinstance(self._client, RedisCluster)

    async def call(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What `ask` gets from the server, with our client or one of its own. Raises `ValkeyAway`."""
        now = asyncio.get_running_loop().time()
        if now < self._away_until:
            raise ValkeyAway(cause="it has just failed")
        if self._away_until:  # one asks whether it is back, the others do not wait for the answer
            self._away_until = now + self._settings.timeout + REST
        try:
            async with asyncio.timeout(self._settings.timeout), self._places:
                await ready(self._client)
                answer = await ask(self._client)
        except AWAY as error:
            self._away_until = now + self._settings.timeout + REST
            (metrics.REFUSED if isinstance(error, REFUSED) else metrics.AWAY).add("valkey")
            raise self._away(error) from error
        self._away_until = 0.0
        return answer

    async def ping(self) -> None:
        """Ask even if the last call has failed: this is how readiness sees that it is back. Raises `ValkeyAway`."""
        self._away_until = 0.0
        await self.call(lambda server: server.ping(**self._everywhere))

    async def memory(self) -> dict[str, Any]:
        """What each server says of its memory, by its name. Raises `ValkeyAway`."""
        said = await self.call(lambda server: server.info("memory", **self._everywhere))
        return said if self.cluster else {"valkey": said}

    async def evicting(self) -> dict[str, str]:
        """The servers that throw things away when they are full, with their policy. Raises `ValkeyAway`."""
        return {
            name: str(said["maxmemory_policy"])
            for name, said in (await self.memory()).items()
            if int(said.get("maxmemory", 0)) and said.get("maxmemory_policy") != "noeviction"
        }

    async def keys(self, beginning: str) -> AsyncIterator[list[str]]:
        """Our keys that begin like that, in small batches, some perhaps twice. Raises `ValkeyAway`."""
        pattern = _literally(f"{self.prefix}:{beginning}") + "*"
        if isinstance(self._client, RedisCluster):
            async for name in self._everywhere_like(pattern):
                yield [name]
            return
        cursor = 0
        while True:
            at = cursor
            cursor, found = await self.call(lambda server: server.scan(at, match=pattern, count=BATCH))  # noqa: B023
            if found:
                yield [str(key, "utf-8") for key in cast("list[bytes]", found)]
            if cursor == 0:
                return

    async def _everywhere_like(self, pattern: str) -> AsyncIterator[str]:
        try:
            await ready(self._client)
            async for key in self._client.scan_iter(match=pattern, count=BATCH):
                yield str(key, "utf-8")
        except AWAY as error:
            raise self._away(error) from error

    async def publish(self, channel: str, message: bytes) -> None:
        """To all who listen; in a cluster by the one shard that the channel belongs to."""
        name = f"{self.prefix}:{channel}"
        await self.call(lambda server: (server.spublish if self.cluster else server.publish)(name, message))

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[Heard]:
        """Subscribe to `channel`; yields a function that waits so many seconds for the next message."""
        async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    get = await self._subscribe(pubsub, f"{self.prefix}:{channel}")
            except AWAY as error:
                raise self._away(error) from error

            async def heard(seconds: float) -> bytes | None:
                try:
                    message = await get(timeout=seconds)
                    if message is None and self.cluster and not pubsub.node_pubsub_mapping:
                        raise ConnectionError("its shard has moved")  # and there is nobody to wait for
                except AWAY as error:
                    raise self._away(error) from error
                return message["data"] if message else None

            yield heard

    async def _subscribe(self, pubsub: Any, name: str) -> Callable[..., Awaitable[dict[str, Any] | None]]:
        await ready(self._client)
        if isinstance(self._client, RedisCluster):
            await self._client.nodes_manager.initialize()  # whose shard it is now: nobody else may have asked
            await pubsub.ssubscribe(name)
            return pubsub.get_sharded_message  # type: ignore[no-any-return]  # redis-py says nothing
        await pubsub.subscribe(name)
        return pubsub.get_message  # type: ignore[no-any-return]

    @property
    def _everywhere(self) -> dict[str, Any]:
        return {"target_nodes": RedisCluster.PRIMARIES} if self.cluster else {}

    def _away(self, error: Exception) -> ValkeyAway:
        self.trouble_at = asyncio.get_running_loop().time()
        if isinstance(error, CONFUSED):
            log.warning("valkey.confused", exc_info=error)  # or is it a bug of ours?
        return (ValkeyRefused if isinstance(error, REFUSED) else ValkeyAway)(cause=in_words(error))


@asynccontextmanager
async def open_valkey(settings: Settings) -> AsyncIterator[Valkey]:
    client = connect(settings)
    try:
        yield Valkey(client, settings)
    finally:
        await client.aclose()


async def ready(client: Client) -> None:
    """Let a cluster's client find its nodes, if it has not: many calls that do so at once get in each other's way."""
    if isinstance(client, RedisCluster):
        await client.initialize()


def connect(settings: Settings, *, decode: bool = False, blocking: bool = False) -> Client:
    """A client of its own, for libraries that want one. A `blocking` one may wait `BLOCKING` seconds for an answer."""
    nodes = Nodes.read(str(settings.url))
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": BLOCKING if blocking else settings.timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
        "health_check_interval": 15,
        "decode_responses": decode,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),  # of a service that sells Redis
        "client_name": "gallery",
    }
    return _cluster(nodes.urls, options) if nodes.cluster else _server(nodes.urls[0], settings.timeout, options)


def _server(url: str, timeout: float, options: dict[str, Any]) -> "redis.Redis":
    """Its pool waits for a free connection instead of raising when there is none, and is closed with the client."""
    pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
        url, max_connections=MOST, timeout=timeout, **options
    )
    return redis.Redis.from_pool(pool)


def _literally(text: str) -> str:
    """A pattern of SCAN that means just this text."""
    return re.sub(r"([*?\[\]^\\-])", r"\\\1", text)


def _cluster(urls: list[str], options: dict[str, Any]) -> RedisCluster:
    given: dict[str, Any] = {**parse_url(urls[0])}
    given.pop("db", None)
    if given.pop("connection_class", None) is not None:  # the one for TLS
        given["ssl"] = True
    places = [(parts["host"], parts.get("port", 6379)) for parts in map(parse_url, urls)]
    given |= {"startup_nodes": [ClusterNode(host, port) for host, port in places]}
    for name in ("host", "port"):
        given.pop(name, None)
    return RedisCluster(**given, **options, max_connections=10 * MOST, require_full_coverage=False)
