"""AdaDelta's units: a step measured by the steps before it instead of by a learning rate."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import real_dtype
from gdjax.schedules import non_negative
from gdjax.transforms.adaptive_methods import safe_root
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    divide,
    elementwise,
    multiply,
    scalar,
    transformation,
    widen,
)
from gdjax.transforms.filters import has_one_memory, kept, remember
from gdjax.types import Params, Updates, state


@state
class UnitCorrectedState(NamedTuple):
    """Two memories of one filter."""

    gradients: Any
    steps: Any


@dataclasses.dataclass(frozen=True, eq=False)
class _UnitCorrected(Rule):
    filter: GradientTransformation
    eps_root: Any

    def init(self, params: Params) -> UnitCorrectedState:
        return UnitCorrectedState(self.filter.init(params).memory, self.filter.init(params).memory)

    def update(self, updates: Updates, state: UnitCorrectedState, params: Params | None = None, **extra: Any) -> tuple:
        step = self.filter.rule.step
        gradients = remember(step, updates, state.gradients)

        def scaled(g: jax.Array, of_gradients: jax.Array, of_steps: jax.Array) -> jax.Array:
            real = real_dtype(g.dtype)
            eps = scalar("eps_root", self.eps_root, real)
            size = safe_root(of_gradients.astype(real) + eps)
            zero = size == 0  # without an ε, where no gradient was seen
            moved = multiply(safe_root(of_steps.astype(real) + eps), g)
            return jnp.where(zero, 0, divide(moved, jnp.where(zero, 1, size)))

        steps = elementwise(scaled, widen(updates), gradients, state.steps)
        memory = remember(step, steps, state.steps)
        state = UnitCorrectedState(kept(gradients, state.gradients), kept(memory, state.steps))
        return elementwise(lambda g, s: s.astype(g.dtype), updates, steps), state


def unit_corrected(filter: GradientTransformation, *, eps_root: Any = 1e-6) -> GradientTransformation:
    """Δ = √(d + ε) / √(s + ε) · g, where one filter remembers gradients, s, and its own steps, d, one step behind.

    The step has the unit of a parameter, as Newton's has, so that a learning rate of one is natural.

    Args:
      filter: a filter of magnitudes, `ema_of_squares(rho)`.
      eps_root: ε ≥ 0, a number, a traced scalar or (under `clocked`) a schedule. With 0 nothing ever moves.

    Raises:
      ValueError, TypeError: if ε is negative, or `filter` is no filter.

    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method", algorithm 1.
    """
    if not has_one_memory(filter):
        raise TypeError(f"`filter` must be a filter such as `ema_of_squares(0.9)`, got {filter!r}.")
    return transformation(_UnitCorrected(filter, non_negative("eps_root", eps_root)))
