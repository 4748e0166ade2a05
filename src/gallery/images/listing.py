"""Lists and searches in PostgreSQL: pages whose cost does not grow with the number of images.

A page without a filter is one contiguous part of the sort's index. A filter may match half a million images or three,
and only a scan can tell. So a filtered page is searched in three steps, each with a bounded cost:

1. `scan`: the next `MAX_SCANNED` images in order, and `SCAN_FURTHER` times as many if their matches promise to fill the
   page then. That fills a page of common matches, or ends a small gallery.
2. `filter_and_sort`: the matches by the filters' indexes. At most `MAX_SORTED` are all there are, and are sorted.
3. `scan`: the matches are common but not near, so the scan goes on in order until the page is full, at most
   `MAX_LONG_SCAN` images far. If it ends there, so does the page, with fewer images than its limit and a cursor.

Each step sets the planner's options, so that no plan depends on PostgreSQL's statistics of a word. They only tell which
words are so common that step 2, which collects all matches from the index, is left out. The SQL is built
from constants; every value of the client is a bound parameter.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
from asyncpg import Record
from msgspec import Struct

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection
from gallery.errors import InvalidField
from gallery.images.list_query import ListQuery, Sort
from gallery.images.model import COLUMNS, Image, from_row
from gallery.paging import Page

MAX_SCANNED = 2000
SCAN_FURTHER = 20
MAX_SORTED = 20_000
MAX_COLLECTED = 500_000  # matches, by PostgreSQL's estimate: a quarter of a second
MAX_LONG_SCAN = 100_000
MAX_SEARCH_WORDS = 20
TRIGRAM_LENGTH = 3  # characters; the trigram index finds parts of words of at least this length
HAS_SYMBOLS = "search_text ~ ' [^[:alnum:] ]'"  # the condition of the index of first symbols

ALL_COLUMNS = ", ".join(f"image.{column}" for column in COLUMNS)
PLANNER_SETTINGS = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_{} = on; SET LOCAL enable_{} = off; SET LOCAL enable_sort = {}"
)
USE_SORT_INDEX = PLANNER_SETTINGS.format("indexscan", "bitmapscan", "off")
USE_FILTER_INDEX = PLANNER_SETTINGS.format("bitmapscan", "indexscan", "on")

NORMALIZE_WORDS = """
    SELECT array_remove(string_to_array(normalized, ' '), '') AS words, gallery_first_symbols(normalized) AS symbols
    FROM gallery_search_text($1) AS normalized
"""
FIND_BY_IDS = f"""
    SELECT {ALL_COLUMNS} FROM unnest($2::uuid[]) WITH ORDINALITY AS wanted (id, position) JOIN image USING (id)
    WHERE owner = $1 AND deleted_at IS NULL ORDER BY position
"""


class Order(Struct, frozen=True):
    """The sort column, its SQL type and the direction. Images with equal keys are sorted by id."""

    column: str
    type: str
    direction: str

    @property
    def sort_key(self) -> str:
        """The column; images without `taken_at` come last in descending order."""
        return self.coalesced(self.column)

    def coalesced(self, value: str) -> str:
        return f"coalesce({value}, '-infinity')" if self.column == "taken_at" else value

    def order_by(self, key: str) -> str:
        return f"{key} {self.direction}, id {self.direction}"

    def after_row(self, key: str, last: str) -> str:
        than = "<" if self.direction == "DESC" else ">"
        return f"({self.sort_key}, id) {than} ({self.coalesced(f'{key}::{self.type}')}, {last}::uuid)"


ORDERS = {
    Sort.NEWEST: Order("created_at", "timestamptz", "DESC"),
    Sort.OLDEST: Order("created_at", "timestamptz", "ASC"),
    Sort.LAST_TAKEN: Order("taken_at", "timestamp", "DESC"),
    Sort.TITLE: Order("title_key", "text", "ASC"),
    Sort.LARGEST: Order("size", "bigint", "DESC"),
}


async def page(db: Connection, owner: Owner, query: ListQuery, only: Collection[str] | None = None) -> Page[Image]:
    """A page of the owner's images that match the query, and that are among `only` if given. Raises `InvalidField`."""
    if query.ids is not None:
        ids = [id_ for id_ in query.ids if only is None or id_ in only]
        return Page([from_row(row) for row in await db.fetch(FIND_BY_IDS, owner, ids)])
    statements = ListStatements(owner, query, await _normalized_words(db, query), query.limit + 1, only)
    rows, scanned_until = await _fetch(db, statements, query.limit + 1)
    last = rows[query.limit - 1] if len(rows) > query.limit else scanned_until
    images = [from_row(row) for row in rows[: query.limit]]
    return Page(images, query.cursor(last["key"], last["id"]) if last is not None else None)


