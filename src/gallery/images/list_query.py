"""The query of a list: parsed from the URL's query string and validated. Equal queries have the same fingerprint."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from gallery.errors import MAX_ECHOED, InvalidField
from gallery.images.model import ImageId, Status, find_id
from gallery.images.schema import LINE_PATTERN, Tag
from gallery.paging import INVALID_CURSOR, Cursor
from gallery.validation import invalid_field, pointer, unknown_message

MAX_LIMIT = 200  # images on one page
DEFAULT_LIMIT = 50
MAX_TAGS = 10
MAX_SEARCH_LENGTH = 200  # characters
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}  # as Litestar reads them

SortKey = datetime | str | int | None


class Sort(StrEnum):
    NEWEST = "-createdAt"
    OLDEST = "createdAt"
    LAST_TAKEN = "-takenAt"
    TITLE = "title"
    LARGEST = "-size"


SORT_KEY_TYPES: dict[Sort, Any] = {  # the type of a cursor's key, which PostgreSQL compares with the column
    Sort.NEWEST: datetime,
    Sort.OLDEST: datetime,
    Sort.LAST_TAKEN: datetime | None,
    Sort.TITLE: Annotated[str, Meta(max_length=120, pattern=LINE_PATTERN)],
    Sort.LARGEST: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)],
}


class ListQuery(Struct, frozen=True, kw_only=True):
    """Either the images with these `ids`, or one page of the images that match all other fields."""

    ids: list[ImageId] | None = None
    sort: Sort = Sort.NEWEST
    statuses: list[Status] = []  # an image has one of them; an empty list matches every status
    tags: list[str] = []  # an image has all of them
    words: list[str] = []  # an image has all of them, in any of its text fields
    limit: int = DEFAULT_LIMIT
    after: Cursor | None = None
    signed: bool = False  # whether the URLs in the answer carry signatures

    @property
    def list_fingerprint(self) -> str:
        """The same for all pages of one list and for any limit: a cursor is valid only for this list."""
        return _fingerprint([self.sort, self.statuses, self.tags, self.words])

    @property
    def fingerprint(self) -> str:
        """The same only for queries with the same answer but for the signatures of its URLs."""
        return _fingerprint(msgspec.structs.replace(self, signed=False))

    @property
    def last_key(self) -> SortKey:
        """The sort key of the previous page's last row. Raises `InvalidField` for a key that no row can have."""
        try:
            key: SortKey = msgspec.convert(self.after.key if self.after else None, SORT_KEY_TYPES[self.sort])
        except msgspec.ValidationError as error:
            raise InvalidField("/cursor", INVALID_CURSOR) from error
        if isinstance(key, datetime) and key.tzinfo is not (None if self.sort is Sort.LAST_TAKEN else UTC):
            raise InvalidField("/cursor", INVALID_CURSOR)
        return key

    def cursor(self, key: SortKey, last: ImageId) -> Cursor:
        return Cursor(self.list_fingerprint, key.isoformat() if isinstance(key, datetime) else key, UUID(last))


class ListParameters(Struct, frozen=True):
    """The parameters as they were sent."""

    limit: Annotated[str, Meta(pattern=r"^[0-9]{1,3}\Z")] = str(DEFAULT_LIMIT)
    cursor: str | None = None
    sort: Sort = Sort.NEWEST
    status: list[Status] = []
    tag: Annotated[list[Tag], Meta(max_length=MAX_TAGS)] = []
    search: Annotated[str, Meta(max_length=MAX_SEARCH_LENGTH, pattern=LINE_PATTERN)] = ""
    ids: list[str] | None = None
    signed: bool = False


def parse(parameters: Iterable[tuple[str, str]]) -> ListQuery:
    """The query of these URL parameters. Raises `InvalidField`, which names the parameter."""
    given = _collect(parameters)
    checked = _validate(given)
    limit = int(checked.limit)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidField("/limit", _limit_error(checked.limit))
    if checked.ids is not None:
        return ListQuery(ids=_parse_ids(checked.ids, given), limit=limit, signed=checked.signed)
    query = ListQuery(
        sort=checked.sort,
        statuses=sorted(set(checked.status)) if len(set(checked.status)) < len(Status) else [],
        tags=sorted(set(checked.tag)),
        words=sorted(set(checked.search.split())),
        limit=limit,
        signed=checked.signed,
    )
    return query if checked.cursor is None else _with_cursor(query, checked.cursor)


def parse_signed(values: Sequence[str]) -> bool:
    """The parameter `signed` of a call that has no others. Raises `InvalidField`."""
    return _validate(_collect(("signed", value) for value in values)).signed


def _collect(parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
    collected: dict[str, Any] = {}
    for name, value in parameters:
        if name not in ListParameters.__struct_fields__:
            raise InvalidField(pointer(name), unknown_message("parameter", ListParameters.__struct_fields__))
        if name == "tag":
            collected.setdefault("tag", []).append(value)
        elif name in collected:
            raise InvalidField(f"/{name}", "is given twice")
        elif name == "signed":
            collected[name] = BOOLEANS.get(value.lower(), value)
        else:
            collected[name] = value.split(",") if name in ("status", "ids") else value
    return collected


def _validate(given: dict[str, Any]) -> ListParameters:
    try:
        return msgspec.convert(given, ListParameters)
    except msgspec.ValidationError as error:
        invalid = invalid_field(error, ListParameters)
        if invalid.pointer == "/limit":
            raise InvalidField("/limit", _limit_error(given["limit"])) from error
        raise InvalidField("/" + invalid.pointer.split("/")[1], invalid.detail) from error


def _parse_ids(texts: list[str], given: dict[str, Any]) -> list[ImageId]:
    """Each id once, in the given order. A text that is no UUID cannot be an image's id and is left out."""
    for other in given.keys() - {"ids", "limit", "signed"}:
        raise InvalidField(f"/{other}", "cannot be combined with ids")
    if len(texts) > MAX_LIMIT:
        raise InvalidField("/ids", f"has {len(texts)} ids; at most {MAX_LIMIT} are allowed")
    return list(dict.fromkeys(id_ for text in texts if (id_ := find_id(text)) is not None))


def _with_cursor(query: ListQuery, text: str) -> ListQuery:
    cursor = Cursor.decode(text)
    if cursor.list_fingerprint != query.list_fingerprint:
        raise InvalidField("/cursor", "belongs to a list with another sort or filter; start again without a cursor")
    after = msgspec.structs.replace(query, after=cursor)
    _ = after.last_key  # raises
    return after


def _limit_error(text: str) -> str:
    return f'is "{text[:MAX_ECHOED]}"; expected a number from 1 to {MAX_LIMIT}'


def _fingerprint(value: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()
