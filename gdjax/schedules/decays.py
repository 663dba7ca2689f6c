"""Decays: values that fall for ever, by a law of the time passed."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import Position, Schedule, as_float, as_integer, count, registered, static
from gdjax.types import Number


@registered
class _InverseTimeDecay(Schedule):
    init_value: Any
    decay_rate: Any
    transition_steps: Any
    staircase: bool = static()

    def at(self, position: Position) -> Any:
        return as_float(self.init_value) / (1 + as_float(self.decay_rate) * _periods(position, self))


@registered
class _ExponentialDecay(Schedule):
    init_value: Any
    decay_rate: Any
    transition_steps: Any
    staircase: bool = static()

    def at(self, position: Position) -> Any:
        return as_float(self.init_value) * jnp.power(as_float(self.decay_rate), _periods(position, self))


@registered
class _InverseSquareRoot(Schedule):
    init_value: Any
    transition_steps: Any

    def at(self, position: Position) -> Any:
        return as_float(self.init_value) / jnp.sqrt(1 + position.elapsed / as_float(self.transition_steps))


def _periods(position: Position, schedule: Any) -> jax.Array:
    if schedule.staircase:
        return as_float(jnp.floor_divide(as_integer(position.whole), as_integer(schedule.transition_steps)))
    return position.elapsed / as_float(schedule.transition_steps)


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
        count("transition_steps", transition_steps),
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
        count("transition_steps", transition_steps),
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


def inverse_square_root(init_value: Number, transition_steps: int) -> Schedule:
    """α(t) = α₀ / √(1 + t/T), the decay of long runs whose end nobody knows.

    Args:
      init_value: α₀, the value on the first update, at least 0.
      transition_steps: T, steps (or epochs, under `per_epoch`), at least 1; after 3·T the value has halved.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = inverse_square_root(1.0, 5)
    >>> [round(float(schedule(t)), 4) for t in (0, 5, 15)]
    [1.0, 0.7071, 0.5]

    Source: Vaswani et al. (2017), "Attention is all you need", equation 3 after its warm-up, whose end is t = 0 here.
    """
    return _InverseSquareRoot(
        checks.non_negative("init_value", init_value), count("transition_steps", transition_steps)
    )
