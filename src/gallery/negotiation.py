"""Content negotiation: reads the `Accept` header (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

WEIGHT = re.compile(r"\s*q\s*=\s*(1(?:\.0*)?|0(?:\.[0-9]*)?|\.[0-9]+)\s*", re.ASCII | re.IGNORECASE)
ANY = "*/*"
MAX_RANGES = 100  # browsers send ten


class MediaRange(NamedTuple):
    """A media type, `image/*` or `*/*`, in lower case without parameters, and its weight from 0 to 1."""

    name: str
    weight: float

    def matches(self, media_type: str) -> bool:
        return self.name in (media_type, f"{media_type.partition('/')[0]}/*", ANY)

    @property
    def specificity(self) -> int:
        return 0 if self.name == ANY else 1 if self.name.endswith("/*") else 2


def media_ranges(accept: str) -> list[MediaRange]:
    """The first `MAX_RANGES` in their order. A missing weight, and one that is not a number from 0 to 1, count as 1."""
    found = []
    for item in accept.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *parameters = item.split(";")
        weights = [match[1] for parameter in parameters if (match := WEIGHT.fullmatch(parameter))]
        found.append(MediaRange(name.strip().lower(), float(weights[0]) if weights else 1.0))
    return [media_range for media_range in found if media_range.name]


def best(accept: str | None, offered: Sequence[str]) -> str | None:
    """The type of `offered` that the client prefers; `None` if it accepts none of them.

    Among equal weights the more specific range wins, then the one that stands first in the header, then the type that
    is offered first. A missing or empty header accepts any type.
    """
    ranges = media_ranges(accept or "") or [MediaRange(ANY, 1.0)]
    ranked = []
    for rank, media_type in enumerate(offered):
        matching = [(r.specificity, -index, r.weight) for index, r in enumerate(ranges) if r.matches(media_type)]
        specificity, index, weight = max(matching, default=(0, 0, 0.0))
        if weight > 0:
            ranked.append((weight, specificity, index, -rank, media_type))
    return max(ranked)[-1] if ranked else None


def names_explicitly(accept: str, media_type: str) -> bool:
    """Whether the header accepts this exact type by name, not only by a wildcard."""
    return any(r.name == media_type and r.weight > 0 for r in media_ranges(accept))
