"""Steps that are not finite: skipped whole, so that one bad batch poisons nothing."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import is_trainable
from gdjax.transforms.base import GradientTransformation, Rule, lift, transformation
from gdjax.types import OptState, Params, Updates, state


def all_finite(tree: Any) -> jax.Array:
    """Whether every float in a tree is finite; a bool scalar."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if is_trainable(leaf)]
    return jnp.all(jnp.stack(finite)) if finite else jnp.ones((), bool)


def non_finite_numbers(tree: Any) -> jax.Array:
    """How many numbers of a tree are not finite; float32, shape (), exact up to 2²⁴."""
    counts = [jnp.sum(~jnp.isfinite(leaf), dtype=jnp.float32) for leaf in jax.tree.leaves(tree) if is_trainable(leaf)]
    return sum(counts, jnp.zeros((), jnp.float32))


@state
class SkipState(NamedTuple):
    """How often nothing was done, and the optimizer's own state."""

    skipped: jax.Array
    """int32, shape ()."""
    inner: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _SkipNonFinite(Rule):
    optimizer: GradientTransformation

    def init(self, params: Params) -> SkipState:
        return SkipState(jnp.zeros((), jnp.int32), self.optimizer.init(params))

    def update(self, updates: Updates, state: SkipState, params: Params | None = None, **extra: Any) -> tuple:
        steps, inner = self.optimizer.update(updates, state.inner, params, **extra)
        sound = all_finite((updates, steps))
        steps = jax.tree.map(lambda u: jnp.where(sound, u, 0) if is_trainable(u) else u, steps)
        inner = jax.tree.map(lambda new, old: jnp.where(sound, new, old), inner, state.inner)
        return steps, SkipState(state.skipped + jnp.where(sound, 0, 1).astype(jnp.int32), inner)


def skip_non_finite(optimizer: GradientTransformation) -> GradientTransformation:
    """An optimizer that makes no step where gradient or update is not finite; its state stays as it was.

    In a training run take `training(..., non_finite="skip")`, which rolls back the model state too.

    Args:
      optimizer: a transform of gdjax or optax.

    Raises:
      TypeError: if `optimizer` is no transform.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import accumulate
    >>> optimizer = skip_non_finite(accumulate(0.9))
    >>> state = optimizer.init(jnp.array(0.0))
    >>> updates, state = optimizer.update(jnp.array(jnp.nan), state)
    >>> float(updates), int(state.skipped), float(state.inner.memory)
    (0.0, 1, 0.0)
    """
    return transformation(_SkipNonFinite(lift("optimizer", optimizer)))
