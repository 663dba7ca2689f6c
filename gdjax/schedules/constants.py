"""Constants: a value that stays, or changes only at a few boundaries."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import MOST_UNITS, Position, Schedule, as_float, count, registered
from gdjax.types import Number


@registered
class _Constant(Schedule):
    value: Any

    def at(self, position: Position) -> Any:
        return as_float(self.value)


def constant(value: Number) -> Schedule:
    """α(t) = α₀, for parts of a `join` and factors of a `product`; elsewhere the number itself will do.

    Args:
      value: α₀, at least 0.

    Raises:
      ValueError, TypeError: if it is out of range.

    >>> float(constant(0.5)(1000))
    0.5
    """
    return _Constant(checks.non_negative("value", value))


@registered
class _PiecewiseConstant(Schedule):
    init_value: Any
    boundaries: tuple
    scales: tuple

    def at(self, position: Position) -> Any:
        # optax's has its boundaries in a dictionary's keys, where nothing traced can be.
        value = as_float(self.init_value)
        for boundary, scale in zip(self.boundaries, self.scales, strict=True):
            value = jnp.where(position.reached(boundary), as_float(scale), 1) * value
        return value


def piecewise_constant(init_value: Number, boundaries_and_scales: Mapping[int, Number]) -> Schedule:
    """α(t) = α₀ · Π sᵢ over all boundaries bᵢ ≤ t: the new value acts at the boundary.

    Args:
      init_value: α₀, the value on the first update, at least 0.
      boundaries_and_scales: bᵢ (steps, or epochs under `per_epoch`, at least 1) to sᵢ (at least 0), in any order.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = piecewise_constant(1.0, {10: 0.5, 20: 0.1})
    >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.05]
    """
    if not isinstance(boundaries_and_scales, Mapping):
        raise TypeError(
            f"`boundaries_and_scales` must be a dictionary from boundary to scale, got {boundaries_and_scales!r}."
        )
    name = "boundaries_and_scales"
    for i, boundary in enumerate(boundaries_and_scales):
        checks.integer(f"list({name})[{i}]", boundary, least=1, most=MOST_UNITS)
    boundaries = tuple(sorted(boundaries_and_scales))
    return _PiecewiseConstant(
        checks.non_negative("init_value", init_value),
        tuple(map(int, boundaries)),
        tuple(checks.non_negative(f"{name}[{boundary}]", boundaries_and_scales[boundary]) for boundary in boundaries),
    )


@registered
class _Window(Schedule):
    start: Any
    stop: Any

    def at(self, position: Position) -> Any:
        inside = position.reached(self.start)
        if self.stop is not None:
            inside &= ~position.reached(self.stop)
        return jnp.where(inside, as_float(1), as_float(0))


def window(start: int, stop: int | None = None) -> Schedule:
    """1 from unit `start` on and 0 from `stop` on, 0 before: what to count, and what not.

    Args:
      start: the first step (or epoch, under `per_epoch`) that counts, at least 0.
      stop: the first that does not count any more, at least 0; None for none.

    Raises:
      ValueError, TypeError: if an argument is out of its range.

    >>> schedule = window(10, 20)
    >>> [int(schedule(t)) for t in (0, 9, 10, 19, 20)]
    [0, 0, 1, 1, 0]
    """
    return _Window(count("start", start, least=0), None if stop is None else count("stop", stop, least=0))
