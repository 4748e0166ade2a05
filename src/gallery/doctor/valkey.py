"""Checks of Valkey or Redis: the connection, eviction and persistence, the cache and the queue."""

import asyncio
import statistics
from time import perf_counter
from typing import Any

import msgspec
import redis.asyncio as redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, RedisError

from gallery.adapters.valkey.client import Client, connect
from gallery.doctor.model import REPORT_BUG, CheckContext, State, Verdict, notice, well, wrong
from gallery.jobs.queue import inspect

MIN_VERSION = 7
MAX_ROUND_TRIP_MS = 10
TIMEOUT_SECONDS = 3.0
MAX_MEMORY_RATIO = 0.9
MIN_LOOKUPS = 1000  # fewer give no useful hit rate
MIN_HIT_RATE = 0.5
MAX_WAITING_JOBS = 1000


async def valkey(context: CheckContext) -> Verdict:
    """Connects with a separate client, and explains a failure."""
    url = _url(context)
    if not url:
        return wrong(
            f"REDIS_URL is not set, and no embedded Valkey runs in {context.settings.data_path.absolute()}.",
            "Start gallery dev, set REDIS_URL, or set GALLERY_DATA_DIR to the directory of the running Gallery.",
        )
    context.valkey = _open_client(context, url)
    return await _check_server(context.valkey)


async def cache(context: CheckContext) -> Verdict:
    """The cache's server, if it has a separate one, which may evict keys."""
    url = context.settings.cache.url
    if not url:
        context.cache = context.valkey
        return well("The cache is on the same server.")
    context.cache = _open_client(context, url)
    found = await _check_server(context.cache)
    return msgspec.structs.replace(found, do=found.do.replace("REDIS_URL", "GALLERY_CACHE__URL"))


async def eviction(context: CheckContext) -> Verdict:
    """Checks that no server, in a cluster no primary, may evict jobs and rate limits."""
    client = _get_client(context.valkey)
    if not isinstance(client, RedisCluster):
        return _eviction_verdict(await client.info("everything"))
    infos: dict[str, Any] = await client.info("everything", target_nodes=RedisCluster.PRIMARIES)
    verdicts = [(name, _eviction_verdict(info)) for name, info in infos.items()]
    name, worst = next((each for each in verdicts if each[1].state is not State.WELL), verdicts[0])
    return msgspec.structs.replace(worst, says=f"{name}: {worst.says}")


def _eviction_verdict(info: dict[str, Any]) -> Verdict:
    policy, evicted = str(info.get("maxmemory_policy")), int(info.get("evicted_keys", 0))
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    facts = {"policy": policy, "evicted": evicted, "used": used, "most": most}
    if policy != "noeviction":
        return wrong(
            f"maxmemory-policy is {policy}: Valkey may evict jobs and rate limits ({evicted} keys so far).",
            "Set maxmemory-policy noeviction by CONFIG SET and in the configuration file. Cache entries expire anyway.",
            **facts,
        )
    if most and used > most * MAX_MEMORY_RATIO:
        return wrong(f"{used / most:.0%} of maxmemory is used; writes fail at 100 %.", "Raise maxmemory.", **facts)
    if evicted:
        return notice(
            f"{evicted} keys have been evicted since the server started.", "The policy is right now; watch it.", **facts
        )
    return well(
        f"noeviction; {used / 1024**2:.0f} MiB used, {'no limit' if not most else f'{used / most:.0%}'}.", **facts
    )


async def persistence(context: CheckContext) -> Verdict:
    info = await _get_client(context.valkey).info("persistence")
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if info.get(name, "ok") != "ok"]
    if failed:
        return wrong(
            f"The server cannot write to its disk ({', '.join(failed)}).", "Check its log and its disk.", failed=failed
        )
    return well("No write to disk has failed.")


async def hit_rate(context: CheckContext) -> Verdict:
    """The hit rate of the cache's server since it started."""
    stats = await _get_client(context.cache).info("stats")
    hits, misses = int(stats["keyspace_hits"]), int(stats["keyspace_misses"])
    if not context.settings.cache.enabled:
        return notice("The cache is off: every read goes to PostgreSQL.", "Unset GALLERY_CACHE__ENABLED.")
    if hits + misses < MIN_LOOKUPS:
        return well(f"{hits + misses} lookups so far: too few for a hit rate.", hits=hits, misses=misses)
    rate = hits / (hits + misses)
    if rate < MIN_HIT_RATE:
        do = "Check whether many images are read only once; GALLERY_CACHE__SECONDS may be longer."
        return notice(f"Only {rate:.0%} of lookups are hits.", do, hits=hits, misses=misses)
    return well(f"{rate:.0%} of lookups are hits.", hits=hits, misses=misses)


