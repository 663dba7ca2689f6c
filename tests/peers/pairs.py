"""All pairs: few rows of settings in which any two values of any two options meet.

Most faults of a combination lie in two of its settings. Where n options of v values have vⁿ rows, some
v² to 2v² are enough for every pair.
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def combinations(options: Mapping[str, Sequence], allowed: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Every allowed row, the first values first."""
    rows = (dict(zip(options, values, strict=True)) for values in itertools.product(*options.values()))
    return [row for row in rows if allowed(row)]


def pairs_of(row: Row) -> frozenset:
    """Any two settings of a row; of a row of one setting, that one."""
    return frozenset(itertools.combinations(row.items(), min(2, len(row))))


def all_pairs(options: Mapping[str, Sequence], allowed: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Allowed rows that hold every pair any allowed row holds; few, and always the same.

    Args:
      options: name to values; the row of the first values, the defaults, comes first where it is allowed.
      allowed: whether a row may be; a pair that stands in no such row is left out.

    >>> [tuple(row.values()) for row in all_pairs({"a": (0, 1), "b": (0, 1), "c": (0, 1)})]
    [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    """
    first, *others = [(row, pairs_of(row)) for row in combinations(options, allowed)]
    tries = [_greedy(first, random.Random(seed).sample(others, len(others))) for seed in range(6)]
    rows = min(tries, key=len)
    return [rows[0], *sorted(rows[1:], key=combinations(options, allowed).index)]


def _greedy(first: tuple[Row, frozenset], others: list[tuple[Row, frozenset]]) -> list[Row]:
    """The first row, then always one that holds the most of what is missing."""
    rows, missing = [first[0]], frozenset().union(*(pairs for _, pairs in others)) - first[1]
    while missing:
        row, pairs = max(others, key=lambda other: len(other[1] & missing))
        rows.append(row)
        missing -= pairs
    return rows