async def _normalized_words(db: Connection, query: ListQuery) -> "SearchWords":
    """The words in the form in which the column stores them."""
    if not query.words:
        return SearchWords()
    row = await db.fetchrow(NORMALIZE_WORDS, " ".join(query.words))
    assert row is not None  # noqa: S101  it has no condition
    words = list(dict.fromkeys(row["words"]))
    if len(words) > MAX_SEARCH_WORDS:
        raise InvalidField("/search", f"has {len(words)} words; at most {MAX_SEARCH_WORDS} are allowed")
    return SearchWords(words, row["symbols"])


async def _fetch(db: Connection, statements: "ListStatements", limit: int) -> tuple[Sequence[Record], Record | None]:
    """At most `limit` rows, and the row at which the scan ended if there may be more rows after it."""
    if statements.few:
        return await db.fetch(statements.sort_few(), *statements.parameters), None
    if statements.simple:
        return await db.fetch(statements.all(), *statements.parameters), None

    async def scan(max_images: int) -> Sequence[Record]:
        await db.execute(USE_SORT_INDEX)
        return await db.fetch(statements.scan(max_images), *statements.parameters)

    async with db.transaction():
        near = await scan(MAX_SCANNED)
        if limit / SCAN_FURTHER <= len(near) < limit and statements.filters:
            near = await scan(MAX_SCANNED * SCAN_FURTHER)
        if len(near) == limit or not statements.filters:
            return near, None
        if await statements.estimate_matches(db) <= MAX_COLLECTED:
            await db.execute(USE_FILTER_INDEX)
            few = await db.fetch(statements.filter_and_sort(), *statements.parameters)
            if not few or few[0]["found"] <= MAX_SORTED:
                return few, None
        far = await scan(MAX_LONG_SCAN)
        end = statements.scan_end(MAX_LONG_SCAN)
        return far, None if len(far) == limit else await db.fetchrow(end, *statements.scope_parameters)


class SearchWords(Struct, frozen=True):
    """The words of a search. `symbols`: the first characters of those that begin with no letter and no digit."""

    words: Sequence[str] = ()
    symbols: Sequence[str] = ()

    def conditions(self, bind: Callable[[object], str]) -> list[str]:
        """The trigram index has nothing of a word such as an emoji; the index of first symbols finds it."""
        found = [f"search_text LIKE {bind(_like_pattern(word))}" for word in self.words]
        first = sorted({word[0] for word in self.words if len(word) < TRIGRAM_LENGTH} & set(self.symbols))
        if first:
            found += [HAS_SYMBOLS, f"gallery_first_symbols(search_text) @> {bind(first)}::text[]"]
        return found


