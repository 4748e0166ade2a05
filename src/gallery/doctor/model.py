"""The checks' results and their context."""

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
    """A `notice` needs no immediate action; `unknown` is a check that did not finish."""

    WELL = "well"
    NOTICE = "notice"
    WRONG = "wrong"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True):
    """The result of a check and the advice; `facts` are for scripts."""

    state: State
    says: str
    do: str = ""
    facts: dict[str, Any] = {}


class Finding(Struct, frozen=True, rename="camel"):
    """A verdict with the name and the duration of its check."""

    group: str
    check: str
    state: State
    says: str
    do: str
    milliseconds: int
    facts: dict[str, Any]


@dataclass
class CheckContext:
    """A Gallery as its settings describe it. The first check of a group opens the connection that the others use."""

    settings: Settings
    environment: dict[str, str]
    running: RunInfo | None  # the Gallery that runs in the data directory
    stack: AsyncExitStack
    db: "asyncpg.Connection[asyncpg.Record] | None" = None
    valkey: Client | None = None
    cache: Client | None = None  # the server of the cache
    objects: ObjectStore | None = None
    installation: str | None = None  # the id in the database
    store_owner: str | None = None  # the id in the object store
    finished: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    unusable: set[str] = field(default_factory=set)  # checks that failed; those that need them are skipped


CheckFunction: TypeAlias = Callable[[CheckContext], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """`needs` are the earlier checks that must have passed."""

    group: str
    name: str
    run: CheckFunction
    needs: tuple[str, ...] = ()
    timeout_seconds: float = 5.0


REPORT_BUG = (
    "This is a bug in Gallery: report it, with gallery --version, at https://github.com/gallery-api/gallery-api/issues."
)


def well(says: str, **facts: Any) -> Verdict:
    return Verdict(State.WELL, says, "", facts)


def notice(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.NOTICE, says, do, facts)


def wrong(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.WRONG, says, do, facts)


def skipped(reason: str) -> Verdict:
    return Verdict(State.SKIPPED, f"Skipped, because {reason}.")
