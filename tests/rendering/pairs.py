"""Every two values of different factors together in at least one row, in few rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]
Pair = tuple[str, Any, str, Any]


def pairwise(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda row: True) -> Iterator[Row]:
    """Greedy: each row is the one with the most pairs that no row had before. For some thousand possible rows."""
    rows = [row for values in product(*factors.values()) if allowed(row := dict(zip(factors, values, strict=True)))]
    pairs = [_pairs(row) for row in rows]
    left = set().union(*pairs)
    while left:
        best = max(range(len(rows)), key=lambda index: len(pairs[index] & left))
        left -= pairs[best]
        yield rows[best]


def _pairs(row: Row) -> set[Pair]:
    return {(one, row[one], other, row[other]) for one, other in combinations(row, 2)}
