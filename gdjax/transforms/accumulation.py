"""Gradient accumulation: one update from the mean over several micro-batches."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype, is_trainable, real_dtype
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    divide,
    lift,
    multiply,
    narrow,
    static,
    transformation,
    widen,
)
from gdjax.transforms.filters import Filter, remember
from gdjax.transforms.non_finite import all_finite
from gdjax.types import OptState, Params, Updates, state


@state
class AccumulationState(NamedTuple):
    """What the micro-batches since the last update have brought."""

    total: Any
    """The sum of row gradients, a tree like the parameters, float32 or wider."""
    rows: jax.Array
    """Rows in it, a float, shape ()."""
    calls: jax.Array
    """Micro-batches seen, poisoned ones included, int32, shape ()."""
    inner: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _AccumulateGradients(Rule):
    optimizer: GradientTransformation
    every: int = static()

    def init(self, params: Params) -> AccumulationState:
        total = Filter().init(params).memory
        return AccumulationState(
            total, jnp.zeros((), float_dtype()), jnp.zeros((), jnp.int32), self.optimizer.init(params)
        )

    def update(
        self,
        updates: Updates,
        state: AccumulationState,
        params: Params | None = None,
        *,
        rows: Any = 1,
        **extra: Any,
    ) -> tuple:
        count = jnp.asarray(rows).astype(float_dtype())
        wide = widen(updates)
        sound = all_finite(wide)

        def add(total: jax.Array, g: jax.Array) -> jax.Array:
            return jnp.where(sound, total + multiply(count.astype(real_dtype(total.dtype)), g), total)

        total = remember(add, wide, state.total)
        rows_seen = jnp.where(sound, state.rows + count, state.rows)
        due = state.calls + 1 == self.every

        def step() -> tuple:
            def mean(sums: jax.Array, g: Any) -> Any:
                some = jnp.maximum(rows_seen, jnp.finfo(float_dtype()).tiny)
                return divide(sums, some.astype(real_dtype(sums.dtype))) if is_trainable(g) else g

            means = narrow(jax.tree.map(mean, total, updates), updates)
            return self.optimizer.update(means, state.inner, params, **extra)

        def wait() -> tuple:
            return jax.tree.map(lambda u: jnp.zeros_like(u) if is_trainable(u) else u, updates), state.inner

        steps, inner = jax.lax.cond(due & (rows_seen > 0), step, wait)
        return steps, AccumulationState(
            total=jax.tree.map(lambda x: jnp.where(due, 0, x), total),
            rows=jnp.where(due, 0, rows_seen),
            calls=jnp.where(due, 0, state.calls + 1).astype(jnp.int32),
            inner=inner,
        )


def accumulate_gradients(optimizer: GradientTransformation, every: int) -> GradientTransformation:
    """Call the optimizer once in `every` updates, with the mean gradient over the rows of them all.

    The mean is over real rows: a micro-batch counts with its number of rows, which a training run tells by the extra
    argument `rows`; without it all count alike. A micro-batch whose gradient is not finite is dropped, gradient and
    rows; where all of a group are, nothing is updated. Updates in between are zero.

    Args:
      optimizer: a transform of gdjax or optax; its count and schedules count its own updates.
      every: micro-batches an update, at least 1.

    Raises:
      ValueError, TypeError: if `optimizer` is no transform, or `every` is no positive integer.

    >>> import jax.numpy as jnp, gdjax
    >>> optimizer = accumulate_gradients(gdjax.gd(1.0), 2)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for gradient, rows in ((1.0, 3), (5.0, 1)):
    ...     updates, state = optimizer.update(jnp.array(gradient), state, rows=rows)
    >>> float(updates)
    -2.0
    """
    return transformation(
        _AccumulateGradients(lift("optimizer", optimizer), checks.integer("every", every, least=1, most=2**31 - 1))
    )
