"""Trust ratio: a step as long as the layer's weights are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import is_trainable, real_dtype
from gdjax.transforms.adaptive_methods import safe_root
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    divide,
    elementwise,
    multiply,
    narrow,
    transformation,
    widen,
)
from gdjax.transforms.filters import square
from gdjax.types import OptState, Params, Updates


def norm(x: jax.Array) -> jax.Array:
    """‖x‖₂ of all coordinates, scaled by the largest so that no square overflows or vanishes."""
    size = jnp.abs(x)
    largest = jnp.max(size, initial=0)
    safe = jax.lax.stop_gradient(jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1))
    return safe * safe_root(jnp.sum(square(size / safe)))


@dataclasses.dataclass(frozen=True, eq=False)
class _TrustRatio(Rule):
    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        wide = widen(updates)
        if params is None:
            raise ValueError("`params` must be given to `update`, whose norms set the trust ratio, got None.")
        checks.same_tree("updates", updates, "params", params)

        def trusted(u: jax.Array, p: Any) -> jax.Array:
            if not is_trainable(p):
                return u
            of_params, of_update = norm(jnp.asarray(p).astype(u.dtype)), norm(u)
            known = (of_params > 0) & (of_update > 0)
            # Direction first: the quotient of the norms may leave the range where the step does not.
            direction = divide(u, jnp.where(known, of_update, 1).astype(real_dtype(u.dtype)))
            return multiply(jnp.where(known, of_params, 1).astype(real_dtype(u.dtype)), direction)

        return narrow(elementwise(trusted, wide, params), updates), state


def trust_ratio() -> GradientTransformation:
    """Each leaf's step as long as the leaf: u ← ‖θ‖/‖u‖ · u, and u as it is where either norm is 0.

    Raises:
      ValueError: at `update`, if no parameters are given.

    Source: You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes".
    """
    return transformation(_TrustRatio())
