"""Lists and searches in PostgreSQL: pages whose cost does not grow with the number of images.

A page without a filter is read from the index of its sort, where it lies in one piece. A filter may let through half of
a million images or three of them, and only looking tells. So we look in three steps, each of which knows its end:

1. *near*: the next `NEAR` images in order. What is common is found there, and a small gallery ends there.
2. *few*: what the indexes of the filters find, if that is at most `FEW`; then it is all, and is sorted.
3. *rest*: it is common, but not near: walk on in order until the page is full.

Each step's way is prescribed, so that no plan depends on what PostgreSQL believes of a word. SQL here is put together
from constants; whatever a client has sent is a parameter.
"""

from collections.abc import Sequence
from typing import Any

from asyncpg import Record
from msgspec import Struct

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection
from gallery.errors import InvalidField
from gallery.images.list_query import Question, Sort
from gallery.images.model import COLUMNS, Image, from_row
from gallery.paging import Page

NEAR = 2000
FEW = 2000
MOST_WORDS = 20
SHORT = 3  # characters; trigrams find a part of a word from here on

ALL = ", ".join(f"image.{column}" for column in COLUMNS)
WAY = "SET LOCAL enable_seqscan = off; SET LOCAL enable_{} = on; SET LOCAL enable_{} = off; SET LOCAL enable_sort = {}"
IN_ORDER = WAY.format("indexscan", "bitmapscan", "off")
BY_FILTER = WAY.format("bitmapscan", "indexscan", "on")

WORDS = "SELECT array_remove(string_to_array(gallery_words($1), ' '), '')"
SEVERAL = f"""
    SELECT {ALL} FROM unnest($2::uuid[]) WITH ORDINALITY AS wanted (id, place) JOIN image USING (id)
    WHERE owner = $1 AND deleted_at IS NULL ORDER BY place
"""


class Order(Struct, frozen=True):
    """By which column, of which type, and which way; ids decide between equals."""

    column: str
    type: str
    way: str

    @property
    def key(self) -> str:
        """Images without a date stand where a list of the last ones ends."""
        return self.filled(self.column)

    def filled(self, value: str) -> str:
        return f"coalesce({value}, '-infinity')" if self.column == "taken_at" else value

    def by(self, key: str) -> str:
        return f"{key} {self.way}, id {self.way}"

    def beyond(self, key: str, last: str) -> str:
        than = "<" if self.way == "DESC" else ">"
        return f"({self.key}, id) {than} ({self.filled(f'{key}::{self.type}')}, {last}::uuid)"


ORDERS = {
    Sort.NEWEST: Order("created_at", "timestamptz", "DESC"),
    Sort.OLDEST: Order("created_at", "timestamptz", "ASC"),
    Sort.LAST_TAKEN: Order("taken_at", "timestamp", "DESC"),
    Sort.TITLE: Order("title_key", "text", "ASC"),
    Sort.LARGEST: Order("size", "bigint", "DESC"),
}


async def page(db: Connection, owner: Owner, question: Question) -> Page[Image]:
    """The owner's images that have what is asked for. Raises `InvalidField`."""
    if question.ids is not None:
        return Page([from_row(row) for row in await db.fetch(SEVERAL, owner, question.ids)])
    rows = await _rows(db, Look(owner, question, await _words(db, question), question.limit + 1), question.limit + 1)
    images = [from_row(row) for row in rows[: question.limit]]
    more = len(rows) > question.limit
    return Page(images, question.cursor(rows[question.limit - 1]["key"], images[-1].id) if more else None)


async def _words(db: Connection, question: Question) -> list[str]:
    """The words as the column has them."""
    if not question.words:
        return []
    words: list[str] = list(dict.fromkeys(await db.fetchval(WORDS, " ".join(question.words))))
    if len(words) > MOST_WORDS:
        raise InvalidField("/search", f"has {len(words)} words; at most {MOST_WORDS} are allowed")
    return words


async def _rows(db: Connection, look: "Look", limit: int) -> Sequence[Record]:
    if look.plain:
        return await db.fetch(look.near(), *look.values)
    async with db.transaction():
        await db.execute(IN_ORDER)
        near = await db.fetch(look.near(), *look.values)
        if len(near) == limit or not look.filters:
            return near
        await db.execute(BY_FILTER)
        few = await db.fetch(look.few(), *look.values)
        if not few or few[0]["found"] <= FEW:
            return few
        await db.execute(IN_ORDER)
        return await db.fetch(look.rest(), *look.values)


class Look:
    """The statements for one question; all of them take the same `values`."""

    def __init__(self, owner: Owner, question: Question, words: Sequence[str], limit: int) -> None:
        self.values: list[Any] = [owner, limit]
        self._order = ORDERS[question.sort]
        self._columns = f"{ALL}, image.{self._order.column} AS key"
        statuses = [f"status = {self._value(status)}" for status in question.statuses]
        scope = ["owner = $1", "deleted_at IS NULL", *self._beyond(question)]
        if question.sort in (Sort.NEWEST, Sort.OLDEST) and statuses:  # there is an index with the status in it
            self._scopes = [_all_of([*scope, status]) for status in statuses]
            statuses = []
        else:
            self._scopes = [_all_of(scope)]
        self.filters = [
            *([f"({' OR '.join(statuses)})"] if statuses else []),
            *([f"tags @> {self._value(question.tags)}::text[]"] if question.tags else []),
            *(f"words LIKE {self._value(_pattern(word))}" for word in words),
        ]

    @property
    def plain(self) -> bool:
        """Nothing that PostgreSQL could be mistaken about."""
        return not self.filters and len(self._scopes) == 1

    def near(self) -> str:
        if not self.filters:
            return self._page(self._source(f"{self._by} LIMIT $2::bigint"))
        near = f"SELECT * FROM {self._source(f'{self._by} LIMIT {NEAR}')} {self._by} LIMIT {NEAR}"
        return self._page(f"({near}) image WHERE {_all_of(self.filters)}")

    def few(self) -> str:
        found = f"SELECT id, place FROM {self._source()} WHERE {_all_of(self.filters)}"
        return f"""
            WITH found AS MATERIALIZED ({found}), few AS MATERIALIZED (SELECT * FROM found LIMIT {FEW + 1})
            SELECT {self._columns}, (SELECT count(*) FROM few) AS found FROM image
            WHERE id = ANY (ARRAY(SELECT id FROM few {self._by} LIMIT $2::bigint))
            ORDER BY {self._order.by(self._order.key)}
        """

    def rest(self) -> str:
        return self._page(f"{self._source(self._by)} WHERE {_all_of(self.filters)}")

    def _page(self, source: str) -> str:
        return f"SELECT {self._columns} FROM {source} {self._by} LIMIT $2::bigint"

    @property
    def _by(self) -> str:
        return f"ORDER BY {self._order.by('place')}"

    def _source(self, way: str = "") -> str:
        """The owner's images with their place in the order; several scopes, each in order, are merged in order."""
        images = f"SELECT *, {self._order.key} AS place FROM image"
        return f"({' UNION ALL '.join(f'({images} WHERE {scope} {way})' for scope in self._scopes)}) image"

    def _beyond(self, question: Question) -> list[str]:
        if question.after is None:
            return []
        return [self._order.beyond(self._value(question.key), self._value(str(question.after.id)))]

    def _value(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def _pattern(word: str) -> str:
    """No word has a sign that means something to LIKE: see `gallery_words` in the migration."""
    return f"%{word}%" if len(word) >= SHORT else f"% {word}%"


def _all_of(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions)
