"""Hides the secrets of URLs: user and password, and the values of parameters with the name of a secret."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MASK = "********"
SCALARS = (int, float, bool, type(None))
SENSITIVE_NAME = r"[\w.%-]{0,40}(?:passw|pwd|secret|token|credential|signature|key)[\w.%-]{0,40}|sig|ticket|jwt|auth"


class Patterns(NamedTuple):
    """Patterns of a URL and of a secret parameter; the last group of each is the part that may hold a secret."""

    url: "re.Pattern[str]"
    parameter: "re.Pattern[str]"


def _patterns(url: str, value: str) -> Patterns:
    flags = re.IGNORECASE | re.DOTALL
    return Patterns(
        re.compile(rf"([a-z0-9+.-]{{0,20}})://({url})", flags),
        re.compile(rf"[?&;](?:{SENSITIVE_NAME})=({value})", flags),
    )


TEXT_PATTERNS = _patterns(url=r"[^\s<>]*", value=r"""[^&\s"'<>]+""")
URL_PATTERNS = _patterns(url=".*", value="[^&]+")


def masked(text: str) -> str:
    """A text with the secrets of its URLs, and of its paths with a query, replaced by `MASK`."""
    return _masked(text, TEXT_PATTERNS)


def masked_url(text: str) -> str:
    """As `masked`, for a text that is a URL or a list of URLs; its passwords may hold any characters."""
    return _masked(text, URL_PATTERNS)


def masked_all(value: Any) -> Any:
    """As `masked`, for all texts in a value; an object other than a text, number or collection becomes its `repr`."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Mapping):
        return {masked_all(key): masked_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked_all(inner) for inner in value]
    return masked(repr(value))


def _masked(text: str, patterns: Patterns) -> str:
    """Hides userinfo and parameters; where both overlap, as one part."""
    if "=" not in text and "://" not in text:  # true for almost all texts
        return text
    shown, end = [], 0
    for start, stop in sorted((*_userinfo(text, patterns.url), *_values(text, patterns.parameter))):
        if start >= end:
            shown += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*shown, text[end:]])


def _userinfo(text: str, pattern: "re.Pattern[str]") -> Iterator[tuple[int, int]]:
    """Of each URL, all up to its last `@`: a password may hold an `@` that should have been escaped."""
    for match in pattern.finditer(text):
        start = match.start(2)
        for url in match[2].split(next_one := f",{match[1]}://"):
            if "@" in url:
                yield start, start + url.rfind("@")
            start += len(url) + len(next_one)


def _values(text: str, pattern: "re.Pattern[str]") -> Iterator[tuple[int, int]]:
    return (match.span(1) for match in pattern.finditer(text))
