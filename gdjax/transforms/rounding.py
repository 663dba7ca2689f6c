"""16-bit parameters that do not lose small updates.

A bfloat16 next to 1 is 2⁻⁸ away: an update of 1e-3 rounds to nothing, a hundred times over. Kahan's compensation
remembers what rounding took and adds it to the next update; stochastic rounding goes to either neighbour with the
probability that makes the mean right, and remembers nothing. Both stand last, behind the learning rate.

Source: Zamirai et al. (2021), "Revisiting bfloat16 training".
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.dtypes import accumulator_dtype, arithmetic_dtype, is_trainable, leaf_dtype, rounded, stored_dtype
from gdjax.transforms.base import GradientTransformation, Rule, narrow, static, transformation, widen
from gdjax.types import OptState, Params, Updates, state


def _need_params(updates: Updates, params: Params | None) -> Updates:
    wide = widen(updates)
    if params is None:
        raise ValueError("`params` must be given to `update`, whose rounding is at stake, got None.")
    checks.same_tree("updates", updates, "params", params)
    return wide


@state
class KahanState(NamedTuple):
    """What rounding has taken so far, and owes."""

    owed: Any
    """A tree like the parameters, float32 or wider unless asked otherwise."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Kahan(Rule):
    accumulator_dtype: Any = static()

    def init(self, params: Params) -> KahanState:
        def zeros(path: tuple, leaf: Any) -> jax.Array:
            checks.array_like(checks.path_name("params", path), leaf)
            return jnp.zeros(np.shape(leaf), stored_dtype(accumulator_dtype(leaf), self.accumulator_dtype))

        return KahanState(jax.tree_util.tree_map_with_path(zeros, params))

    def update(self, updates: Updates, state: KahanState, params: Params | None = None, **extra: Any) -> tuple:
        wide = _need_params(updates, params)

        def one(u: Any, given: Any, owed: jax.Array, p: Any) -> tuple:
            if not is_trainable(u) or not is_trainable(p):
                return u, owed
            p, dtype = jnp.asarray(p), owed.dtype
            at, owed = p.astype(u.dtype), owed.astype(u.dtype)
            wanted = u + owed
            move = rounded(rounded(at + wanted, p.dtype) - at, leaf_dtype(given))
            reached = rounded(at + move, p.dtype)
            return move, (wanted - (reached - at)).astype(dtype)

        pairs = jax.tree.map(one, wide, updates, state.owed, params)
        moves, owed = (jax.tree.map(lambda _, pair, i=i: pair[i], updates, pairs) for i in (0, 1))
        return narrow(moves, updates), KahanState(owed)


def kahan(*, accumulator_dtype: Any = None) -> GradientTransformation:
    """Kahan's compensation: what the rounding of θ + u takes from one update is added to the next.

    Stands last: `chain(adam(1e-3), kahan())`.

    Args:
      accumulator_dtype: the float dtype in which the debt is kept; by default the parameters', at least float32.
        bfloat16 is enough for bfloat16 parameters, and half the memory.

    Raises:
      ValueError, TypeError: if the dtype is no float; at `update`, if no parameters are given.

    >>> import jax.numpy as jnp, optax
    >>> parameter, rounding = jnp.array(1.0, jnp.bfloat16), kahan()
    >>> state = rounding.init(parameter)
    >>> for _ in range(100):
    ...     updates, state = rounding.update(jnp.array(-1e-3, jnp.bfloat16), state, parameter)
    ...     parameter = optax.apply_updates(parameter, updates)
    >>> round(float(parameter), 2)
    0.9

    Source: Kahan (1965), "Pracniques: further remarks on reducing truncation errors".
    """
    return transformation(_Kahan(checks.float_type(accumulator_dtype)))


@state
class StochasticRoundingState(NamedTuple):
    """How many updates have been rounded."""

    count: jax.Array
    """int32, shape (); wraps around."""


@dataclasses.dataclass(frozen=True, eq=False)
class _StochasticRounding(Rule):
    seed: Any

    def init(self, params: Params) -> StochasticRoundingState:
        return StochasticRoundingState(jnp.zeros((), jnp.int32))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        wide = _need_params(updates, params)
        key = jax.random.fold_in(jax.random.key(jnp.asarray(self.seed).astype(jnp.uint32)), state.count)
        leaves, structure = jax.tree.flatten(wide)
        keys = structure.unflatten([jax.random.fold_in(key, i) for i in range(len(leaves))])

        def one(u: Any, p: Any, key: jax.Array) -> Any:
            if not is_trainable(u) or not is_trainable(p) or jnp.finfo(leaf_dtype(p)).bits != 16:
                return u
            p = jnp.asarray(p)
            return _round(p.astype(u.dtype) + u, p.dtype, key) - p.astype(u.dtype)

        moves = jax.tree.map(one, wide, params, keys)
        return narrow(moves, updates), StochasticRoundingState(state.count + 1)


def _round(x: jax.Array, dtype: Any, key: jax.Array) -> jax.Array:
    """One of the two neighbours of x in `dtype`, held in the dtype of x; right in the mean."""
    nearest = jax.lax.optimization_barrier(x.astype(dtype))
    error = x - nearest.astype(x.dtype)
    towards = jnp.where(error > 0, jnp.inf, -jnp.inf).astype(dtype)
    other = jnp.nextafter(nearest, towards).astype(x.dtype)
    gap = jnp.abs(other - nearest.astype(x.dtype))
    chosen = jax.random.uniform(key, x.shape, arithmetic_dtype(x.dtype)) * gap < jnp.abs(error)
    # The neighbour of the largest number is infinite, and of an infinity none: there the nearest stays.
    return jnp.where(chosen & jnp.isfinite(other), other, nearest.astype(x.dtype))


def stochastic_rounding(seed: Any = 0) -> GradientTransformation:
    """θ + u rounded up or down at random, so that its mean is θ + u in float32; 32-bit parameters are left alone.

    Stands last: `chain(adam(1e-3), stochastic_rounding())`. Where 16-bit updates are larger than the parameter, the
    move to the neighbour does not fit into them, and is rounded once more, to nearest.

    Args:
      seed: what the roundings follow from, an integer, may be traced.

    Raises:
      ValueError, TypeError: if the seed is no integer; at `update`, if no parameters are given.

    Source: Gupta et al. (2015), "Deep learning with limited numerical precision".
    """
    if not isinstance(seed, jax.core.Tracer):
        seed = np.uint32(checks.integer("seed", seed, least=0, most=2**32 - 1))
    return transformation(_StochasticRounding(seed))
