"""Cycles: up to a peak and down again, over and over or once."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import Position, Schedule, as_float, as_integer, count, registered
from gdjax.schedules.transitions import half_wave
from gdjax.types import Number


@registered
class _Cyclic(Schedule):
    init_value: Any
    peak_value: Any
    transition_steps: Any
    decay_rate: Any

    def at(self, position: Position) -> Any:
        whole, steps = as_integer(position.whole), as_integer(self.transition_steps)
        half = whole // steps
        done, left = position._replace(whole=whole % steps).progress(steps)
        rising = half % 2 == 0
        low, high = jnp.where(rising, left, done), jnp.where(rising, done, left)
        amplitude = jnp.power(as_float(self.decay_rate), as_float(half // 2))
        init_value = as_float(self.init_value)
        peak = init_value * (1 - amplitude) + as_float(self.peak_value) * amplitude
        return init_value * low + peak * high


def cyclic(init_value: Number, peak_value: Number, transition_steps: int, *, decay_rate: Number = 1.0) -> Schedule:
    """Triangles: from α₀ up to a peak in T, down again in T, and so on.

    In cycle k (of 2·T) the peak is α₀ + (α₁ − α₀)·rᵏ.

    Args:
      init_value: α₀, the value on the first update and between the triangles, at least 0.
      peak_value: α₁, the first peak, at least 0.
      transition_steps: T, half a cycle in steps (or epochs, under `per_epoch`), at least 1.
      decay_rate: r, the height of each triangle beside the one before, at least 0; 0.5 is the paper's triangular2.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = cyclic(0.0, 1.0, 2, decay_rate=0.5)
    >>> [float(schedule(t)) for t in range(8)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]

    Source: Smith (2017), "Cyclical learning rates for training neural networks", section 3, where T is the stepsize.
    """
    return _Cyclic(
        checks.non_negative("init_value", init_value),
        checks.non_negative("peak_value", peak_value),
        count("transition_steps", transition_steps),
        checks.non_negative("decay_rate", decay_rate),
    )


@registered
class _OneCycle(Schedule):
    peak_value: Any
    peak_step: Any
    transition_steps: Any
    div_factor: Any
    final_div_factor: Any

    def at(self, position: Position) -> Any:
        peak_step = as_integer(self.peak_step)
        peak = as_float(self.peak_value)
        init_value = peak / as_float(self.div_factor)
        rise = position.progress(jnp.maximum(peak_step, 1))
        fall = position.since(peak_step).progress(as_integer(self.transition_steps) - peak_step)
        return jnp.where(
            position.reached(peak_step),
            _wave(peak, init_value / as_float(self.final_div_factor), *fall),
            _wave(init_value, peak, *rise),
        )


def _wave(start: jax.Array, end: jax.Array, done: jax.Array, left: jax.Array) -> jax.Array:
    return start * half_wave(left) + end * half_wave(done)


def one_cycle(
    transition_steps: int,
    peak_value: Number,
    *,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Half a cosine up to the peak α, at ⌊p·T⌋, and half a cosine down until T, far below the beginning.

    It begins at α/d and ends at α/(d·D).

    Args:
      transition_steps: T, the whole length in steps (or epochs, under `per_epoch`), at least 1.
      peak_value: α, at least 0.
      pct_start: p, the share of T that rises, in [0, 1).
      div_factor: d, the peak over the first value, above 0.
      final_div_factor: D, the first value over the last one, above 0.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = one_cycle(10, 1.0)
    >>> [round(float(schedule(t)), 4) for t in (0, 3, 5, 10, 11)]
    [0.04, 1.0, 0.8117, 0.0, 0.0]

    Source: Smith & Topin (2018), "Super-convergence: Very fast training of neural networks using large learning rates",
    with cosines for lines, as fast.ai has it.
    """
    transition_steps = count("transition_steps", transition_steps)
    pct_start = checks.number("pct_start", pct_start, "lie in [0, 1)", lambda x: 0 <= x < 1)
    if isinstance(pct_start, float) and isinstance(transition_steps, int):
        # In float32, 0.29 of 100 steps would be one step more.
        peak_step: Any = min(int(pct_start * transition_steps), transition_steps - 1)
    else:
        last = as_integer(transition_steps) - 1
        peak_step = jnp.minimum(jnp.floor(as_float(pct_start) * as_float(transition_steps)).astype(last.dtype), last)
    return _OneCycle(
        checks.non_negative("peak_value", peak_value),
        peak_step,
        transition_steps,
        checks.positive("div_factor", div_factor),
        checks.positive("final_div_factor", final_div_factor),
    )
