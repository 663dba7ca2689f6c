"""Combinators: schedules made of schedules."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import checks
from gdjax.schedules.base import (
    MOST_UNITS,
    Position,
    Schedule,
    as_float,
    as_integer,
    as_schedule,
    count,
    part,
    registered,
    static,
)
from gdjax.types import Number


@registered
class _Join(Schedule):
    schedules: tuple
    boundaries: tuple

    def at(self, position: Position) -> Any:
        value = as_float(self.schedules[0].at(position))
        for boundary, schedule in zip(self.boundaries, self.schedules[1:], strict=True):
            value = jnp.where(position.reached(boundary), as_float(schedule.at(position.since(boundary))), value)
        return value


def join(schedules: Sequence[Callable], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other: each counts from its own beginning.

    α(t) = αᵢ(t − bᵢ) for bᵢ ≤ t < bᵢ₊₁, where b₀ = 0.

    Args:
      schedules: any schedules, at least one.
      boundaries: b₁, b₂, …, where the second and every later one begins: one fewer than schedules, at least 0, never
        decreasing; steps (or epochs, under `per_epoch`).

    Raises:
      ValueError, TypeError: if the boundaries are out of range or too many or few, or a schedule is no function of the
        step or has units of its own.

    >>> from gdjax.schedules import constant, linear
    >>> schedule = join([constant(1.0), linear(1.0, 0.0, 2)], [3])
    >>> [float(schedule(t)) for t in range(6)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    parts = tuple(part(f"schedules[{i}]", schedule) for i, schedule in enumerate(schedules))
    if not parts:
        raise ValueError("`schedules` must hold at least one schedule, got none.")
    starts = tuple(count(f"boundaries[{i}]", boundary, least=0) for i, boundary in enumerate(boundaries))
    if len(starts) != len(parts) - 1:
        raise ValueError(f"`boundaries` must be one fewer than the {len(parts)} schedules, got {len(starts)}.")
    concrete = [start for start in starts if not isinstance(start, jax.core.Tracer)]
    if concrete != sorted(concrete):
        raise ValueError(f"`boundaries` must not decrease, got {list(starts)}.")
    return _Join(parts, starts)


@registered
class _Restarts(Schedule):
    schedule: Any
    period: Any
    factor: int = static()

    def at(self, position: Position) -> Any:
        whole, period = as_integer(position.whole), as_integer(self.period)
        if self.factor == 1:
            return self.schedule.at(position._replace(whole=whole % period))
        # Cycle k begins after Sₖ = 1 + f + … + fᵏ⁻¹ periods, and t ≥ Sₖ·T as soon as ⌊t/T⌋ ≥ Sₖ, so nothing overflows.
        begins, stretches = _cycles(self.factor)
        k = jnp.sum(whole // period >= as_integer(begins)) - 1
        within = whole - as_integer(begins)[k] * period
        # A stretch beyond the largest integer is that of a last cycle that never ends, nor reaches its first unit.
        stretch = as_integer(np.minimum(stretches, MOST_UNITS))[k]
        rest = as_float(within % stretch) + as_float(0 if position.fraction is None else position.fraction)
        return self.schedule.at(Position(within // stretch, rest / as_float(np.float64(stretches))[k]))


@functools.cache
def _cycles(factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Where cycles begin and how long they are, in periods, for every cycle that begins within the integers."""
    begins, stretches = [0], [1]
    while begins[-1] + stretches[-1] <= MOST_UNITS:
        begins.append(begins[-1] + stretches[-1])
        stretches.append(stretches[-1] * factor)
    return np.array(begins), np.array(stretches)


def restarts(schedule: Callable, period: int, *, factor: int = 1) -> Schedule:
    """Warm restarts: begin the schedule anew each cycle, and stretch it to a cycle that may grow.

    In cycle k, which lasts T·fᵏ and began at t₀, α(t) = schedule((t − t₀)/fᵏ).

    Args:
      schedule: any schedule, usually one that decays within `period`.
      period: T, the first cycle's length, steps (or epochs, under `per_epoch`), at least 1.
      factor: f, by which each cycle is longer than the one before, an integer, at least 1. It is part of the program's
        structure, not one of its numbers.

    Raises:
      ValueError, TypeError: if a number is out of its range, or `schedule` is no function of the step or has units of
        its own.

    >>> from gdjax.schedules import linear
    >>> schedule = restarts(linear(1.0, 0.0, 2), 2, factor=2)
    >>> [float(schedule(t)) for t in range(8)]
    [1.0, 0.5, 1.0, 0.75, 0.5, 0.25, 1.0, 0.875]

    Source: Loshchilov & Hutter (2017), "SGDR: Stochastic gradient descent with warm restarts", section 3, where T is T₀
    and f is T_mult.
    """
    return _Restarts(
        part("schedule", schedule),
        count("period", period),
        checks.integer("factor", factor, least=1, most=MOST_UNITS),
    )


@registered
class _Product(Schedule):
    factors: tuple

    def at(self, position: Position) -> Any:
        return self._of(lambda schedule: schedule.at(position))

    def __call__(self, step: Any, **position: Any) -> Any:
        return self._of(lambda schedule: schedule(step, **position))

    def _of(self, value: Callable[[Schedule], Any]) -> Any:
        values = [as_float(value(f) if isinstance(f, Schedule) else f) for f in self.factors]
        return functools.reduce(operator.mul, values)


def product(*factors: Callable | Number) -> Schedule:
    """The product of schedules and numbers, each in its own units: a warm-up in steps times a decay in epochs, say.

    Args:
      *factors: any schedules, and numbers of at least 0; at least one.

    Raises:
      ValueError, TypeError: if there is none, or one is neither a schedule nor a number in range.

    >>> from gdjax.schedules import linear, step_decay
    >>> schedule = product(0.5, linear(0.0, 1.0, 2), step_decay(1.0, 3))
    >>> [float(schedule(t)) for t in range(4)]
    [0.0, 0.25, 0.5, 0.25]
    """
    if not factors:
        raise ValueError("`factors` must hold at least one schedule or number, got none.")
    return _Product(
        tuple(
            as_schedule(f, name=f"factors[{i}]") if callable(f) else checks.non_negative(f"factors[{i}]", f)
            for i, f in enumerate(factors)
        )
    )


@registered
class _Ahead(Schedule):
    schedule: Any

    def at(self, position: Position) -> Any:
        return self.schedule.at(position._replace(whole=_next(position.whole)))

    def __call__(self, step: Any, **position: Any) -> Any:
        return self.schedule(_next(step), **position)


def _next(whole: Any) -> jax.Array:
    return jnp.asarray(optax.safe_increment(as_integer(whole)))


def ahead(schedule: Callable) -> Schedule:
    """The value one step later, schedule(t + 1).

    A schedule that is told the epoch is told no later one, so under `per_epoch` and `per_run` without their count of
    steps it is the present value. Inside of them, `per_epoch(ahead(schedule))`, it is the value one epoch later.

    Args:
      schedule: any schedule.

    Raises:
      TypeError: if `schedule` is no function of the step.

    >>> from gdjax.schedules import step_decay
    >>> [float(ahead(step_decay(1.0, 2))(t)) for t in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """
    return _Ahead(as_schedule(schedule))
