"""A filter is a transform that remembers gradients: its memory v, stepped by each gradient, is its answer.

The filters here are *linear*, v ← (1 − leak)·v + gain·signal(g), where the signal is g or |g|².
Their hyperparameter is the leak 1 − β, formed in double precision, rather than β itself.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.dtypes import accumulator_dtype, cast, complex_dtype, is_trainable, leaf_dtype, real_dtype
from gdjax.schedules import complement, scheduled
from gdjax.transforms.base import GradientTransformation, Rule, multiply, scalar, static, transformation
from gdjax.types import Number, OptState, Params, Updates


def interpolate(v: jax.Array, x: jax.Array, weight: jax.Array) -> jax.Array:
    """(1 − weight)·v + weight·x with one rounding of the difference, exact at weight 0 and at 1.

    Steps from the nearer end: v + w·(x − v) alone would lose a small x beside a large v at w = 1.
    """
    near = weight < 0.5
    return jnp.where(near, v, x) + multiply(jnp.where(near, weight, weight - 1), x - v)


def square(x: jax.Array) -> jax.Array:
    """|x|², real also for complex x; the largest number of its dtype where it would be infinite."""
    return bounded(jnp.real(x) ** 2 + jnp.imag(x) ** 2 if jnp.iscomplexobj(x) else x * x)


def bounded(v: jax.Array) -> jax.Array:
    """No infinity: an average could never leave it, and its difference to anything is no number. NaN stays."""
    return jnp.minimum(v, jnp.finfo(v.dtype).max)


class FilterState(NamedTuple):
    """The memory of a filter."""

    memory: Any
    """A tree like the parameters, float32 or wider, zero for ever where a leaf does not train."""


@dataclasses.dataclass(frozen=True, eq=False)
class Filter(Rule):
    """A rule that defines `step(v, x) -> new v`, leaf by leaf; the new v is also the answer."""

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        """The memory after gradient `x`, both in the memory's dtype (`x` may be complex where v is real)."""
        raise NotImplementedError(f"{type(self).__name__} must define `step`.")

    def signal(self, x: jax.Array) -> jax.Array:
        """What of the gradient is remembered: x itself, or its square; says the memory's dtype."""
        return x

    def memory(self, leaf: Any) -> jax.Array:
        """The memory of one leaf before the first gradient."""
        signal = jax.eval_shape(self.signal, jax.ShapeDtypeStruct((), accumulator_dtype(leaf)))
        return jnp.zeros(np.shape(leaf), signal.dtype)

    def init(self, params: Params) -> FilterState:
        return FilterState(jax.tree_util.tree_map_with_path(self._checked_memory, params))

    def _checked_memory(self, path: tuple, leaf: Any) -> jax.Array:
        checks.array_like(checks.path_name("params", path), leaf)
        return self.memory(leaf)

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        memory = remember(self.step, updates, state.memory)
        return answer(memory, updates), FilterState(memory)


def remember(step: Any, updates: Updates, memory: Any) -> Any:
    """Each leaf's memory after this gradient, in the memory's dtype whatever the gradient's is."""
    checks.same_tree("updates", updates, "params", memory)

    def one(x: Any, v: jax.Array) -> jax.Array:
        if not is_trainable(x):
            return v
        x = jnp.asarray(x)
        return cast(step(v, x.astype(complex_dtype(v.dtype) if jnp.iscomplexobj(x) else v.dtype)), v.dtype)

    return jax.tree.map(one, updates, memory)


