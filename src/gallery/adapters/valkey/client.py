"""Valkey (or Redis), one server or a cluster: it makes things fast, and nothing depends on it.

Every call has a short time-out and fails as `ValkeyUnavailable`. After a failure the next calls fail at once for a
moment, so that a hanging server costs one time-out and not one per request.
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

from gallery.errors import ValkeyRefused, ValkeyUnavailable, describe_error
from gallery.ops import metrics
from gallery.settings import RedisSettings, ValkeyNodes

log = structlog.get_logger(__name__)

T = TypeVar("T")
Client: TypeAlias = redis.Redis | RedisCluster
ReceiveMessage: TypeAlias = Callable[[float], Awaitable[bytes | None]]

CONNECTION_RACE_ERRORS = (
    AttributeError,
    RuntimeError,
)  # redis-py and uvloop raise these for a connection that is closed while it opens
UNAVAILABLE_ERRORS = (RedisError, OSError, TimeoutError, *CONNECTION_RACE_ERRORS)
REFUSED_ERRORS = (AuthenticationError, NoPermissionError)
BLOCKING_TIMEOUT_SECONDS = 15.0  # longer than any BZPOPMIN of BullMQ
SCAN_BATCH_SIZE = 500  # keys per SCAN
BACKOFF_SECONDS = 1.0  # after a failure no call is sent for this time
MAX_CONNECTIONS = 50  # per server


class Valkey:
    def __init__(self, client: Client, settings: RedisSettings) -> None:
        self._client = client
        self._settings = settings
        self._unavailable_until = 0.0
        self._connection_slots = asyncio.Semaphore(
            MAX_CONNECTIONS
        )  # a cluster client raises when no connection is left
        self.last_failure_at = float("-inf")  # event loop time

    @property
    def prefix(self) -> str:
        return self._settings.prefix

    @property
    def cluster(self) -> bool:
        return isinstance(self._client, RedisCluster)

    async def call(self, command: Callable[[Any], Awaitable[T]]) -> T:
        """The result of `command`, which gets the client and may use another. Raises `ValkeyUnavailable`."""
        now = asyncio.get_running_loop().time()
        if now < self._unavailable_until:
            raise ValkeyUnavailable(cause="it has just failed")
        if self._unavailable_until:  # this call tries again, the others do not wait for it
            self._unavailable_until = now + self._settings.timeout + BACKOFF_SECONDS
        try:
            async with asyncio.timeout(self._settings.timeout), self._connection_slots:
                await ensure_initialized(self._client)
                answer = await command(self._client)
        except UNAVAILABLE_ERRORS as error:
            self._unavailable_until = now + self._settings.timeout + BACKOFF_SECONDS
            (metrics.REFUSED if isinstance(error, REFUSED_ERRORS) else metrics.UNAVAILABLE).add("valkey")
            raise self._unavailable(error) from error
        self._unavailable_until = 0.0
        return answer

    async def ping(self) -> None:
        """Ping even right after a failure, so that readiness sees a recovery. Raises `ValkeyUnavailable`."""
        self._unavailable_until = 0.0
        await self.call(lambda server: server.ping(**self._all_primaries))

    async def memory(self) -> dict[str, Any]:
        """The memory section of each server's INFO, by server name. Raises `ValkeyUnavailable`."""
        info = await self.call(lambda server: server.info("memory", **self._all_primaries))
        return info if self.cluster else {"valkey": info}

    async def find_evicting(self) -> dict[str, str]:
        """The servers that evict keys when they are full, with their policy. Raises `ValkeyUnavailable`."""
        return {
            name: str(info["maxmemory_policy"])
            for name, info in (await self.memory()).items()
            if int(info.get("maxmemory", 0)) and info.get("maxmemory_policy") != "noeviction"
        }

    async def scan_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """Gallery's keys that begin with `prefix`, in small batches, some perhaps twice. Raises `ValkeyUnavailable`."""
        pattern = _escape_pattern(f"{self.prefix}:{prefix}") + "*"
        if isinstance(self._client, RedisCluster):
            async for name in self._scan_cluster(pattern):
                yield [name]
            return
        cursor = 0
        while True:
            at = cursor
            cursor, found = await self.call(lambda server: server.scan(at, match=pattern, count=SCAN_BATCH_SIZE))  # noqa: B023
            if found:
                yield [str(key, "utf-8") for key in cast("list[bytes]", found)]
            if cursor == 0:
                return

    async def _scan_cluster(self, pattern: str) -> AsyncIterator[str]:
        try:
            await ensure_initialized(self._client)
            async for key in self._client.scan_iter(match=pattern, count=SCAN_BATCH_SIZE):
                yield str(key, "utf-8")
        except UNAVAILABLE_ERRORS as error:
            raise self._unavailable(error) from error

    async def publish(self, channel: str, message: bytes) -> None:
        """To all subscribers of `channel`; in a cluster through the shard that the channel belongs to."""
        name = f"{self.prefix}:{channel}"
        await self.call(lambda server: (server.spublish if self.cluster else server.publish)(name, message))

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[ReceiveMessage]:
        """Subscribe to `channel`; yields a function that waits up to so many seconds for the next message."""
        async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    get = await self._subscribe(pubsub, f"{self.prefix}:{channel}")
            except UNAVAILABLE_ERRORS as error:
                raise self._unavailable(error) from error

            async def receive(seconds: float) -> bytes | None:
                try:
                    message = await get(timeout=seconds)
                    if message is None and self.cluster and not pubsub.node_pubsub_mapping:
                        raise ConnectionError("its shard has moved")  # and no message would ever come
                except UNAVAILABLE_ERRORS as error:
                    raise self._unavailable(error) from error
                return message["data"] if message else None

            yield receive

    async def _subscribe(self, pubsub: Any, name: str) -> Callable[..., Awaitable[dict[str, Any] | None]]:
        await ensure_initialized(self._client)
        if isinstance(self._client, RedisCluster):
            await self._client.nodes_manager.initialize()  # the shard may have moved since
            await pubsub.ssubscribe(name)
            return pubsub.get_sharded_message  # type: ignore[no-any-return]  # untyped in redis-py
        await pubsub.subscribe(name)
        return pubsub.get_message  # type: ignore[no-any-return]

    @property
    def _all_primaries(self) -> dict[str, Any]:
        return {"target_nodes": RedisCluster.PRIMARIES} if self.cluster else {}

    def _unavailable(self, error: Exception) -> ValkeyUnavailable:
        self.last_failure_at = asyncio.get_running_loop().time()
        if isinstance(error, CONNECTION_RACE_ERRORS):
            log.warning("valkey.connection_race", exc_info=error)  # or a bug in Gallery
        return (ValkeyRefused if isinstance(error, REFUSED_ERRORS) else ValkeyUnavailable)(cause=describe_error(error))


