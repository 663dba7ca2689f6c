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

from gdjax.dtypes import arithmetic_dtype, float_dtype, is_trainable, real_dtype
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    divide,
    lift,
    may_be_zero,
    multiply,
    transformation,
    widen,
)
from gdjax.transforms.compensated import CompensatedSum, zero_sum
from gdjax.transforms.filters import LinearFilter, WeighingFilter, answer
from gdjax.types import Params, Updates, state


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


def response_of(transform: GradientTransformation) -> GradientTransformation:
    """The transform over the responses of the filters within: what it answers to gradients of one.

    A filter that is not linear in the gradient counts with the weights that it gives, not with what it remembers.
    """
    if isinstance(transform.rule, WeighingFilter):
        return transformation(_Response(transform))
    return transformation(transform.rule.response(response_of))


def respond(response: GradientTransformation, state: Any) -> tuple[jax.Array, Any]:
    """One more gradient of one: (the response, its state)."""
    answer, state = response.update(jnp.ones((), float_dtype()), state)
    return jnp.asarray(answer), state


@state
class BiasCorrectedState(NamedTuple):
    """The state of a bias-corrected filter."""

    filter: Any
    """The filter's own state; where it corrects itself, its memory holds the corrected value v/u."""
    response: Any
    """The state of the response to a gradient of one."""


@dataclasses.dataclass(frozen=True, eq=False)
class SelfCorrected(Rule):
    """A linear filter over its own response: the quotient is the memory."""

    filter: GradientTransformation

    def prediction(self, state: BiasCorrectedState) -> Any:
        """What the filter itself would remember, without the correction."""
        return jax.tree.map(
            lambda v: multiply(state.response.value.astype(real_dtype(v.dtype)), v),
            jax.tree.map(lambda v: v.astype(arithmetic_dtype(v.dtype)), state.filter.memory),
        )

    def init(self, params: Params) -> BiasCorrectedState:
        return BiasCorrectedState(self.filter.init(params), zero_sum())

    def update(self, updates: Updates, state: BiasCorrectedState, params: Params | None = None, **extra: Any) -> tuple:
        rule = self.filter.rule
        response, response_state = respond(response_of(self.filter), state.response)
        # Where nothing has had any weight yet, the latest signal is the best guess.
        nothing = response == 0
        weight = jnp.where(nothing, 1, rule.gain(response.dtype) / jnp.where(nothing, 1, response))
        values, filter_state = rule.average(updates, state.filter, weight)
        return answer(values, updates), BiasCorrectedState(filter_state, response_state)


@dataclasses.dataclass(frozen=True, eq=False)
class _Divided(Rule):
    """A transform over the response of another."""

    filter: GradientTransformation
    weight: GradientTransformation | None

    def _response(self) -> GradientTransformation:
        return response_of(self.filter if self.weight is None else self.weight)

    def prediction(self, state: BiasCorrectedState) -> Any:
        """What the filter itself remembers, without the correction."""
        return self.filter.rule.prediction(state.filter)

    def init(self, params: Params) -> BiasCorrectedState:
        return BiasCorrectedState(self.filter.init(params), self._response().init(jnp.zeros((), float_dtype())))

    def update(self, updates: Updates, state: BiasCorrectedState, params: Params | None = None, **extra: Any) -> tuple:
        values, filter_state = self.filter.update(widen(updates), state.filter, params, **extra)
        response, response_state = respond(self._response(), state.response)
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
      weight: the filter whose response divides. By default `filter` itself, where each of gdjax's filters in it
        responds with the weight that it has given to all gradients together; where a paper divides by something
        else, say what, `weight=ema(b2)` for instance.

    Returns:
      A transform that answers with the corrected value.

    Raises:
      TypeError: if `filter` or `weight` is no transform.
      ValueError: if `filter` is linear and starts from another value than zero, or `weight` needs parameters.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import ema
    >>> average = bias_corrected(ema(0.9))
    >>> updates, state = average.update(jnp.array(3.0), average.init(jnp.array(0.0)))
    >>> float(updates)
    3.0

    Source: Kingma & Ba (2015), "Adam", section 3, where the response of `ema` is written 1 − βᵗ.
    """
    filter = lift("filter", filter)
    if weight is None and isinstance(filter.rule, LinearFilter):
        initial_value = getattr(filter.rule, "initial_value", None)
        if not may_be_zero(initial_value):
            raise ValueError(f"`filter` must start from 0 to be corrected, got {filter!r}.")
        return transformation(SelfCorrected(filter))
    return transformation(_Divided(filter, None if weight is None else lift("weight", weight)))
