"""What stands in a URL and must not be shown: user, password, and parameters whose names say that they are secret."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"
END = re.compile(r"[\s<>]")  # of a URL in a text
SECRET_PARAMETER = re.compile(
    r"""
    ([?&;] [\w.%-]{0,40} (?: passw | pwd | secret | token | credential | signature | key | \bsig= ) [\w.%-]{0,40} =?)
    (?<==) [^&;#\s"'<>]+
    """,
    re.IGNORECASE | re.VERBOSE,
)
PLAIN = (int, float, bool, type(None))


def masked(text: str) -> str:
    """The text with what must not be shown of each URL in it replaced."""
    return _masked(text, END)


def masked_url(text: str) -> str:
    """The same of a text that is a URL, or a list of some, whatever characters its passwords have."""
    return _masked(text, None)


def masked_all(value: Any) -> Any:
    """The same of all texts in a value; what is neither text nor number nor a collection becomes its `repr`."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):
        return {masked_all(key): masked_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked_all(inner) for inner in value]
    return masked(repr(value))


def _masked(text: str, end: "re.Pattern[str] | None") -> str:
    if "://" not in text:  # as almost all are
        return text
    first, *rest = text.split("://")
    whole = "://".join([first, *(_without_userinfo(part, end) for part in rest)])
    return SECRET_PARAMETER.sub(rf"\1{MASK}", whole)


def _without_userinfo(part: str, end: "re.Pattern[str] | None") -> str:
    """What follows a scheme; up to the last `@`, as a password may hold one that should have been escaped."""
    stop = end.search(part) if end else None
    at = part.rfind("@", 0, stop.start() if stop else len(part))
    return part if at < 0 else MASK + part[at:]
