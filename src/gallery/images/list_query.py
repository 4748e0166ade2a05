"""What one asks of the list, read from a query string and checked. Equal questions have one fingerprint."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from gallery.errors import MAX_ECHOED, InvalidField
from gallery.images.model import ImageId, Status
from gallery.images.schema import LINE, Tag
from gallery.paging import NOT_OURS, Cursor
from gallery.validation import invalid, pointer, unknown

MOST = 200  # images of one answer
DEFAULT = 50
MOST_TAGS = 10
LONGEST_SEARCH = 200  # characters

Key = datetime | str | int | None


class Sort(StrEnum):
    NEWEST = "-createdAt"
    OLDEST = "createdAt"
    LAST_TAKEN = "-takenAt"
    TITLE = "title"
    LARGEST = "-size"


KEYS: dict[Sort, Any] = {  # what a cursor must hold to be compared with the column
    Sort.NEWEST: datetime,
    Sort.OLDEST: datetime,
    Sort.LAST_TAKEN: datetime | None,
    Sort.TITLE: Annotated[str, Meta(max_length=120, pattern=LINE)],
    Sort.LARGEST: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)],
}


class Question(Struct, frozen=True, kw_only=True):
    """Either the images with these `ids`, or a page of those that have all that is asked for."""

    ids: list[ImageId] | None = None
    sort: Sort = Sort.NEWEST
    statuses: list[Status] = []  # any of them; none is all of them
    tags: list[str] = []  # all of them
    words: list[str] = []  # all of them, somewhere
    limit: int = DEFAULT
    after: Cursor | None = None

    @property
    def kind(self) -> str:
        """The same for all pages of one list, whatever their size: what a cursor is good for."""
        return _fingerprint([self.sort, self.statuses, self.tags, self.words])

    @property
    def fingerprint(self) -> str:
        """The same only where the answer is."""
        return _fingerprint(self)

    @property
    def key(self) -> Key:
        """The last row's sort key. Raises `InvalidField` where no row of ours can have had it."""
        try:
            key: Key = msgspec.convert(self.after.key if self.after else None, KEYS[self.sort])
        except msgspec.ValidationError as error:
            raise InvalidField("/cursor", NOT_OURS) from error
        if isinstance(key, datetime) and key.tzinfo is not (None if self.sort is Sort.LAST_TAKEN else UTC):
            raise InvalidField("/cursor", NOT_OURS)
        return key

    def cursor(self, key: Key, last: ImageId) -> Cursor:
        return Cursor(self.kind, key.isoformat() if isinstance(key, datetime) else key, UUID(last))


class Asked(Struct, frozen=True):
    """The parameters that are there, each as it was sent."""

    limit: Annotated[str, Meta(pattern=r"^[0-9]{1,3}\Z")] = str(DEFAULT)
    cursor: str | None = None
    sort: Sort = Sort.NEWEST
    status: list[Status] = []
    tag: Annotated[list[Tag], Meta(max_length=MOST_TAGS)] = []
    search: Annotated[str, Meta(max_length=LONGEST_SEARCH, pattern=LINE)] = ""
    ids: list[str] | None = None


def read(parameters: Iterable[tuple[str, str]]) -> Question:
    """The question that a query string asks. Raises `InvalidField`, which names the parameter."""
    given = _gathered(parameters)
    asked = _checked(given)
    limit = int(asked.limit)
    if not 1 <= limit <= MOST:
        raise InvalidField("/limit", _no_limit(asked.limit))
    if asked.ids is not None:
        return Question(ids=_ids(asked.ids, given), limit=limit)
    question = Question(
        sort=asked.sort,
        statuses=sorted(set(asked.status)) if len(set(asked.status)) < len(Status) else [],
        tags=sorted(set(asked.tag)),
        words=sorted(set(asked.search.split())),
        limit=limit,
    )
    return question if asked.cursor is None else _after(question, asked.cursor)


def _gathered(parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in parameters:
        if name not in Asked.__struct_fields__:
            raise InvalidField(pointer(name), unknown("parameter", Asked.__struct_fields__))
        if name == "tag":
            given.setdefault("tag", []).append(value)
        elif name in given:
            raise InvalidField(f"/{name}", "is there twice")
        else:
            given[name] = value.split(",") if name in ("status", "ids") else value
    return given


def _checked(given: dict[str, Any]) -> Asked:
    try:
        return msgspec.convert(given, Asked)
    except msgspec.ValidationError as error:
        found = invalid(error, Asked)
        if found.pointer == "/limit":
            raise InvalidField("/limit", _no_limit(given["limit"])) from error
        raise InvalidField("/" + found.pointer.split("/")[1], found.detail) from error


def _ids(texts: list[str], given: dict[str, Any]) -> list[ImageId]:
    """Each once, in their order; what is no id is the id of nothing."""
    for other in given.keys() - {"ids", "limit"}:
        raise InvalidField(f"/{other}", "cannot be combined with ids")
    if len(texts) > MOST:
        raise InvalidField("/ids", f"has {len(texts)} ids; at most {MOST} are allowed")
    return list(dict.fromkeys(ImageId(str(UUID(text))) for text in texts if _is_id(text)))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _after(question: Question, text: str) -> Question:
    cursor = Cursor.decode(text)
    if cursor.question != question.kind:
        raise InvalidField("/cursor", "belongs to a list with another sort or filter; start again without one")
    after = msgspec.structs.replace(question, after=cursor)
    _ = after.key  # raises
    return after


def _no_limit(text: str) -> str:
    return f'is "{text[:MAX_ECHOED]}"; expected a number from 1 to {MOST}'


def _fingerprint(value: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()
