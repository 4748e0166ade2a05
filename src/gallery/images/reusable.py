"""The declaration of a handler that its response may be sent again, until the image or owner it is about changes.

The handler makes it before it reads anything, so that a change in between is noticed. The response cache acts on it
(`web/middleware/response_cache.py`).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

DECLARE_KEY = "gallery.declare_subject"  # in the scope's extensions, with a `DeclareSubject`


class ResponseKind(StrEnum):
    IMAGE = "image"
    LIST = "list"
    PICTURE = "picture"


DeclareSubject: TypeAlias = Callable[[ResponseKind, str], None]


def declare_subject(scope: Mapping[str, Any], kind: ResponseKind, subject: str) -> None:
    """The response to this request depends on the request, its caller and `subject` only."""
    extensions: Mapping[str, Any] = scope.get("extensions") or {}
    declare: DeclareSubject | None = extensions.get(DECLARE_KEY)
    if declare is not None:
        declare(kind, subject)
