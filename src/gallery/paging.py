"""Keyset pagination: a page holds the rows after a cursor, and a cursor marks the end of a page.

A cursor is opaque to clients: a version, the fingerprint of its list query, and the last row's sort key and id, as
base64url without padding.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Generic, Self, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from gallery.errors import InvalidField

T = TypeVar("T")

MAX_CURSOR_LENGTH = 2000  # characters
INVALID_CURSOR = "is not a valid cursor; start again without one"


class Cursor(Struct, frozen=True, array_like=True, tag=2, tag_field="v"):
    """The position after the row with this key and id, in the list with this fingerprint."""

    list_fingerprint: str
    key: str | int | None
    id: UUID

    def encode(self) -> str:
        return urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises `InvalidField` for a text that `encode` cannot have produced."""
        try:
            raw = (
                urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
                if len(text) <= MAX_CURSOR_LENGTH
                else b""
            )
            return msgspec.json.decode(raw, type=cls)
        except (ValueError, binascii.Error, RecursionError) as error:
            raise InvalidField("/cursor", INVALID_CURSOR) from error


class Page(Struct, Generic[T], frozen=True):
    """Rows in order, and the cursor of the next page if there is one."""

    items: Sequence[T]
    next: Cursor | None = None
