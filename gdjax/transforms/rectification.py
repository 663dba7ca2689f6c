"""Rectification: no adaptive size before there are gradients enough to know it by.

The variance of 1/√v̂ is finite only once the average v̂ is over more than about four gradients. How many it is
over, ρ, is read from the ages of the gradients under the filter's weights: an average whose mean age is c is as
long as a plain mean of ρ = 2c − 1. The mean age follows its own recursion, c ← 1 + (1 − w)·c, where w is the
weight of the latest gradient, so that no power βᵗ is needed (nor subtracted from its like, which costs float32
three digits in the paper's formula), and ρ stays right when β follows a schedule.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype, real_dtype
from gdjax.schedules import non_negative
from gdjax.transforms.adaptive_methods import safe_root
from gdjax.transforms.base import GradientTransformation, Rule, divide, elementwise, lift, scalar, transformation
from gdjax.transforms.bias_correction import respond, response_of
from gdjax.transforms.compensated import CompensatedSum, zero_sum
from gdjax.transforms.filters import Decaying, WeighingFilter
from gdjax.types import OptState, Params, Updates, state


@state
class RectifiedState(NamedTuple):
    """The size's own state, the filter's response, and the mean age of the gradients that it remembers."""

    size: OptState
    response: CompensatedSum
    age: CompensatedSum
    """1 for the latest gradient; 0 before the first. In one float32 it stalls below its limit."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Rectified(Rule):
    size: GradientTransformation
    threshold: Any

    def init(self, params: Params) -> RectifiedState:
        return RectifiedState(self.size.init(params), zero_sum(), zero_sum())

    def update(self, updates: Updates, state: RectifiedState, params: Params | None = None, **extra: Any) -> tuple:
        dtype = float_dtype()
        sizes, size_state = self.size.update(updates, state.size, params, **extra)
        filter = _filters_in(self.size)[0]
        response, response_state = respond(response_of(filter), state.response)
        age = state.age.add(1 - filter.rule.gain(dtype) / response * state.age.value)
        length, longest = 2 * age.value - 1, 2 / filter.rule.leak(dtype) - 1
        tractable = (length >= scalar("threshold", self.threshold, dtype)) & (length > 4) & (longest > 4)
        known, longest = jnp.where(tractable, length, 5), jnp.where(tractable, longest, 6)
        rectifier = safe_root(
            jnp.where(
                tractable,
                (known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known),
                1,
            )
        )

        def known_size(s: jax.Array) -> jax.Array:
            return jnp.where(tractable, divide(s, rectifier.astype(real_dtype(s.dtype))), 1)

        sizes = elementwise(known_size, sizes)
        return sizes, RectifiedState(size_state, response_state, age)


def _filters_in(transform: GradientTransformation) -> list[GradientTransformation]:
    def weighs(node: Any) -> bool:
        return (
            isinstance(node, GradientTransformation)
            and isinstance(node.rule, WeighingFilter)
            and isinstance(node.rule, Decaying)
        )

    return [node for node in jax.tree.leaves(transform, is_leaf=weighs) if weighs(node)]


def rectified(size: GradientTransformation, *, threshold: Any = 5.0) -> GradientTransformation:
    """σ(g)/r once its filter is long enough, 1 before: the size of RAdam, to divide a direction by.

    r = √((ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ)), ρ∞ = 2/(1 − β) − 1, and ρ the length of the average so far.

    Args:
      size: a transform with one moving average in it, `root(bias_corrected(ema_of_squares(b2)))`.
      threshold: the length ρ from which the size counts, at least 0, a number, a traced scalar or (under `clocked`)
        a schedule; below a length of 4 it never does.

    Raises:
      ValueError, TypeError: if `threshold` is out of range, or `size` has not exactly one moving average in it.

    Source: Liu et al. (2020), "On the variance of the adaptive learning rate and beyond", algorithm 2.
    """
    size = lift("size", size)
    if len(_filters_in(size)) != 1:
        raise ValueError(f"`size` must have one moving average in it, got {len(_filters_in(size))} in {size!r}.")
    return transformation(_Rectified(size, non_negative("threshold", threshold)))
