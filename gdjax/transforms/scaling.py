"""Plain factors: minus the learning rate, the last of every optimizer, and dampening."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules import non_negative, scheduled
from gdjax.transforms.base import GradientTransformation, Rule, elementwise, multiply, scalar, transformation
from gdjax.types import OptState, Params, Updates, state


@dataclasses.dataclass(frozen=True, eq=False)
class _ScaleByLearningRate(Rule):
    learning_rate: Any

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        return elementwise(lambda u: multiply(-scalar("learning_rate", self.learning_rate, u.dtype), u), updates), state


def scale_by_learning_rate(learning_rate: Any) -> GradientTransformation:
    """The step downhill, u ← −α·u.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or (under `clocked`) a schedule.

    Raises:
      ValueError, TypeError: if it is negative, not finite or no scalar.
    """
    return transformation(_ScaleByLearningRate(non_negative("learning_rate", learning_rate)))


@state
class DampenState(NamedTuple):
    """Whether a gradient has been seen."""

    started: jax.Array
    """bool, shape ()."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Dampen(Rule):
    dampening: Any

    def init(self, params: Params) -> DampenState:
        return DampenState(jnp.zeros((), bool))

    def update(self, updates: Updates, state: DampenState, params: Params | None = None, **extra: Any) -> tuple:
        def damped(u: jax.Array) -> jax.Array:
            dampening = scalar("dampening", self.dampening, u.dtype)
            return multiply(jnp.where(state.started, 1 - dampening, 1), u)

        return elementwise(damped, updates), DampenState(jnp.ones((), bool))


def dampen(dampening: Any) -> GradientTransformation:
    """(1 − d)·g, but the first gradient whole: what PyTorch's momentum is fed.

    Args:
      dampening: d in [0, 1], a number, a traced scalar or (under `clocked`) a schedule.

    Raises:
      ValueError, TypeError: if it is out of range or no scalar.
    """
    return transformation(_Dampen(scheduled(checks.share, "dampening", dampening)))
