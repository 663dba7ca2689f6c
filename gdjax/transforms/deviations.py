"""Magnitudes that are no function of the gradient's square alone: errors, variances, and sums that saturate."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype, real_dtype
from gdjax.schedules import complement, non_negative
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    elementwise,
    scalar,
    transformation,
)
from gdjax.transforms.filters import (
    Decaying,
    FilterState,
    LinearFilter,
    WeighingFilter,
    answer,
    bounded,
    interpolate,
    kept,
    remember,
    square,
)
from gdjax.types import OptState, Params, Updates, state


@dataclasses.dataclass(frozen=True, eq=False)
class _Surprise(Rule):
    def update(
        self,
        updates: Updates,
        state: OptState,
        params: Params | None = None,
        *,
        prediction: Callable | None = None,
        **extra: Any,
    ) -> tuple:
        if prediction is None:
            raise ValueError(
                "`surprise()` must stand in the size or magnitude of `adaptive` or `quotient`, whose direction is a "
                "moving average that predicts the gradient, got no prediction."
            )
        return elementwise(lambda g, m: g - m.astype(g.dtype), updates, prediction()), state


def surprise() -> GradientTransformation:
    """The part of the gradient that the direction's memory m did not expect, g − m, inside `adaptive`.

    Raises:
      ValueError: at `update`, if it stands where no direction predicts.

    Source: Zhuang et al. (2020), "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients".
    """
    return transformation(_Surprise())


@state
class Moments(NamedTuple):
    """Mean and variance, trees like the parameters."""

    mean: Any
    variance: Any


@dataclasses.dataclass(frozen=True, eq=False)
class _EmaOfVariance(Decaying, LinearFilter):
    """West's update: S ← (1 − w)·(S + w·|d|²), d = g − m, which equals the average of |g|² less |m|².

    The difference of the two averages, as most write it, loses all digits of a small variance and may be negative.
    """

    initial_value: Any = None

    def gain(self, dtype: Any) -> jax.Array:
        return self.leak(dtype)

    def init(self, params: Params) -> FilterState:
        zeros = super().init(params).memory

        def initial(v: jax.Array) -> jax.Array:
            variance = jnp.zeros_like(jnp.real(v))
            if self.initial_value is None:
                return variance
            return variance + scalar("initial_value", self.initial_value, variance.dtype)

        return FilterState(Moments(zeros, jax.tree.map(initial, zeros)))

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        variance, state = self.average(updates, state, self.leak(float_dtype()))
        return answer(variance, updates), state

    def average(self, updates: Updates, state: FilterState, weight: jax.Array) -> tuple[Any, FilterState]:
        moments = state.memory

        def variance(s: jax.Array, deviation: jax.Array) -> jax.Array:
            w = weight.astype(s.dtype)
            return bounded((1 - w) * (s + w * square(deviation)))

        deviations = remember(lambda m, g: g - m, updates, moments.mean)
        variances = remember(variance, deviations, moments.variance)
        means = remember(lambda m, g: interpolate(m, g, weight.astype(real_dtype(m.dtype))), updates, moments.mean)
        new = Moments(means, variances)
        return variances, FilterState(kept(new, moments))


def ema_of_variance(
    decay: Any, *, initial_value: Any = None, accumulator_dtype: Any = None, name: str = "decay"
) -> GradientTransformation:
    """Variance under a moving average, ema(|g|²) − |ema(g)|²: the centered RMS.

    Corrected for its start, the variance of the first gradient is 0: what is divided by its root needs an ε that
    bounds the first step.

    Args:
      decay: β in [0, 1), a number, a traced scalar or (under `clocked`) a schedule.
      initial_value: the variance before the first gradient, at least 0; None is 0.
      accumulator_dtype: the float dtype in which mean and variance are kept; by default the parameters', at least
        float32.
      name: what an error calls `decay`.

    Raises:
      ValueError, TypeError: if a number is out of range or no scalar, or the dtype is no float.

    Source: Graves (2013), "Generating sequences with recurrent neural networks", equations 38 to 40; the update
    after West (1979), "Updating mean and variance estimates: an improved method".
    """
    initial = None if initial_value is None else non_negative("initial_value", initial_value)
    dtype = checks.float_type(accumulator_dtype)
    return transformation(_EmaOfVariance(complement(name, decay), initial, name=name, accumulator_dtype=dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class _AdditiveSquares(Decaying, WeighingFilter):
    initial_value: Any

    def gain(self, dtype: Any) -> jax.Array:
        return self.leak(dtype)

    def signal(self, x: jax.Array) -> jax.Array:
        return square(x)

    def memory(self, leaf: Any) -> jax.Array:
        zeros = super().memory(leaf)
        return zeros + scalar("initial_value", self.initial_value, zeros.dtype)

    def step(self, v: jax.Array, x: jax.Array) -> jax.Array:
        squares = self.signal(x)
        return bounded(v + self.leak(v.dtype) * jnp.sign(squares - v) * squares)


def additive_squares(
    decay: Any, *, initial_value: Any = 0.0, accumulator_dtype: Any = None, name: str = "decay"
) -> GradientTransformation:
    """Towards the square by at most its share: v ← v − (1 − β)·sign(v − |g|²)·|g|², Yogi's magnitude.

    Its response to a gradient of one is taken to be that of `ema(β)`.

    Args:
      decay: β in [0, 1), a number, a traced scalar or (under `clocked`) a schedule.
      initial_value: v before the first gradient, at least 0, likewise.
      accumulator_dtype: the float dtype in which v is kept; by default the parameters', at least float32.
      name: what an error calls `decay`.

    Raises:
      ValueError, TypeError: if a number is out of range or no scalar, or the dtype is no float.

    Source: Zaheer et al. (2018), "Adaptive methods for nonconvex optimization", algorithm 2.
    """
    initial = non_negative("initial_value", initial_value)
    dtype = checks.float_type(accumulator_dtype)
    return transformation(_AdditiveSquares(complement(name, decay), initial, name=name, accumulator_dtype=dtype))
