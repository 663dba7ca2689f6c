"""Momentum that grows with time."""

from typing import Any

import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules.base import Position, Schedule, as_float, registered
from gdjax.types import Number


@registered
class _NadamMomentum(Schedule):
    b1: Any
    momentum_decay: Any

    def at(self, position: Position) -> Any:
        exponent = (position.elapsed + 1) * as_float(self.momentum_decay)
        return as_float(self.b1) * (1 - 0.5 * jnp.power(as_float(0.96), exponent))


def nadam_momentum(b1: Number, momentum_decay: Number = 0.004) -> Schedule:
    """NAdam's momentum, β(t) = β₁·(1 − ½·0.96^((t + 1)·ψ)): from about half of β₁ up to β₁.

    Args:
      b1: β₁, the limit, in [0, 1).
      momentum_decay: ψ, how fast, at least 0; with 0 it stays at half of β₁.

    Raises:
      ValueError, TypeError: if a number is out of its range.

    >>> schedule = nadam_momentum(0.9)
    >>> [round(float(schedule(t)), 4) for t in (0, 1000, 100_000)]
    [0.4501, 0.5179, 0.9]

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam".
    """
    return _NadamMomentum(checks.decay("b1", b1), checks.non_negative("momentum_decay", momentum_decay))
