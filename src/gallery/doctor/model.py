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

from gallery.adapters.objects.store import Objects
from gallery.adapters.valkey.client import Client
from gallery.embedded.datadir import Running
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
class Patient:
    """A Gallery as its settings describe it. The first check of a group opens what the others of it use."""

    settings: Settings
    environment: dict[str, str]
    running: Running | None  # what runs in the data directory, if anything does
    stack: AsyncExitStack
    db: "asyncpg.Connection[asyncpg.Record] | None" = None
    valkey: Client | None = None
    cached: Client | None = None  # the server of the cache
    objects: Objects | None = None
    installation: str | None = None  # whose the database is
    owner: str | None = None  # whose the object store is
    done: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    unwell: set[str] = field(default_factory=set)  # the checks on which no other can build


Look: TypeAlias = Callable[[Patient], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """`needs` are checks that come before it, without which it cannot say anything."""

    group: str
    name: str
    look: Look
    needs: tuple[str, ...] = ()
    patience: float = 5.0  # seconds


REPORT_BUG = (
    "This is a bug of Gallery: report it, with gallery --version, at https://github.com/gallery-api/gallery-api/issues."
)


def well(says: str, **facts: Any) -> Verdict:
    return Verdict(State.WELL, says, "", facts)


def notice(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.NOTICE, says, do, facts)


def wrong(says: str, do: str, **facts: Any) -> Verdict:
    return Verdict(State.WRONG, says, do, facts)


def skipped(because: str) -> Verdict:
    return Verdict(State.SKIPPED, f"Skipped, because {because}.")
