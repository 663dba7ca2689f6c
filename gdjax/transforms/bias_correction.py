"""Bias correction: what a filter says, divided by what it would have said to a gradient of one.

A moving average that starts at zero is too small at first, by the weight u that it has given so far to
all gradients together. u is the filter's answer to a gradient of one, so it is found by giving it one:
for `ema(β)` that is 1 − βᵗ without ever computing a power, and it stays right when β follows a schedule.

Two things keep it exact in float32. The response u is summed with a two-sum, or it would stall below its
limit. And where filter and response are the same linear filter, the *quotient* is what is remembered:
v/u is itself an average, v̂ ← v̂ + (gain/u)·(signal − v̂), which a constant gradient leaves where it is,
while v alone stops at the last increment that float32 can still add (1e-4 below its limit at β = .9999).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype, is_trainable, real_dtype
from gdjax.transforms.base import GradientTransformation, Rule, divide, lift, transformation, widen
from gdjax.transforms.compensated import CompensatedSum, zero_sum
from gdjax.transforms.filters import (
    FilterState,
    LinearFilter,
    answer,
    interpolate,
    remember,
)
from gdjax.types import Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class _Response(Rule):
    """A linear filter before a constant gradient of one, compensated."""

    filter: GradientTransformation

    def init(self, params: Params) -> CompensatedSum:
        return zero_sum()

    def update(self, updates: Updates, state: CompensatedSum, params: Params | None = None, **extra: Any) -> tuple:
        rule, dtype = self.filter.rule, float_dtype()
        state = state.add(rule.gain(dtype) - rule.leak(dtype) * state.value)
        return state.value, state


def _response(weight: GradientTransformation) -> GradientTransformation:
    return transformation(_Response(weight)) if isinstance(weight.rule, LinearFilter) else weight


def _respond(weight: GradientTransformation, state: Any) -> tuple[jax.Array, Any]:
    response, state = _response(weight).update(jnp.ones((), float_dtype()), state)
    return jnp.asarray(response), state


class BiasCorrectedState(NamedTuple):
    """The state of a bias-corrected filter."""

    filter: Any
    """The filter's own state; where it corrects itself, its memory holds the corrected value v/u."""
    response: Any
    """The state of the response to a gradient of one."""


@dataclasses.dataclass(frozen=True, eq=False)
class _SelfCorrected(Rule):
    """A linear filter over its own response: the quotient is the memory."""

    filter: GradientTransformation

    def init(self, params: Params) -> BiasCorrectedState:
        return BiasCorrectedState(self.filter.init(params), _response(self.filter).init(params))

    def update(self, updates: Updates, state: BiasCorrectedState, params: Params | None = None, **extra: Any) -> tuple:
        rule = self.filter.rule
        response, response_state = _respond(self.filter, state.response)
        weight = rule.gain(response.dtype) / response

        def step(v: jax.Array, x: jax.Array) -> jax.Array:
            return interpolate(v, rule.signal(x), weight.astype(real_dtype(v.dtype)))

        memory = remember(step, updates, state.filter.memory)
        return answer(memory, updates), BiasCorrectedState(FilterState(memory), response_state)


@dataclasses.dataclass(frozen=True, eq=False)
class _Divided(Rule):
    """A filter over the response of another."""

    filter: GradientTransformation
    weight: GradientTransformation

    def init(self, params: Params) -> BiasCorrectedState:
        return BiasCorrectedState(self.filter.init(params), _response(self.weight).init(jnp.zeros((), float_dtype())))

    def update(self, updates: Updates, state: BiasCorrectedState, params: Params | None = None, **extra: Any) -> tuple:
        values, filter_state = self.filter.update(widen(updates), state.filter, params, **extra)
        response, response_state = _respond(self.weight, state.response)
        values = jax.tree.map(
            lambda v: divide(v, response.astype(real_dtype(v.dtype))) if is_trainable(v) else v, values
        )
        return answer(values, updates), BiasCorrectedState(filter_state, response_state)


def bias_corrected(
    filter: GradientTransformation, weight: GradientTransformation | None = None
) -> GradientTransformation:
    """What `filter` says, divided by what `weight` says to a gradient of one.

    v̂ = filter(g) / weight(1).

    Args:
      filter: any transform that remembers gradients.
      weight: the filter whose response divides. By default `filter` itself, which is right wherever it is
        linear in g or in |g|²; where it is not, or where a paper divides by something else, say which,
        `weight=ema(b2)` for instance.

    Returns:
      A transform that answers with the corrected value.

    Raises:
      TypeError: if `filter` or `weight` is no transform.
      ValueError: if `filter` starts from another value than zero, or `weight` needs parameters.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import ema
    >>> average = bias_corrected(ema(0.9))
    >>> updates, state = average.update(jnp.array(3.0), average.init(jnp.array(0.0)))
    >>> float(updates)
    3.0

    Source: Kingma & Ba (2015), "Adam", section 3, where the response of `ema` is written 1 − βᵗ.
    """
    filter = lift("filter", filter)
    if getattr(filter.rule, "initial_value", 0.0) != 0.0:
        raise ValueError(f"`filter` must start from 0 to be corrected, got {filter!r}.")
    if weight is None and isinstance(filter.rule, LinearFilter):
        return transformation(_SelfCorrected(filter))
    return transformation(_Divided(filter, filter if weight is None else lift("weight", weight)))
