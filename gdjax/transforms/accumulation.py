"""Gradient accumulation: one update from the mean over several micro-batches."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype, is_trainable, real_dtype
from gdjax.transforms.base import GradientTransformation, Rule, lift, static, transformation, widen
from gdjax.transforms.filters import Filter, answer, interpolate, remember
from gdjax.transforms.non_finite import all_finite
from gdjax.types import OptState, Params, Updates, state


@state
class AccumulationState(NamedTuple):
    """What the micro-batches since the last update have brought."""

    mean: Any
    """The mean gradient over their rows, a tree like the parameters, float32 or wider."""
    rows: jax.Array
    """Rows that it is over, a float, shape ()."""
    calls: jax.Array
    """Micro-batches seen, poisoned ones included, int32, shape ()."""
    inner: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _AccumulateGradients(Rule):
    optimizer: GradientTransformation
    every: int = static()

    def init(self, params: Params) -> AccumulationState:
        zeros = Filter().init(params).memory
        return AccumulationState(
            zeros, jnp.zeros((), float_dtype()), jnp.zeros((), jnp.int32), self.optimizer.init(params)
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
        rows_seen = jnp.where(sound, state.rows + count, state.rows)
        share = jnp.where(sound, count / jnp.maximum(rows_seen, jnp.finfo(float_dtype()).tiny), 0)

        def towards(mean: jax.Array, g: jax.Array) -> jax.Array:
            return jnp.where(sound, interpolate(mean, g, share.astype(real_dtype(mean.dtype))), mean)

        mean = remember(towards, wide, state.mean)
        due = state.calls + 1 == self.every

        def step() -> tuple:
            steps, inner = self.optimizer.update(answer(mean, updates), state.inner, params, rows=rows_seen, **extra)
            return steps, inner, jax.tree.map(jnp.zeros_like, mean)

        def wait() -> tuple:
            still = jax.tree.map(lambda u: jnp.zeros_like(u) if is_trainable(u) else u, updates)
            return still, state.inner, mean

        # Where all of a group were poisoned, the mean is still zero.
        steps, inner, mean = jax.lax.cond(due & (rows_seen > 0), step, wait)
        return steps, AccumulationState(
            mean=mean,
            rows=jnp.where(due, 0, rows_seen),
            calls=jnp.where(due, 0, state.calls + 1).astype(jnp.int32),
            inner=inner,
        )


def accumulate_gradients(optimizer: GradientTransformation, every: int) -> GradientTransformation:
    """Call the optimizer once in `every` updates, with the mean gradient over the rows of them all.

    The mean is over real rows: a micro-batch counts with its number of rows, which a training run tells by the extra
    argument `rows`; without it all count alike. A micro-batch whose gradient is not finite is dropped, gradient and
    rows; where all of a group are, nothing is updated. Updates in between are zero; a group still open when a run ends
    makes none.

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