def answer(values: Any, updates: Updates) -> Updates:
    """Values in the dtypes of the gradients; leaves that don't train pass as they came."""
    return jax.tree.map(lambda g, v: cast(v, leaf_dtype(g)) if is_trainable(g) else g, updates, values)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFilter(Filter):
    """v ← (1 − leak)·v + gain·signal(x), the kind whose answer to a gradient of one says all about it."""

    def leak(self, dtype: Any) -> jax.Array:
        """The share of the memory that a step forgets, in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define `leak`.")

    def gain(self, dtype: Any) -> jax.Array:
        """The weight with which the signal enters."""
        return jnp.ones((), real_dtype(dtype))

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return interpolate(v, jnp.zeros_like(v), self.leak(v.dtype)) + multiply(self.gain(v.dtype), self.signal(x))


@dataclasses.dataclass(frozen=True, eq=False)
class _Decaying(LinearFilter):
    one_minus_decay: Any
    name: str = static("decay")

    def label(self, field: str) -> str:
        return f"one_minus_{self.name}"

    def leak(self, dtype: Any) -> jax.Array:
        return scalar(self.name, self.one_minus_decay, dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class _Ema(_Decaying):
    """The gain is the leak, so that the weights of all gradients add up to one."""

    def gain(self, dtype: Any) -> jax.Array:
        return self.leak(dtype)

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return interpolate(v, self.signal(x), self.leak(v.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class _EmaOfSquares(_Ema):
    def signal(self, x: jax.Array) -> jax.Array:
        return square(x)


@dataclasses.dataclass(frozen=True, eq=False)
class _Accumulate(_Decaying):
    """The gain is one."""


@dataclasses.dataclass(frozen=True, eq=False)
class _SumOfSquares(LinearFilter):
    initial_value: Any

    def signal(self, x: jax.Array) -> jax.Array:
        return square(x)

    def leak(self, dtype: Any) -> jax.Array:
        return jnp.zeros((), real_dtype(dtype))

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return bounded(v + self.signal(x))

    def memory(self, leaf: Any) -> jax.Array:
        zeros = super().memory(leaf)
        return zeros + scalar("initial_value", self.initial_value, zeros.dtype)


def ema(decay: Any, *, name: str = "decay") -> GradientTransformation:
    """Exponential moving average, v ← β·v + (1 − β)·g.

    Args:
      decay: β in [0, 1), a number, a traced scalar or (under `clocked`) a schedule; 0 is the gradient itself.
      name: what an error calls `decay`, for the optimizer that gives it another name.

    Raises:
      ValueError, TypeError: if `decay` is out of range or no scalar.

    >>> import jax.numpy as jnp
    >>> average = ema(0.9)
    >>> updates, state = average.update(jnp.array(1.0), average.init(jnp.array(0.0)))
    >>> round(float(updates), 6)
    0.1
    """
    return transformation(_Ema(complement(name, decay), name))


def ema_of_squares(decay: Any, *, name: str = "decay") -> GradientTransformation:
    """Exponential moving average of squares, v ← β·v + (1 − β)·|g|²; arguments as in `ema`."""
    return transformation(_EmaOfSquares(complement(name, decay), name))


def accumulate(decay: Any, *, name: str = "decay") -> GradientTransformation:
    """Leaky sum, v ← β·v + g, the memory of the heavy ball; arguments as in `ema`.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods".
    """
    return transformation(_Accumulate(complement(name, decay), name))


def sum_of_squares(*, initial_value: Number = 0.0, name: str = "initial_value") -> GradientTransformation:
    """Sum of squares, v ← v + |g|², from v = `initial_value` (at least 0).

    Args:
      initial_value: v before the first gradient, a number or a traced scalar.
      name: what an error calls it, for the optimizer that gives it another name.

    Raises:
      ValueError, TypeError: if `initial_value` is negative or no scalar.
    """
    return transformation(_SumOfSquares(scheduled(checks.non_negative, name, initial_value)))


@dataclasses.dataclass(frozen=True, eq=False)
class _Nesterov(Rule):
    filter: GradientTransformation

    def init(self, params: Params) -> OptState:
        return self.filter.init(params)

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        step = self.filter.rule.step
        memory = remember(step, updates, state.memory)
        return answer(remember(step, updates, memory), updates), FilterState(memory)


def nesterov(filter: GradientTransformation) -> GradientTransformation:
    """Look ahead: answer with what the filter would say if the same gradient came once more.

    For `accumulate(β)` this is g + β·v with the new v; the memory is the filter's own.

    Args:
      filter: one of this file's filters.

    Raises:
      TypeError: if `filter` has no `step` to look ahead with.

    Source: Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning".
    """
    if not isinstance(getattr(filter, "rule", None), Filter):
        raise TypeError(f"`filter` must be a filter such as `accumulate(0.9)`, got {filter!r}.")
    return transformation(_Nesterov(filter))
