"""Images and lists as JSON in Valkey, so that reading them costs no query. See decision 0003.

An image's entry carries its version, and only a newer version replaces it. A list's entry is a field of its owner's
hash, which also holds a random token. Each change of one of the owner's images replaces the hash, and an entry computed
under an older token is refused. The feed invalidates both before it sends an event to a client. What a process holds in
its own memory is invalidated last (`change_tokens.py`). When an invalidation did not reach Valkey, no process of this
machine reads from it until all entries of that time have expired.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import cast

import msgspec
import structlog
from msgspec import Struct

from gallery.access.model import Owner
from gallery.adapters.valkey.client import Client, Valkey
from gallery.errors import ValkeyUnavailable
from gallery.images.change_tokens import Change, ChangeTokens
from gallery.images.model import ImageId
from gallery.notifications.wake_ups import WakeUps
from gallery.ops import metrics
from gallery.settings import CacheSettings

log = structlog.get_logger(__name__)

MAX_FILL_MS = 10_000  # the longest way of an answer from the database into the cache
BATCH = 500  # changes in one round trip
MAX_LISTS = 200  # of one owner
MAX_LIST_BYTES = 8 * 1024 * 1024  # of one owner's lists
MAX_REMEMBERED = 100  # images of one owner whose invalidated versions are remembered

PUT_NEWER = """
    local have = redis.call('HGET', KEYS[1], 'version')
    if have and tonumber(have) > tonumber(ARGV[1]) then return 0 end
    if have and tonumber(have) == tonumber(ARGV[1]) and ARGV[2] == '' then return 0 end
    redis.call('HSET', KEYS[1], 'version', ARGV[1], 'entry', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1
"""
PUT_LIST = """
    if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
    if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then return 0 end
    if redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[3]) > tonumber(ARGV[5]) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
    return 1
"""
INVALIDATE_LISTS = """
    local packed = redis.call('HGET', KEYS[1], 'versions')
    local versions = packed and cmsgpack.unpack(packed) or {}
    local count, changed = 0, false
    for i = 4, #ARGV, 2 do
        local version = tonumber(ARGV[i + 1])
        if version > (versions[ARGV[i]] or 0) then
            versions[ARGV[i]], changed = version, true
        end
    end
    if not changed then return 0 end
    for _ in pairs(versions) do count = count + 1 end
    if count > tonumber(ARGV[3]) then versions = {} end
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'token', ARGV[1], 'versions', cmsgpack.pack(versions))
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
"""
CLEAR = """
    local entry = redis.call('HGET', KEYS[1], 'entry')
    if not entry then
        local answers = redis.call('HLEN', KEYS[1])
        for _, field in ipairs({'token', 'bytes', 'versions'}) do
            answers = answers - redis.call('HEXISTS', KEYS[1], field)
        end
        redis.call('DEL', KEYS[1])
        return answers > 0 and 1 or 0
    end
    if entry == '' then return 0 end
    redis.call('HSET', KEYS[1], 'entry', '')
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return 1
"""
GET_LIST = """
    redis.call('HSETNX', KEYS[1], 'token', ARGV[1])
    if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    return redis.call('HMGET', KEYS[1], 'token', ARGV[3])