@asynccontextmanager
async def open_valkey(settings: RedisSettings) -> AsyncIterator[Valkey]:
    client = connect(settings)
    try:
        yield Valkey(client, settings)
    finally:
        await client.aclose()


async def ensure_initialized(client: Client) -> None:
    """Let a cluster client discover its nodes once, before many calls do so at once and disturb each other."""
    if isinstance(client, RedisCluster):
        await client.initialize()


def connect(settings: RedisSettings, *, decode: bool = False, blocking: bool = False) -> Client:
    """A new client, for libraries that need their own. A `blocking` one waits `BLOCKING_TIMEOUT_SECONDS`."""
    nodes = ValkeyNodes.parse(str(settings.url))
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": BLOCKING_TIMEOUT_SECONDS if blocking else settings.timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
        "health_check_interval": 15,
        "decode_responses": decode,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),  # a feature of hosted Redis
        "client_name": "gallery",
    }
    return (
        _cluster_client(nodes.urls, options)
        if nodes.cluster
        else _single_client(nodes.urls[0], settings.timeout, options)
    )


def _single_client(url: str, timeout: float, options: dict[str, Any]) -> "redis.Redis":
    """Its pool waits for a free connection instead of raising, and is closed with the client."""
    pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=timeout, **options
    )
    return redis.Redis.from_pool(pool)


def _escape_pattern(text: str) -> str:
    """A SCAN pattern that matches exactly this text."""
    return re.sub(r"([*?\[\]^\\-])", r"\\\1", text)


def _cluster_client(urls: list[str], options: dict[str, Any]) -> RedisCluster:
    options |= parse_url(urls[0])
    options.pop("db", None)
    if options.pop("connection_class", None) is not None:  # the one for TLS
        options["ssl"] = True
    for name in ("host", "port"):
        options.pop(name, None)
    nodes = [ClusterNode(parts["host"], parts.get("port", 6379)) for parts in map(parse_url, urls)]
    return RedisCluster(
        startup_nodes=nodes, max_connections=10 * MAX_CONNECTIONS, require_full_coverage=False, **options
    )