class ListStatements:
    """The SQL statements of one query; all but one take the same `parameters`."""

    def __init__(
        self, owner: Owner, query: ListQuery, words: SearchWords, limit: int, only: Collection[str] | None = None
    ) -> None:
        self.parameters: list[Any] = [owner, limit]
        self.few = only is not None  # they are read by their ids, before all else
        self._images = "image"
        if only is not None:
            self._images = f"(SELECT * FROM image WHERE id = ANY({self._bind(list(only))}::uuid[]) OFFSET 0) image"
        self._order = ORDERS[query.sort]
        self._columns = f"{ALL_COLUMNS}, image.{self._order.column} AS key"
        scope = ["owner = $1", "deleted_at IS NULL", *self._after_cursor(query)]
        self.scope_parameters = self.parameters.copy()  # of a statement without the filters
        statuses = [f"status = {self._bind(status)}" for status in query.statuses]
        self._scopes = [_conjunction(scope)]
        if query.sort in (Sort.NEWEST, Sort.OLDEST) and statuses:  # these sorts have an index with the status
            self._scopes = [_conjunction([*scope, status]) for status in statuses]
            self.scope_parameters = self.parameters.copy()
            statuses = []
        self.filters = [
            *([f"({' OR '.join(statuses)})"] if statuses else []),
            *([f"tags @> {self._bind(query.tags)}::text[]"] if query.tags else []),
            *words.conditions(self._bind),
        ]

    @property
    def simple(self) -> bool:
        """Whether PostgreSQL needs no planner options: it has one obvious plan."""
        return not self.filters and len(self._scopes) == 1

    def sort_few(self) -> str:
        """A page of few images: all of them are read, then filtered and sorted."""
        matches = f" WHERE {_conjunction(self.filters)}" if self.filters else ""
        return self._page(f"{self._source()}{matches}")

    def all(self) -> str:
        """A page without filters."""
        return self._page(self._source(f"{self._order_by} LIMIT $2::bigint"))

    async def estimate_matches(self, db: Connection) -> int:
        """PostgreSQL's estimate of the number of matches; right to the order of magnitude where they are many."""
        explain = f"EXPLAIN (FORMAT JSON) {self._found()} OFFSET 0 * $2::bigint"
        (plan,) = msgspec.json.decode(await db.fetchval(explain, *self.parameters))
        return int(plan["Plan"]["Plan Rows"])

    def filter_and_sort(self) -> str:
        found = self._found()
        return f"""
            WITH found AS MATERIALIZED ({found}), few AS MATERIALIZED (SELECT * FROM found LIMIT {MAX_SORTED + 1})
            SELECT {self._columns}, (SELECT count(*) FROM few) AS found FROM image
            WHERE id = ANY (ARRAY(SELECT id FROM few {self._order_by} LIMIT $2::bigint))
            ORDER BY {self._order.order_by(self._order.sort_key)}
        """

    def _found(self) -> str:
        return f"SELECT id, sort_key FROM {self._source()} WHERE {_conjunction(self.filters)}"

    def scan(self, max_images: int) -> str:
        """A page of the next `max_images` in order, filtered. PostgreSQL stops when the page is full."""
        if not self.filters:
            return self.all()
        source = self._source(f"{self._order_by} LIMIT {max_images}")
        scanned = f"SELECT * FROM {source} {self._order_by} LIMIT {max_images}"
        return self._page(f"({scanned}) image WHERE {_conjunction(self.filters)}")

    def scan_end(self, max_images: int) -> str:
        """Its first row is the last image that the scan has read; it takes the `scope_parameters`."""
        source = self._source(f"{self._order_by} LIMIT {max_images}")
        key = f"image.{self._order.column} AS key"
        return f"SELECT id, {key} FROM {source} {self._order_by} OFFSET {max_images - 1} LIMIT $2::bigint"

    def _page(self, source: str) -> str:
        return f"SELECT {self._columns} FROM {source} {self._order_by} LIMIT $2::bigint"

    @property
    def _order_by(self) -> str:
        return f"ORDER BY {self._order.order_by('sort_key')}"

    def _source(self, suffix: str = "") -> str:
        """The owner's images with their sort key. PostgreSQL merges several scopes, each in order, in that order."""
        images = f"SELECT *, {self._order.sort_key} AS sort_key FROM {self._images}"
        return f"({' UNION ALL '.join(f'({images} WHERE {scope} {suffix})' for scope in self._scopes)}) image"

    def _after_cursor(self, query: ListQuery) -> list[str]:
        if query.after is None:
            return []
        return [self._order.after_row(self._bind(query.last_key), self._bind(str(query.after.id)))]

    def _bind(self, value: object) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"


def _like_pattern(word: str) -> str:
    """No word contains a character that is special in LIKE: see `gallery_search_text` in the migration."""
    return f"%{word}%" if len(word) >= TRIGRAM_LENGTH else f"% {word}%"


def _conjunction(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions)
