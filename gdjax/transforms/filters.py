"""A filter is a transform that remembers gradients: its memory v, stepped by each gradient, is its answer.

The filters here are *linear*, v ← (1 − leak)·v + gain·signal(g), where the signal is g or |g|².
Their hyperparameter is the leak 1 − β, formed in double precision, rather than β itself.

Arithmetic is done in float32 or wider; `accumulator_dtype` says in what the memory is kept between two steps.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.dtypes import (
    accumulator_dtype,
    arithmetic_dtype,
    cast,
    complex_dtype,
    is_trainable,
    leaf_dtype,
    real_dtype,
    stored_dtype,
)
from gdjax.schedules import complement, non_negative
from gdjax.transforms.base import GradientTransformation, Rule, multiply, scalar, transformation
from gdjax.types import Number, Params, Updates, state


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


@state
class FilterState(NamedTuple):
    """The memory of a filter."""

    memory: Any
    """A tree like the parameters, float32 or wider, zero for ever where a leaf does not train."""


@dataclasses.dataclass(frozen=True, eq=False)
class Filter(Rule):
    """A rule that defines `step(v, x) -> new v`, leaf by leaf; the new v is also the answer."""

    accumulator_dtype: Any = dataclasses.field(default=None, kw_only=True, metadata={"static": True})

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        """The memory after gradient `x`, both in the dtype of arithmetic (`x` may be complex where v is real)."""
        raise NotImplementedError(f"{type(self).__name__} must define `step`.")

    def signal(self, x: jax.Array) -> jax.Array:
        """What of the gradient is remembered: x itself, or its square; says the memory's dtype."""
        return x

    def prediction(self, state: FilterState) -> Any:
        """What the filter expects of a gradient: its memory, not corrected."""
        return state.memory

    def memory(self, leaf: Any) -> jax.Array:
        """The memory of one leaf before the first gradient."""
        signal = jax.eval_shape(self.signal, jax.ShapeDtypeStruct((), accumulator_dtype(leaf)))
        return jnp.zeros(np.shape(leaf), stored_dtype(signal.dtype, self.accumulator_dtype))

    def init(self, params: Params) -> FilterState:
        return FilterState(jax.tree_util.tree_map_with_path(self._checked_memory, params))

    def _checked_memory(self, path: tuple, leaf: Any) -> jax.Array:
        checks.array_like(checks.path_name("params", path), leaf)
        return self.memory(leaf)

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        memory = remember(self.step, updates, state.memory)
        return answer(memory, updates), FilterState(kept(memory, state.memory))


def remember(step: Any, updates: Updates, memory: Any) -> Any:
    """Each leaf's memory after this gradient, in the dtype of arithmetic, whatever the gradient's is."""
    checks.same_tree("updates", updates, "params", memory)

    def one(x: Any, v: jax.Array) -> jax.Array:
        if not is_trainable(x):
            return v
        x, v = jnp.asarray(x), v.astype(arithmetic_dtype(v.dtype))
        return cast(step(v, x.astype(complex_dtype(v.dtype) if jnp.iscomplexobj(x) else v.dtype)), v.dtype)

    return jax.tree.map(one, updates, memory)


def kept(memory: Any, like: Any) -> Any:
    """A memory in the dtypes in which it is kept."""

    def keep(v: jax.Array, old: jax.Array) -> jax.Array:
        if not jnp.iscomplexobj(v) and jnp.finfo(old.dtype).max < jnp.finfo(v.dtype).max:
            limit = jnp.asarray(jnp.finfo(old.dtype).max, v.dtype)
            v = jnp.clip(v, -limit, limit)  # no infinity, which a memory could never leave
        return cast(v, old.dtype)

    return jax.tree.map(keep, memory, like)


def answer(values: Any, updates: Updates) -> Updates:
    """Values in the dtypes of the gradients; leaves that don't train pass as they came."""
    return jax.tree.map(lambda g, v: cast(v, leaf_dtype(g)) if is_trainable(g) else g, updates, values)


def has_one_memory(filter: Any) -> bool:
    """Whether a transform is a filter that steps one memory a leaf, so that another rule can step it in its place."""
    rule = getattr(filter, "rule", None)
    return isinstance(rule, Filter) and type(rule).init is Filter.init


def is_average(filter: Any) -> bool:
    """Whether a transform remembers a weighted sum of what it is fed itself, not of squares or deviations."""
    rule = getattr(filter, "rule", None)
    if not isinstance(rule, LinearFilter):
        return False
    return type(rule).signal is Filter.signal and type(rule).average is LinearFilter.average