async def queue(context: CheckContext) -> Verdict:
    """BullMQ's state: failed jobs, a pause, connected workers. The check workers tells whether they are alive."""
    redis_settings = msgspec.structs.replace(context.settings.redis, url=_url(context))
    state = await inspect(_get_client(context.valkey), redis_settings)
    counts, workers = state.counts, state.workers
    waiting = counts["wait"] + counts["prioritized"] + counts["paused"]
    facts = {**counts, "workers": workers}
    if state.paused:
        return wrong(f"The queue is paused, and {waiting} jobs wait.", "Resume the queue.", **facts)
    if waiting and not workers:
        return wrong(f"{waiting} jobs wait, and no worker is connected.", "Start gallery worker.", **facts)
    if counts["failed"]:
        return wrong(
            f"{counts['failed']} jobs have failed by a bug in Gallery. The latest error: {state.latest_failure}",
            f"{REPORT_BUG} job.failed in the worker's log has the stack; the images are tried again.",
            **facts,
        )
    if waiting > MAX_WAITING_JOBS:
        return notice(
            f"{waiting} jobs wait for {workers} workers.", "Add workers, unless an import is under way.", **facts
        )
    return well(f"{waiting} jobs wait, and {counts['active']} run.", **facts)


def _open_client(context: CheckContext, url: str) -> Client:
    """A client that is closed at the end of all checks."""
    client = connect(msgspec.structs.replace(context.settings.redis, url=url, timeout=TIMEOUT_SECONDS), decode=True)
    context.stack.push_async_callback(client.aclose)
    return client


async def _check_server(client: Client) -> Verdict:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            info = await client.info()
            round_trips = [await _ping(client) for _ in range(5)]
    except (OSError, TimeoutError, RedisError, ValueError) as error:
        says, do = _explain_error(error)
        return wrong(says, do, error=repr(error))
    return _server_verdict(info, statistics.median(round_trips))


def _server_verdict(info: dict[str, Any], round_trip_ms: float) -> Verdict:
    name, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    facts = {"version": version, "milliseconds": round(round_trip_ms, 2)}
    if int(str(version).split(".")[0]) < MIN_VERSION:
        return wrong(f"{name} {version} is too old.", f"Upgrade it to {MIN_VERSION} or newer.", **facts)
    if info.get("role") != "master":
        return wrong(f"{name} is a read-only replica.", "Set REDIS_URL to the primary.", **facts)
    if round_trip_ms > MAX_ROUND_TRIP_MS:
        return notice(f"{name} {version} answers after {round_trip_ms:.0f} ms.", "Run it nearer.", **facts)
    return well(f"{name} {version} answers within {round_trip_ms:.1f} ms.", **facts)


def _explain_error(error: Exception) -> tuple[str, str]:
    match error:
        case AuthenticationError() | NoPermissionError():
            do = "Check the user and the password in REDIS_URL, and the user's rights (ACL)."
            return f"The server refuses the connection: {error}.", do
        case BusyLoadingError():
            return "The server is still loading its data.", "Wait."
        case redis.TimeoutError() | TimeoutError():
            return "The server does not answer within 3 s.", "Check firewalls, and whether the server hangs."
        case redis.ConnectionError() if "Name or service" in str(error) or "name resolution" in str(error):
            return "The host name is unknown.", "Check the host in REDIS_URL, and DNS."
        case redis.ConnectionError() | OSError():
            do = "Start it, or correct REDIS_URL. Until then everything is slower."
            return f"No server answers: {error}", do
    return f"The connection failed: {error}", "Check REDIS_URL."


def _url(context: CheckContext) -> str | None:
    return context.settings.redis.url or (context.running.redis_url if context.running else None)


async def _ping(client: Client) -> float:
    began = perf_counter()
    await client.ping()
    return (perf_counter() - began) * 1000


def _get_client(client: Client | None) -> Client:
    assert client is not None, "the check valkey or cache has connected"  # noqa: S101
    return client
