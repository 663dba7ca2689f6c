"""Memories of the largest: magnitudes that shrink slowly, or never."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules import complement, non_negative
from gdjax.transforms.base import GradientTransformation, chain, lift, scalar, transformation
from gdjax.transforms.filters import Decaying, Filter, FilterState, answer, bounded, interpolate
from gdjax.types import Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class _RunningMax(Filter):
    def signal(self, x: jax.Array) -> jax.Array:
        return jnp.real(x)

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.maximum(v, self.signal(x))

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        _, state = super().update(updates, state, params, **extra)
        return answer(state.memory, updates), state  # what is kept, or it would shrink by its rounding


def running_max(filter: GradientTransformation, *, accumulator_dtype: Any = None) -> GradientTransformation:
    """The largest answer of a transform so far, coordinate by coordinate, at least 0: AMSGrad's long memory.

    Args:
      filter: a transform whose answers are real, such as `ema_of_squares(b2)`, corrected or not.
      accumulator_dtype: the float dtype in which the maximum is kept; by default the parameters', at least float32.

    Raises:
      TypeError: if `filter` is no transform, or the dtype is no float.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import ema
    >>> largest = running_max(ema(0.0))
    >>> state = largest.init(jnp.array(0.0))
    >>> for gradient in (2.0, 1.0):
    ...     updates, state = largest.update(jnp.array(gradient), state)
    >>> float(updates)
    2.0

    Source: Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", algorithm 2.
    """
    largest = _RunningMax(accumulator_dtype=checks.float_type(accumulator_dtype))
    return chain(lift("filter", filter), transformation(largest))


@dataclasses.dataclass(frozen=True, eq=False)
class _EmaOfMax(Decaying):
    eps: Any

    def signal(self, x: jax.Array) -> jax.Array:
        size = jnp.abs(x)
        return bounded(size + scalar("eps", self.eps, size.dtype))

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.maximum(interpolate(v, jnp.zeros_like(v), self.leak(v.dtype)), self.signal(x))


def ema_of_max(
    decay: Any, *, eps: Any = 0.0, accumulator_dtype: Any = None, name: str = "decay"
) -> GradientTransformation:
    """The largest gradient, slowly forgotten: v ← max(β·v, |g| + ε).

    Args:
      decay: β in [0, 1), a number, a traced scalar or (under `clocked`) a schedule.
      eps: ε ≥ 0, likewise.
      accumulator_dtype: the float dtype in which v is kept; by default the parameters', at least float32.
      name: what an error calls `decay`.

    Raises:
      ValueError, TypeError: if a number is out of range or no scalar, or the dtype is no float.

    Source: Kingma & Ba (2015), "Adam", section 7.1 (AdaMax), the limit of the p-norm.
    """
    eps = non_negative("eps", eps)
    dtype = checks.float_type(accumulator_dtype)
    return transformation(_EmaOfMax(complement(name, decay), eps, name=name, accumulator_dtype=dtype))
