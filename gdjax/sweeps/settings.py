"""What a sweep varies: names and their values, and the optimizers made of them, stacked into one.

An optimizer is a pytree of its hyperparameters; many of one structure are one optimizer whose leaves have a leading
axis. A factory of optax locks its numbers in closures: here its call becomes a transform with those numbers as leaves.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gdjax import checks
from gdjax.transforms.base import GradientTransformation, lift
from gdjax.transforms.factories import from_factory


class Range(NamedTuple):
    """Where `random_points` draws a hyperparameter from. Make one with `uniform` or `log_uniform`."""

    low: float
    high: float
    logarithmic: bool


def uniform(low: float, high: float) -> Range:
    """Evenly between two numbers.

    Raises:
      ValueError, TypeError: if they are not finite, or `low` is not below `high`.
    """
    return _range(low, high, logarithmic=False)


def log_uniform(low: float, high: float) -> Range:
    """Evenly in the logarithm between two positive numbers: each decade is as likely as the next.

    Raises:
      ValueError, TypeError: if they are not positive and finite, or `low` is not below `high`.
    """
    return _range(checks.positive("low", low), high, logarithmic=True)


def _range(low: Any, high: Any, *, logarithmic: bool) -> Range:
    least = float(checks.number("low", low, "be finite", math.isfinite))
    rule = f"be finite and above `low`, {least!r}"
    return Range(least, float(checks.number("high", high, rule, lambda x: least < x < math.inf)), logarithmic)


def random_points(count: int, ranges: Mapping[str, Range], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Settings drawn at random, for `sweep(..., points=...)`.

    Args:
      count: how many.
      ranges: {name: `uniform(low, high)` or `log_uniform(low, high)`}.
      seed: what the draw follows from.

    Returns:
      {name: float64 [count]}.

    Raises:
      ValueError, TypeError: if an argument is wrong.

    >>> random_points(3, {"learning_rate": log_uniform(1e-4, 1e-1)})["learning_rate"].shape
    (3,)

    Source: Bergstra & Bengio (2012), "Random search for hyper-parameter optimization".
    """
    count = checks.integer("count", count, least=1)
    if not isinstance(ranges, Mapping) or not ranges or not all(isinstance(r, Range) for r in ranges.values()):
        raise TypeError(f"`ranges` must be a dict of name to `uniform(...)` or `log_uniform(...)`, got {ranges!r}.")
    draw = np.random.default_rng(checks.integer("seed", seed, least=0))
    points = {}
    for name, (low, high, logarithmic) in ranges.items():
        if logarithmic:
            points[name] = np.exp(draw.uniform(math.log(low), math.log(high), count))
        else:
            points[name] = draw.uniform(low, high, count)
    return points


def points_of(grid: Any, points: Any) -> dict[str, list]:
    """{name: values, all of one length} of a grid, whose last name varies fastest, or of points.

    Raises:
      ValueError, TypeError: if both or neither are given, names are no strings, or values no arrays of one length.
    """
    if (grid is None) == (points is None):
        raise TypeError(f"one of `grid` and `points` must be given, got {'neither' if grid is None else 'both'}.")
    name, given = ("grid", grid) if points is None else ("points", points)
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(f"`{name}` must be a dict of hyperparameter names to arrays of values, got {given!r}.")
    if not given:
        raise ValueError(f"`{name}` must name at least one hyperparameter, got {given!r}.")
    values = {key: _values(f"{name}[{key!r}]", value) for key, value in given.items()}
    if points is None:
        return dict(zip(values, map(list, zip(*itertools.product(*values.values()), strict=True)), strict=True))
    first, count = next((key, len(value)) for key, value in values.items())
    for key, value in values.items():
        if len(value) != count:
            raise ValueError(
                f"`points[{key!r}]` must be as long as `points[{first!r}]`, {count}, got {len(value)} values."
            )
    return values


def _values(name: str, given: Any) -> list:
    if isinstance(given, str | bytes) or not (isinstance(given, Iterable) and getattr(given, "shape", (1,))):
        raise TypeError(f"`{name}` must be a list or an array of values, got {given!r}.")
    values = list(np.asarray(given)) if isinstance(given, jax.Array) else list(given)
    if not values:
        raise ValueError(f"`{name}` must hold at least one value, got {given!r}.")
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def parameter_names(function: Callable, skipped: int = 0) -> tuple[set[str], bool]:
    """(the names that a function takes by keyword beyond its first few, whether it takes any others)."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature may take anything
        return set(), True
    named = {p.name for p in parameters[skipped:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


class Group(NamedTuple):
    """Settings whose optimizers have one structure, and so one program."""

    places: np.ndarray
    """Which of the settings they are [settings of the group]."""
    optimizer: GradientTransformation
    """All of them as one, leaves with a leading axis."""


def groups_of(factory: Callable, settings: list[dict[str, Any]]) -> list[Group]:
    """Optimizers of all settings, stacked where their structure is the same.

    Raises:
      TypeError: if the factory does not return a transform, or one of another library cannot be traced.
    """
    made = [_made(factory, setting) for setting in settings]
    if jax.tree.structure(made[0]) != jax.tree.structure(_made(factory, settings[0])):  # its numbers hide in closures
        made = [from_factory(factory, setting) for setting in settings]
    structures: dict[Any, list[int]] = {}
    for place, optimizer in enumerate(made):
        structures.setdefault(jax.tree.structure(optimizer), []).append(place)
    return [
        Group(np.asarray(places), jax.tree.map(_stacked, *(made[place] for place in places)))
        for places in structures.values()
    ]


def _stacked(*leaves: Any) -> np.ndarray:
    array = np.stack(leaves)
    return array.astype(np.int32) if array.dtype.kind == "i" else array  # a Python integer would not widen others


def _made(factory: Callable, setting: dict[str, Any]) -> GradientTransformation:
    return lift("what `optimizer` returns", factory(**setting))
