"""The declaration of a handler that its response may be sent again, until the image or owner it is about changes.

The handler makes it before it reads anything, so that a change in between is noticed. The response cache acts on it
(`web/middleware/response_cache.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from math import inf
from typing import Any, TypeAlias

from gallery.access.key_checks import KeyCheck

DECLARE_KEY = "gallery.declare_subject"  # in the scope's extensions, with a `DeclareSubject`
REUSE_UNTIL_KEY = "gallery.reuse_until"  # in the scope's extensions, in `time.monotonic`
REUSE_CHECKS_KEY = "gallery.reuse_checks"


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


def end_reuse_at(scope: Mapping[str, Any], until: float, key_check: KeyCheck) -> None:
    """The response to this request is right until this time (`time.monotonic`), and while the check holds."""
    extensions = scope.get("extensions")
    if extensions is not None:
        extensions[REUSE_UNTIL_KEY], extensions[REUSE_CHECKS_KEY] = until, [key_check]


def reuse_ends_at(scope: Mapping[str, Any]) -> float:
    until: float = (scope.get("extensions") or {}).get(REUSE_UNTIL_KEY, inf)
    return until


def reuse_key_checks(scope: Mapping[str, Any]) -> Sequence[KeyCheck]:
    checks: Sequence[KeyCheck] = (scope.get("extensions") or {}).get(REUSE_CHECKS_KEY, ())
    return checks