@dataclasses.dataclass(frozen=True, eq=False)
class Decaying(Filter):
    """A filter whose leak is 1 − β, whatever an optimizer calls β."""

    one_minus_decay: Any
    name: str = dataclasses.field(kw_only=True, metadata={"static": True})

    def label(self, field: str) -> str:
        return f"one_minus_{self.name}" if field == "one_minus_decay" else field

    def leak(self, dtype: Any) -> jax.Array:
        """The share of the memory that a step forgets, in [0, 1]."""
        return scalar(self.name, self.one_minus_decay, dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class WeighingFilter(Filter):
    """A filter that gives known weights to the gradients, by leaking and gaining in every step."""

    def leak(self, dtype: Any) -> jax.Array:
        """The share of the memory that a step forgets, in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define `leak`.")

    def gain(self, dtype: Any) -> jax.Array:
        """The weight with which the signal enters."""
        return jnp.ones((), real_dtype(dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFilter(WeighingFilter):
    """v ← (1 − leak)·v + gain·signal(x), the kind whose answer to a gradient of one says all about it."""

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return interpolate(v, jnp.zeros_like(v), self.leak(v.dtype)) + multiply(self.gain(v.dtype), self.signal(x))

    def average(self, updates: Updates, state: FilterState, weight: jax.Array) -> tuple[Any, FilterState]:
        """What it remembers as an average: moved by `weight` of the way to the signal; (answer, state)."""
        memory = remember(
            lambda v, x: interpolate(v, self.signal(x), weight.astype(real_dtype(v.dtype))), updates, state.memory
        )
        return memory, FilterState(kept(memory, state.memory))


@dataclasses.dataclass(frozen=True, eq=False)
class Ema(Decaying, LinearFilter):
    """The gain is the leak, so that the weights of all gradients add up to one."""

    def gain(self, dtype: Any) -> jax.Array:
        return self.leak(dtype)

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        return interpolate(v, self.signal(x), self.leak(v.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class _EmaOfSquares(Ema):
    initial_value: Any = None
    increment: Any = None

    def label(self, field: str) -> str:
        return "eps_root" if field == "increment" else super().label(field)

    def signal(self, x: jax.Array) -> jax.Array:
        squares = square(x)
        if self.increment is None:
            return squares
        return squares + scalar("increment", self.increment, squares.dtype) / self.leak(squares.dtype)

    def memory(self, leaf: Any) -> jax.Array:
        zeros = super().memory(leaf)
        if self.initial_value is None:
            return zeros
        return zeros + scalar("initial_value", self.initial_value, zeros.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class _Accumulate(Decaying, LinearFilter):
    """The gain is one."""


@dataclasses.dataclass(frozen=True, eq=False)
class _WeightedSum(LinearFilter):
    weight: Any

    def leak(self, dtype: Any) -> jax.Array:
        return jnp.zeros((), real_dtype(dtype))

    def gain(self, dtype: Any) -> jax.Array:
        return scalar("weight", self.weight, dtype)


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


def ema(decay: Any, *, accumulator_dtype: Any = None, name: str = "decay") -> GradientTransformation:
    """Exponential moving average, v ← β·v + (1 − β)·g.

    Args:
      decay: β in [0, 1), a number, a traced scalar or (under `clocked`) a schedule; 0 is the gradient itself.
      accumulator_dtype: the float dtype in which v is kept; by default the parameters', at least float32. A 16-bit
        average stops moving once 1 − β is below its rounding, 2⁻⁸ for bfloat16; float16 holds squares only up to 65504,
        and stays there.
      name: what an error calls `decay`, for the optimizer that gives it another name.

    Raises:
      ValueError, TypeError: if `decay` is out of range or no scalar, or the dtype is no float.

    >>> import jax.numpy as jnp
    >>> average = ema(0.9)
    >>> updates, state = average.update(jnp.array(1.0), average.init(jnp.array(0.0)))
    >>> round(float(updates), 6)
    0.1
    """
    dtype = checks.float_type(accumulator_dtype)
    return transformation(Ema(complement(name, decay), name=name, accumulator_dtype=dtype))


def ema_of_squares(
    decay: Any,
    *,
    initial_value: Any = None,
    increment: Any = None,
    accumulator_dtype: Any = None,
    name: str = "decay",
) -> GradientTransformation:
    """Exponential moving average of squares, v ← β·v + (1 − β)·|g|² + increment; arguments as in `ema`.

    Args:
      decay: β in [0, 1).
      initial_value: v before the first gradient, at least 0; None is 0.
      increment: added in every step, at least 0 (the ε inside AdaBelief's average); None is 0.
      accumulator_dtype: as in `ema`.
      name: as in `ema`.

    Raises:
      ValueError, TypeError: if a number is out of range or no scalar, or the dtype is no float.
    """
    if initial_value is not None:
        initial_value = non_negative("initial_value", initial_value)
    if increment is not None:
        increment = non_negative("increment", increment)
    dtype = checks.float_type(accumulator_dtype)
    decay = complement(name, decay)
    return transformation(_EmaOfSquares(decay, initial_value, increment, name=name, accumulator_dtype=dtype))


def accumulate(decay: Any, *, accumulator_dtype: Any = None, name: str = "decay") -> GradientTransformation:
    """Leaky sum, v ← β·v + g, the memory of the heavy ball; arguments as in `ema`.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods".
    """
    dtype = checks.float_type(accumulator_dtype)
    return transformation(_Accumulate(complement(name, decay), name=name, accumulator_dtype=dtype))


def weighted_sum(weight: Any = 1.0) -> GradientTransformation:
    """Sum, v ← v + w·g; bias-corrected it is the mean of all, or under a schedule of those that w lets in.

    Args:
      weight: w ≥ 0, a number, a traced scalar or (under `clocked`) a schedule.

    Raises:
      ValueError, TypeError: if `weight` is negative or no scalar.
    """
    return transformation(_WeightedSum(non_negative("weight", weight)))


def sum_of_squares(
    *, initial_value: Number = 0.0, accumulator_dtype: Any = None, name: str = "initial_value"
) -> GradientTransformation:
    """Sum of squares, v ← v + |g|², from v = `initial_value` (at least 0).

    Args:
      initial_value: v before the first gradient, a number or a traced scalar.
      accumulator_dtype: as in `ema`.
      name: what an error calls it, for the optimizer that gives it another name.

    Raises:
      ValueError, TypeError: if `initial_value` is negative or no scalar, or the dtype is no float.
    """
    dtype = checks.float_type(accumulator_dtype)
    return transformation(_SumOfSquares(non_negative(name, initial_value), accumulator_dtype=dtype))
