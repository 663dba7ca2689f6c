"""Transitions: from one value to another in a known time, then for ever the other."""

from typing import Any

import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import Position, Schedule, as_float, count, registered
from gdjax.types import Number

# optax has these formulas, but refuses a traced number of steps, and its differences cancel in float32: at the last of
# 1,000 steps its cosine is off by 2.5e-3 of the value, its line to 0 by 7e-5; here it is 1e-6.


@registered
class _Linear(Schedule):
    init_value: Any
    end_value: Any
    transition_steps: Any

    def at(self, position: Position) -> Any:
        done, left = position.progress(self.transition_steps)
        return as_float(self.init_value) * left + as_float(self.end_value) * done


def linear(init_value: Number, end_value: Number, transition_steps: int) -> Schedule:
    """A straight line, α(t) = α₀ + (α₁ − α₀)·t/T until T, then α₁.

    Args:
      init_value: α₀, the value on the first update, at least 0.
      end_value: α₁, the value from T on, at least 0.
      transition_steps: T, steps (or epochs, under `per_epoch`), at least 1.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = linear(1.0, 0.0, 4)
    >>> [float(schedule(t)) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return _Linear(
        checks.non_negative("init_value", init_value),
        checks.non_negative("end_value", end_value),
        count("transition_steps", transition_steps),
    )


@registered
class _Polynomial(Schedule):
    init_value: Any
    end_value: Any
    power: Any
    transition_steps: Any

    def at(self, position: Position) -> Any:
        done, left = position.progress(self.transition_steps)
        power = as_float(self.power)
        remaining = jnp.power(left, power)
        # 1 − (1 − x)ᵖ cancels where x is small.
        made = jnp.where(done < 0.5, -jnp.expm1(power * jnp.log1p(-jnp.minimum(done, 0.5))), 1 - remaining)
        return as_float(self.init_value) * remaining + as_float(self.end_value) * made


def polynomial(init_value: Number, end_value: Number, power: Number, transition_steps: int) -> Schedule:
    """α(t) = α₁ + (α₀ − α₁)·(1 − t/T)ᵖ until T, then α₁; `linear` bent by a power.

    Args:
      init_value: α₀, as in `linear`.
      end_value: α₁, as in `linear`.
      power: p, above 0; above 1 it is fast at first, below 1 at last.
      transition_steps: T, as in `linear`.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = polynomial(1.0, 0.2, 2, 4)
    >>> [round(float(schedule(t)), 4) for t in (0, 1, 2, 4, 5)]
    [1.0, 0.65, 0.4, 0.2, 0.2]
    """
    return _Polynomial(
        checks.non_negative("init_value", init_value),
        checks.non_negative("end_value", end_value),
        checks.positive("power", power),
        count("transition_steps", transition_steps),
    )


@registered
class _CosineDecay(Schedule):
    init_value: Any
    decay_steps: Any
    alpha: Any
    exponent: Any

    def at(self, position: Position) -> Any:
        _, left = position.progress(self.decay_steps)
        wave = jnp.power(half_wave(left), as_float(self.exponent))
        alpha = as_float(self.alpha)
        return as_float(self.init_value) * (alpha + (1 - alpha) * wave)


def half_wave(x: Any) -> Any:
    """(1 − cos πx)/2, written as a square because the difference would cancel where it is small."""
    return jnp.sin(jnp.pi / 2 * x) ** 2


def cosine_decay(init_value: Number, decay_steps: int, *, alpha: Number = 0.0, exponent: Number = 1.0) -> Schedule:
    """Half a cosine, α(t) = α₀ · (a + (1 − a)·((1 + cos(π·t/T))/2)ᵖ) until T, then a·α₀.

    Args:
      init_value: α₀, the value on the first update, at least 0.
      decay_steps: T, steps (or epochs, under `per_epoch`), at least 1.
      alpha: a, the share of α₀ at which it ends, in [0, 1].
      exponent: p, above 0.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = cosine_decay(1.0, 4)
    >>> [round(float(schedule(t)), 4) for t in range(6)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]

    Source: Loshchilov & Hutter (2017), "SGDR: Stochastic gradient descent with warm restarts", equation 5.
    """
    return _CosineDecay(
        checks.non_negative("init_value", init_value),
        count("decay_steps", decay_steps),
        checks.number("alpha", alpha, "lie in [0, 1]", lambda x: 0 <= x <= 1),
        checks.positive("exponent", exponent),
    )
