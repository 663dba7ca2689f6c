"""Keras's three clips of the gradient, their bounds numbers like any other."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.dtypes import is_trainable, real_dtype
from gdjax.transforms.base import Rule, elementwise, multiply, narrow, scalar, widen
from gdjax.transforms.trust_ratio import norm
from gdjax.types import OptState, Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class Clip(Rule):
    """Every coordinate into [−c, c]."""

    clipvalue: Any

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        """The coordinates, clipped."""

        def clip(u: jax.Array) -> jax.Array:
            bound = scalar("clipvalue", self.clipvalue, u.dtype)
            if jnp.iscomplexobj(u):
                return jax.lax.complex(*(jnp.clip(part, -bound, bound) for part in (jnp.real(u), jnp.imag(u))))
            return jnp.clip(u, -bound, bound)

        return elementwise(clip, updates), state


def _shorten(u: jax.Array, size: jax.Array, bound: jax.Array) -> jax.Array:
    return multiply((bound / jnp.maximum(size, bound)).astype(real_dtype(u.dtype)), u)


@dataclasses.dataclass(frozen=True, eq=False)
class ClipByLeafNorm(Rule):
    """Every leaf to a norm of at most c."""

    clipnorm: Any

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        """The leaves, shortened."""

        def clip(u: jax.Array) -> jax.Array:
            return _shorten(u, norm(u), scalar("clipnorm", self.clipnorm, u.dtype))

        return elementwise(clip, updates), state


@dataclasses.dataclass(frozen=True, eq=False)
class ClipByGlobalNorm(Rule):
    """The whole gradient to a norm of at most c."""

    global_clipnorm: Any

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        """The gradient, shortened."""
        wide = widen(updates)
        norms = [norm(leaf) for leaf in jax.tree.leaves(wide) if is_trainable(leaf)]
        if not norms:
            return narrow(wide, updates), state
        widest = jnp.result_type(*(each.dtype for each in norms))
        size = norm(jnp.stack([each.astype(widest) for each in norms]))

        def clip(u: jax.Array) -> jax.Array:
            return _shorten(u, size, scalar("global_clipnorm", self.global_clipnorm, size.dtype))

        return narrow(elementwise(clip, wide), updates), state
