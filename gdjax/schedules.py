"""Schedules: pure functions `step -> value`, and pytrees of their numbers.

A schedule is evaluated at a *position*, whole units and a fraction of one. In steps the fraction is
0; `per_epoch` makes the unit an epoch. Staircases divide the whole units as integers, so a boundary
is never missed by rounding, however many steps there are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, dataclass_transform

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype
from gdjax.types import Number


class Position(NamedTuple):
    """Where a run stands, in units of a schedule."""

    whole: Any
    """Finished units, an integer scalar."""
    fraction: Any = None
    """The part of the unit under way, a float scalar in [0, 1); None where units are not divided."""

    @property
    def elapsed(self) -> jax.Array:
        """Units passed, as a float."""
        whole = jnp.asarray(self.whole).astype(float_dtype())
        return whole if self.fraction is None else whole + jnp.asarray(self.fraction, float_dtype())


class Schedule:
    """A callable pytree; its leaves are its numbers, so they can be traced, mapped and differentiated."""

    def at(self, position: Position) -> Any:
        """The value at a position, a float scalar."""
        raise TypeError(f"{type(self).__name__} is a schedule without a formula: it must define `at`.")

    def __call__(self, step: Any, *, epoch: Any = None, epoch_fraction: Any = None) -> Any:
        """The value that acts on update number `step` (0-based).

        Args:
          step: updates made so far, an integer scalar.
          epoch: epochs finished so far, an integer scalar; only `per_epoch` asks for it.
          epoch_fraction: the part of the current epoch that is done, in [0, 1).

        Returns:
          A float scalar.
        """
        return self.at(Position(step))


@dataclass_transform(frozen_default=True)
def _schedule(cls: type) -> Any:
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))


@_schedule
class _InverseTimeDecay(Schedule):
    init_value: Any
    decay_rate: Any
    transition_steps: Any
    staircase: bool = dataclasses.field(metadata={"static": True})

    def at(self, position: Position) -> Any:
        return self.init_value / (1 + self.decay_rate * _periods(position, self))


@_schedule
class _ExponentialDecay(Schedule):
    init_value: Any
    decay_rate: Any
    transition_steps: Any
    staircase: bool = dataclasses.field(metadata={"static": True})

    def at(self, position: Position) -> Any:
        return self.init_value * jnp.power(self.decay_rate, _periods(position, self))


def _periods(position: Position, schedule: Any) -> jax.Array:
    if schedule.staircase:
        return jnp.floor_divide(position.whole, schedule.transition_steps).astype(float_dtype())
    return position.elapsed / jnp.asarray(schedule.transition_steps).astype(float_dtype())


def inverse_time_decay(
    init_value: Number, decay_rate: Number, *, transition_steps: int = 1, staircase: bool = False
) -> Schedule:
    """The classic α(t) = α₀ / (1 + k·t/T).

    Args:
      init_value: α₀, the value on the first update, at least 0.
      decay_rate: k, at least 0; after 1/k periods the value has halved.
      transition_steps: T, steps (or epochs, under `per_epoch`) a period, at least 1.
      staircase: count whole periods only, so that the value changes once a period.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = inverse_time_decay(0.2, 1.0)
    >>> [round(float(schedule(t)), 4) for t in range(4)]
    [0.2, 0.1, 0.0667, 0.05]

    Source: Robbins & Monro (1951), "A stochastic approximation method", section 3: steps of order 1/t.
    """
    return _InverseTimeDecay(
        checks.non_negative("init_value", init_value),
        checks.non_negative("decay_rate", decay_rate),
        _period("transition_steps", transition_steps),
        bool(staircase),
    )


def exponential_decay(
    init_value: Number, transition_steps: int, decay_rate: Number, *, staircase: bool = False
) -> Schedule:
    """Geometric decay α(t) = α₀ · rᵗᐟᵀ.

    Args:
      init_value: α₀, the value on the first update, at least 0.
      transition_steps: T, steps (or epochs, under `per_epoch`) in which the value falls to r times itself.
      decay_rate: r, at least 0.
      staircase: count whole periods only, so that the value changes once a period.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = exponential_decay(1.0, 10, 0.5)
    >>> [round(float(schedule(t)), 4) for t in (0, 5, 10)]
    [1.0, 0.7071, 0.5]
    """
    return _ExponentialDecay(
        checks.non_negative("init_value", init_value),
        checks.non_negative("decay_rate", decay_rate),
        _period("transition_steps", transition_steps),
        bool(staircase),
    )


def step_decay(init_value: Number, transition_steps: int, decay_rate: Number = 0.5) -> Schedule:
    """Discrete staircase: halve (or multiply by `decay_rate`) every `transition_steps`.

    α(t) = α₀ · r^⌊t/T⌋, the staircase of `exponential_decay`, whose arguments it takes.

    >>> schedule = step_decay(0.8, 10)
    >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20)]
    [0.8, 0.8, 0.4, 0.2]
    """
    return exponential_decay(init_value, transition_steps, decay_rate, staircase=True)


@_schedule
class _PerEpoch(Schedule):
    schedule: Any
    steps_per_epoch: Any

    def __call__(self, step: Any, *, epoch: Any = None, epoch_fraction: Any = None) -> Any:
        if self.steps_per_epoch is not None:
            epoch = jnp.floor_divide(step, self.steps_per_epoch)
            done, steps = jnp.remainder(step, self.steps_per_epoch), jnp.asarray(self.steps_per_epoch)
            epoch_fraction = jnp.asarray(done).astype(float_dtype()) / steps.astype(float_dtype())
        if epoch is None:
            raise ValueError(
                "a schedule made by `per_epoch` must know the epoch: pass `epoch=` to `update`, "
                "or give `per_epoch(schedule, steps_per_epoch=...)`, got neither."
            )
        return self.schedule.at(Position(epoch, epoch_fraction))


def per_epoch(schedule: Callable, *, steps_per_epoch: int | None = None) -> Schedule:
    """Let any schedule speak in epochs instead of steps.

    A training run tells its optimizer the epoch. In a hand-written loop pass `epoch=` (and
    `epoch_fraction=`) to `update`, or say here how many steps an epoch has.

    Args:
      schedule: any schedule; its steps become epochs, and it also sees the fraction of the current one.
        For a value that changes only between epochs take a staircase.
      steps_per_epoch: updates an epoch, at least 1; None to be told the epoch.

    Raises:
      ValueError, TypeError: if `steps_per_epoch` is no positive integer.

    >>> schedule = per_epoch(step_decay(0.8, 2), steps_per_epoch=100)
    >>> [round(float(schedule(t)), 4) for t in (0, 199, 200)]
    [0.8, 0.8, 0.4]
    """
    if steps_per_epoch is not None:
        steps_per_epoch = _period("steps_per_epoch", steps_per_epoch)
    return _PerEpoch(as_schedule(schedule), steps_per_epoch)


@_schedule
class _Function(Schedule):
    function: Callable = dataclasses.field(metadata={"static": True})

    def at(self, position: Position) -> Any:
        return self.function(position.whole if position.fraction is None else position.elapsed)


@_schedule
class _Complement(Schedule):
    schedule: Any

    def __call__(self, step: Any, **position: Any) -> Any:
        return 1 - self.schedule(step, **position)


def as_schedule(schedule: Callable) -> Schedule:
    """Any `step -> value` function as a schedule; one of gdjax's own is itself.

    A function is part of a program's structure, not one of its numbers: another function object is
    another compilation.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if not callable(schedule):
        raise TypeError(f"`schedule` must be a function of the step, got {schedule!r}.")
    return _Function(schedule)


def scheduled(check: Callable[[str, Any], Number], name: str, value: Any) -> Any:
    """A hyperparameter: a schedule if it is callable, else a number that passes `check`."""
    return as_schedule(value) if callable(value) else check(name, value)


def complement(name: str, decay: Any) -> Any:
    """1 − decay, formed in double precision where decay is a number: float32 keeps it whole.

    β = 0.999 as a float32 is off by 1.3e-8, which is 1e-5 of 1 − β. A 16-bit array cannot even hold it: its 1.0
    is any decay that rounds to it (optax's `inject_hyperparams` hands such over), so 1 − β is at least half the
    distance to the number below.
    """
    dtype = getattr(decay, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits == 16:
        nearest = 1 - float(jnp.finfo(dtype).epsneg) / 2
        decay = jnp.minimum(jnp.asarray(decay, jnp.float32), nearest)
    decay = scheduled(checks.decay, name, decay)
    return _Complement(decay) if isinstance(decay, Schedule) else 1 - decay


def _period(name: str, value: Any) -> Any:
    return value if isinstance(value, jax.core.Tracer) else checks.integer(name, value, least=1, most=2**31 - 1)
