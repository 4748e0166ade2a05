"""What a check finds, and whom it looks at."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import asyncpg
from msgspec import Struct

from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.valkey.client import Client
from gallery.embedded.datadir import RunInfo
from gallery.settings import Settings


class State(StrEnum):
    """`notice` is worth knowing and nothing to wake anybody for; `unknown` is a check that did not come to an end."""

    WELL = "well"
    NOTICE = "notice"
    WRONG = "wrong"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True):
    """What a check says, and what to do about it; `facts` are for scripts."""

    state: State
    says: str
    do: str = ""
    facts: dict[str, Any] = {}


class Finding(Struct, frozen=True, rename="camel"):
    """A verdict with the check's name and how long it took."""

    group: str
    check: str
    state: State
    says: str
    do: str
    milliseconds: int
    facts: dict[str, Any]


@dataclass
class CheckContext:
    """A Gallery as its settings describe it. The first check of a group opens what the others of it use."""

    settings: Settings
    environment: dict[str, str]
    running: RunInfo | None  # what runs in the data directory, if anything does
    stack: AsyncExitStack
    db: "asyncpg.Connection[asyncpg.Record] | None" = None
    valkey: Client | None = None
    cache: Client | None = None  # the server of the cache
    objects: ObjectStore | None = None
    installation: str | None = None  # whose the database is
    store_owner: str | None = None  # whose the object store is
    finished: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    unusable: set[str] = field(default_factory=set)  # the checks on which no other can build


CheckFunction: TypeAlias = Callable[[CheckContext], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """`needs` are checks that come before it, without which it cannot say anything."""

    group: str
    name: str
    run: CheckFunction
    needs: tuple[str, ...] = ()
    timeout_seconds: float = 5.0  # seconds


REPORT_BUG = (
    "This is a bug of Gallery: report it, with gallery --version, at https://github.com/gallery-api/gallery-api/issues."
)


def well(says: str, **facts: Any) -> Verdict:
    return Verdict(State.WELL, says, "", facts)


def notice(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.NOTICE, says, do, facts)


def wrong(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.WRONG, says, do, facts)


def skipped(reason: str) -> Verdict:
    return Verdict(State.SKIPPED, f"Skipped, because {reason}.")
