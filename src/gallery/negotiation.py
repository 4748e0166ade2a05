"""Content negotiation: what an `Accept` header (RFC 9110, section 12.5.1) asks for."""

import re
from collections.abc import Sequence
from typing import NamedTuple

WEIGHT = re.compile(r"\s*q\s*=\s*(1(?:\.0*)?|0(?:\.[0-9]*)?|\.[0-9]+)\s*", re.ASCII | re.IGNORECASE)
ANY = "*/*"
MAX_RANGES = 100  # browsers name ten


class MediaRange(NamedTuple):
    """A type, `image/*` or `*/*`, in lower case and without its parameters; the weight is 0 to 1."""

    name: str
    weight: float

    def matches(self, media_type: str) -> bool:
        return self.name in (media_type, f"{media_type.partition('/')[0]}/*", ANY)

    @property
    def specificity(self) -> int:
        return 0 if self.name == ANY else 1 if self.name.endswith("/*") else 2


def media_ranges(accept: str) -> list[MediaRange]:
    """The first `MAX_RANGES` in their order. A weight that is no number from 0 to 1 counts as none, which is 1."""
    found = []
    for item in accept.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *parameters = item.split(";")
        weights = [match[1] for parameter in parameters if (match := WEIGHT.fullmatch(parameter))]
        found.append(MediaRange(name.strip().lower(), float(weights[0]) if weights else 1.0))
    return [media_range for media_range in found if media_range.name]


def best(accept: str | None, offered: Sequence[str]) -> str | None:
    """The type of `offered` that a client wants most; `None` if it takes none of them.

    Of types with the same weight the one that is named more exactly wins, then the one that is named first, then the
    one that is offered first. Without the header, or with an empty one, any type is welcome.
    """
    ranges = media_ranges(accept or "") or [MediaRange(ANY, 1.0)]
    ranked = []
    for rank, media_type in enumerate(offered):
        matching = [(r.specificity, -place, r.weight) for place, r in enumerate(ranges) if r.matches(media_type)]
        specificity, index, weight = max(matching, default=(0, 0, 0.0))
        if weight > 0:
            ranked.append((weight, specificity, index, -rank, media_type))
    return max(ranked)[-1] if ranked else None


def names_explicitly(accept: str, media_type: str) -> bool:
    """Whether a client wants this very type, and not only any type or any of its kind."""
    return any(r.name == media_type and r.weight > 0 for r in media_ranges(accept))