"""


class CachedImage(Struct, frozen=True, array_like=True):
    """One image as JSON, with the fields that decide whether a caller may see it."""

    owner: Owner
    public: bool
    version: int
    body: bytes


class CachedList(Struct, frozen=True, array_like=True):
    """One page of images as JSON, and the cursor of the next page."""

    body: bytes
    next: str | None


class ImageCache:
    def __init__(self, valkey: Valkey, settings: CacheSettings, tokens: ChangeTokens) -> None:
        self._valkey = valkey
        self._tokens = tokens
        self._enabled = settings.enabled
        self._ttl_seconds = settings.seconds
        self._max_entry_bytes = settings.max_entry_bytes

    @property
    def usable(self) -> bool:
        """Whether an answer that is read now can be stored, as far as this process knows."""
        return self._usable()

    async def find_image(self, image: ImageId) -> CachedImage | None:
        if not self._usable():
            metrics.CACHE.add("image", "off")
            return None
        try:
            entry = await self._valkey.call(lambda server: server.hget(self._image_key(image), "entry"))
        except ValkeyUnavailable:
            metrics.CACHE.add("image", "away")
            return None
        metrics.CACHE.add("image", "hit" if entry else "miss")
        return msgspec.msgpack.decode(cast("bytes", entry), type=CachedImage) if entry else None

    async def put_image(self, image: ImageId, entry: CachedImage) -> None:
        body = msgspec.msgpack.encode(entry)
        if not self._usable() or len(body) > self._max_entry_bytes:
            return
        try:
            await self._valkey.call(
                lambda server: server.eval(PUT_NEWER, 1, self._image_key(image), entry.version, body, self._ttl_ms)
            )
        except ValkeyUnavailable:
            log.debug("cache.unavailable")

    async def find_list(self, owner: Owner, fingerprint: str) -> tuple[CachedList | None, str | None]:
        """The cached list, and the token under which a new one may be stored (`None`: do not store it)."""
        if not self._usable():
            metrics.CACHE.add("list", "off")
            return None, None
        fresh = secrets.token_hex(8)
        try:
            token, entry = await self._valkey.call(
                lambda server: server.eval(GET_LIST, 1, self._list_key(owner), fresh, self._ttl_ms, fingerprint)
            )
        except ValkeyUnavailable:
            metrics.CACHE.add("list", "away")
            return None, None
        metrics.CACHE.add("list", "hit" if entry else "miss")
        return msgspec.msgpack.decode(entry, type=CachedList) if entry else None, token

    async def put_list(self, owner: Owner, fingerprint: str, token: str | None, entry: CachedList) -> None:
        body = msgspec.msgpack.encode(entry)
        if token is None or len(body) > self._max_entry_bytes:
            return
        limits = (MAX_LISTS + 1, MAX_LIST_BYTES)  # the hash has other fields beside the lists
        try:
            await self._valkey.call(
                lambda server: server.eval(PUT_LIST, 1, self._list_key(owner), token, fingerprint, body, *limits)
            )
        except ValkeyUnavailable:
            log.debug("cache.unavailable")

    async def invalidate(self, changes: Iterable[Change], then: WakeUps | None = None) -> None:
        """Drop every answer that is older than these changes: from Valkey, and from the memory of all processes here.

        To be called after the commit, before a notification. Where Valkey cannot be told, no process of this machine
        reads from it until all entries of that time have expired. The feeds are woken by `then` in the same trip, if
        they share the server.
        """
        newest = _newest(changes)
        joined = then if then is not None and then.can_join(self._valkey) else None
        for start in range(0, len(newest), BATCH):
            try:
                await self._valkey.call(partial(self._invalidate, newest[start : start + BATCH], joined))
            except ValkeyUnavailable:
                self._tokens.bypass_valkey(self._ttl_seconds)
                break
        self._tokens.record(newest)
        if then is not None and joined is None:
            await then.notify()

    def has_invalidated(self, change: Change) -> bool:
        """Whether a process of this machine has called `invalidate` for this change a short time ago."""
        return self._tokens.has_recorded(change)

    async def clear(self) -> int:
        """Delete all entries; returns how many keys held one. Raises `ValkeyUnavailable`.

        An image's version stays for `MAX_FILL_MS`, so that an older answer that is on its way is still refused.
        """
        cleared = 0
        async for keys in self._valkey.scan_keys("cache:"):
            cleared += await self._valkey.call(partial(_clear, keys))
        self._tokens.replace_all()
        return cleared

    async def _invalidate(self, changes: Sequence[Change], then: WakeUps | None, server: Client) -> None:
        async with server.pipeline(transaction=False) as pipe:
            for change in changes:
                pipe.eval(PUT_NEWER, 1, self._image_key(change.image), change.version, b"", self._ttl_ms)
            for owner, versions in _versions_by_owner(changes).items():
                token = secrets.token_hex(8)
                pipe.eval(INVALIDATE_LISTS, 1, self._list_key(owner), token, self._ttl_ms, MAX_REMEMBERED, *versions)
            if then is not None:
                then.join(pipe)
            await pipe.execute()

    def _usable(self) -> bool:
        return self._enabled and not self._tokens.valkey_bypassed

    @property
    def _ttl_ms(self) -> int:
        return self._ttl_seconds * 1000

    def _image_key(self, image: ImageId) -> str:
        return f"{self._valkey.prefix}:cache:image:{image}"

    def _list_key(self, owner: Owner) -> str:
        return f"{self._valkey.prefix}:cache:lists:{owner}"


async def _clear(keys: list[str], server: Client) -> int:
    async with server.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.eval(CLEAR, 1, key, MAX_FILL_MS)
        return sum(await pipe.execute())


def _newest(changes: Iterable[Change]) -> list[Change]:
    return list({change.image: change for change in changes}.values())


def _versions_by_owner(changes: Iterable[Change]) -> dict[Owner, list[ImageId | int]]:
    """For each owner its images, each followed by its version."""
    versions = defaultdict[Owner, list[ImageId | int]](list)
    for change in changes:
        versions[change.owner] += [change.image, change.version]
    return versions
