"""Adaptive methods: any direction over the root of any magnitude.

Source: Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", algorithm 1.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import is_trainable
from gdjax.schedules import scheduled
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    chain,
    divide,
    lift,
    narrow,
    scalar,
    transformation,
    widen,
)
from gdjax.types import OptState, Params, Updates


def root(v: jax.Array) -> jax.Array:
    """√v whose derivative at 0 is 0, where that of the plain root is infinite."""
    zero = v == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, v)))


class AdaptiveState(NamedTuple):
    """The states of the two filters."""

    direction: OptState
    magnitude: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _Adaptive(Rule):
    direction: GradientTransformation
    magnitude: GradientTransformation
    eps: Any

    def init(self, params: Params) -> AdaptiveState:
        return AdaptiveState(self.direction.init(params), self.magnitude.init(params))

    def update(self, updates: Updates, state: AdaptiveState, params: Params | None = None, **extra: Any) -> tuple:
        wide = widen(updates)
        direction, direction_state = self.direction.update(wide, state.direction, params, **extra)
        magnitude, magnitude_state = self.magnitude.update(wide, state.magnitude, params, **extra)

        def ratio(numerator: jax.Array, square: jax.Array) -> jax.Array:
            if not is_trainable(numerator):
                return numerator
            square = jnp.real(square)
            denominator = root(square) + scalar("eps", self.eps, square.dtype)
            zero = denominator == 0  # With eps = 0, a coordinate that never saw a gradient stays where it is.
            return jnp.where(zero, 0, divide(numerator, jnp.where(zero, 1, denominator)))

        ratios = jax.tree.map(ratio, direction, magnitude)
        return narrow(ratios, updates), AdaptiveState(direction_state, magnitude_state)


def adaptive(
    *, direction: GradientTransformation | None = None, magnitude: GradientTransformation, eps: Any = 1e-8
) -> GradientTransformation:
    """φ(g) / (√ψ(g) + ε), coordinate by coordinate.

    Args:
      direction: φ, where to go: a transform; by default the gradient itself.
      magnitude: ψ, how large squared gradients are: a transform that answers with something at least 0.
      eps: ε ≥ 0, a number, a traced scalar or (under `clocked`) a schedule. With ε = 0 a coordinate of
        magnitude 0 gets the update 0.

    Returns:
      A transform; its arithmetic is float32 or wider also for 16-bit gradients.

    Raises:
      ValueError, TypeError: if `eps` is negative, or an argument is no transform.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import sum_of_squares
    >>> transform = adaptive(magnitude=sum_of_squares(), eps=0.0)
    >>> updates, state = transform.update(jnp.array([4.0, 0.0]), transform.init(jnp.zeros(2)))
    >>> updates.tolist()
    [1.0, 0.0]
    """
    direction = chain() if direction is None else lift("direction", direction)
    eps = scheduled(checks.non_negative, "eps", eps)
    return transformation(_Adaptive(direction, lift("magnitude", magnitude), eps))
