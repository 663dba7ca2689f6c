"""Warm-ups: a straight line up to where a schedule begins."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import Position, Schedule, as_float, as_integer, count, part, registered
from gdjax.schedules.combinators import join
from gdjax.schedules.constants import constant
from gdjax.schedules.transitions import linear
from gdjax.types import Number


@registered
class _Warmup(Schedule):
    schedule: Any
    warmup_steps: Any
    init_value: Any

    def at(self, position: Position) -> Any:
        # Not a `join` with a line whose end was read off when it was made: the schedule's numbers may be traced.
        done, left = position.progress(jnp.maximum(as_integer(self.warmup_steps), 1))
        peak = as_float(self.schedule.at(position.start))
        after = as_float(self.schedule.at(position.since(self.warmup_steps)))
        return jnp.where(position.reached(self.warmup_steps), after, as_float(self.init_value) * left + peak * done)


def warmup(schedule: Callable, warmup_steps: int, *, init_value: Number = 0.0) -> Schedule:
    """Linear warm-up before any schedule, which then counts from the end of the warm-up.

    α(t) = (1 − t/W)·α₀ + t/W·schedule(0) for t < W, then schedule(t − W).

    Args:
      schedule: any schedule.
      warmup_steps: W, steps (or epochs, under `per_epoch`), at least 0; with 0 the first update is at the peak.
      init_value: α₀, the value on the first update where W > 0, at least 0; at 0 that update moves nothing.

    Raises:
      ValueError, TypeError: if a number is out of its range, or `schedule` is no function of the step or has units of
        its own.

    >>> from gdjax.schedules import step_decay
    >>> schedule = warmup(step_decay(1.0, 2), 4)
    >>> [float(schedule(t)) for t in range(7)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5]

    Source: Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 2.2.
    """
    return _Warmup(
        part("schedule", schedule),
        count("warmup_steps", warmup_steps, least=0),
        checks.non_negative("init_value", init_value),
    )


def warmup_stable_decay(
    peak_value: Number,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    *,
    init_value: Number = 0.0,
    end_value: Number = 0.0,
) -> Schedule:
    """Up in a straight line, long at the peak, down in a straight line.

    Args:
      peak_value: the value between warm-up and decay, at least 0.
      warmup_steps: length of the warm-up, at least 0, as in `warmup`.
      stable_steps: how long the peak stays, at least 0.
      decay_steps: length of the decay, at least 1; all in steps (or epochs, under `per_epoch`).
      init_value: the value on the first update, at least 0, as in `warmup`.
      end_value: the value after the decay, at least 0.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = warmup_stable_decay(1.0, 2, 3, 2)
    >>> [float(schedule(t)) for t in range(9)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]

    Source: Hu et al. (2024), "MiniCPM: Unveiling the potential of small language models", section 4.
    """
    peak_value = checks.non_negative("peak_value", peak_value)
    stable_steps = count("stable_steps", stable_steps, least=0)
    end_value, decay_steps = checks.non_negative("end_value", end_value), count("decay_steps", decay_steps)
    stable_decay = join([constant(peak_value), linear(peak_value, end_value, decay_steps)], [stable_steps])
    return warmup(stable_decay, warmup_steps, init_value=init_value)
