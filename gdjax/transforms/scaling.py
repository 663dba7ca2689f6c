"""The last factor of every optimizer: minus the learning rate."""

import dataclasses
from typing import Any

import jax

from gdjax import checks
from gdjax.dtypes import is_trainable
from gdjax.schedules import scheduled
from gdjax.transforms.base import GradientTransformation, Rule, multiply, narrow, scalar, transformation, widen
from gdjax.types import OptState, Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class _ScaleByLearningRate(Rule):
    learning_rate: Any

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        scaled = jax.tree.map(
            lambda u: multiply(-scalar("learning_rate", self.learning_rate, u.dtype), u) if is_trainable(u) else u,
            widen(updates),
        )
        return narrow(scaled, updates), state


def scale_by_learning_rate(learning_rate: Any) -> GradientTransformation:
    """U ← −α·u, the step downhill.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or (under `clocked`) a schedule.

    Raises:
      ValueError, TypeError: if it is negative, not finite or no scalar.
    """
    return transformation(_ScaleByLearningRate(scheduled(checks.non_negative, "learning_rate", learning_rate)))
