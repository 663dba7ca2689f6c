"""Looking ahead: answers that lie between what a filter remembers and what it is about to.

Source: Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning".
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype, real_dtype
from gdjax.schedules import ahead, as_schedule, complement
from gdjax.transforms.base import GradientTransformation, Rule, elementwise, multiply, scalar, transformation
from gdjax.transforms.bias_correction import BiasCorrectedState, SelfCorrected
from gdjax.transforms.compensated import CompensatedSum, zero_sum
from gdjax.transforms.filters import Ema, Filter, FilterState, answer, has_one_memory, is_average, kept, remember
from gdjax.types import OptState, Params, Updates, state


def _filter(name: str, filter: Any, kind: type = Filter) -> GradientTransformation:
    if not has_one_memory(filter) or not isinstance(filter.rule, kind) or (kind is Ema and not is_average(filter)):
        what = "moving average" if kind is Ema else "filter"
        raise TypeError(f"`{name}` must be a {what} such as `ema(0.9)`, got {filter!r}.")
    return filter


@dataclasses.dataclass(frozen=True, eq=False)
class _Nesterov(Rule):
    filter: GradientTransformation

    def prediction(self, state: FilterState) -> Any:
        """What the filter expects of a gradient."""
        return state.memory

    def init(self, params: Params) -> OptState:
        return self.filter.init(params)

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        step = self.filter.rule.step
        memory = remember(step, updates, state.memory)
        return answer(remember(step, updates, memory), updates), FilterState(kept(memory, state.memory))


def nesterov(filter: GradientTransformation) -> GradientTransformation:
    """Look ahead: answer with what the filter would say if the same gradient came once more.

    For `accumulate(β)` this is g + β·v with the new v; the memory is the filter's own.

    Args:
      filter: one of gdjax's filters.

    Raises:
      TypeError: if `filter` has no `step` to look ahead with.

    Source: Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning".
    """
    return transformation(_Nesterov(_filter("filter", filter)))


@state
class NesterovCorrectedState(NamedTuple):
    """The average, and what the momentum schedule has made of a gradient of one."""

    average: BiasCorrectedState
    response: CompensatedSum


@dataclasses.dataclass(frozen=True, eq=False)
class _NesterovCorrected(Rule):
    """μ₊·m/u₊ + (1 − μ)·g/u, where u is the weight given so far by the momentum μ, u₊ that after one step more."""

    average: GradientTransformation
    one_minus_momentum: Any
    one_minus_next_momentum: Any

    def prediction(self, state: Any) -> Any:
        """What the average expects of a gradient, without the correction."""
        return self.average.rule.prediction(state if self.one_minus_momentum is None else state.average)

    def init(self, params: Params) -> Any:
        average = self.average.init(params)
        return average if self.one_minus_momentum is None else NesterovCorrectedState(average, zero_sum())

    def update(self, updates: Updates, state: Any, params: Params | None = None, **extra: Any) -> tuple:
        dtype = float_dtype()
        if self.one_minus_momentum is None:
            _, state = self.average.update(updates, state, params)
            average, response = state, state.response
            leak = next_leak = self.average.rule.filter.rule.leak(dtype)
        else:
            _, average = self.average.update(updates, state.average, params)
            leak = scalar("momentum", self.one_minus_momentum, dtype)
            next_leak = scalar("momentum", self.one_minus_next_momentum, dtype)
            response = state.response.add(leak * (1 - state.response.value))
            state = NesterovCorrectedState(average, response)
        u, next_u = response.value, response.add(next_leak * (1 - response.value)).value
        # Both weights are 0/0 where a momentum of one has let nothing in.
        of_gradient = leak / jnp.where(u == 0, 1, u)
        of_memory = (1 - next_leak) * average.response.value / jnp.where(next_u == 0, 1, next_u)

        def ahead_of(g: jax.Array, v: jax.Array) -> jax.Array:
            real = real_dtype(g.dtype)
            return multiply(of_memory.astype(real), v.astype(g.dtype)) + multiply(of_gradient.astype(real), g)

        return elementwise(ahead_of, updates, average.filter.memory), state


def nesterov_corrected(filter: GradientTransformation, momentum: Any = None) -> GradientTransformation:
    """Nesterov's look-ahead and bias correction in one, as NAdam has them.

    m̂ = μₜ₊₁·mₜ / (1 − μ₁⋯μₜ₊₁) + (1 − μₜ)·g / (1 − μ₁⋯μₜ), where m is what the filter remembers.

    Args:
      filter: a moving average, `ema(b1)`.
      momentum: μ in [0, 1), a number, a traced scalar or (under `clocked`) a schedule, which is also read one
        step ahead. By default the filter's own decay, for μₜ and μₜ₊₁ alike.

    Raises:
      ValueError, TypeError: if `momentum` is out of range or no scalar, or `filter` is no moving average.

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", algorithm 2.
    """
    average = transformation(SelfCorrected(_filter("filter", filter, Ema)))
    if momentum is None:
        return transformation(_NesterovCorrected(average, None, None))
    now = complement("momentum", momentum)
    later = complement("momentum", ahead(as_schedule(momentum))) if callable(momentum) else now
    return transformation(_NesterovCorrected(average, now, later))


@dataclasses.dataclass(frozen=True, eq=False)
class _TwoSpeed(Rule):
    answers: GradientTransformation
    remembers: GradientTransformation

    def init(self, params: Params) -> FilterState:
        return self.remembers.init(params)

    def update(self, updates: Updates, state: FilterState, params: Params | None = None, **extra: Any) -> tuple:
        says = remember(self.answers.rule.step, updates, state.memory)
        memory = remember(self.remembers.rule.step, updates, state.memory)
        return answer(says, updates), FilterState(kept(memory, state.memory))


def two_speed(*, answers: GradientTransformation, remembers: GradientTransformation) -> GradientTransformation:
    """One memory that is kept by one filter, and answers as another would.

    c = answers(v, g), v ← remembers(v, g): Lion's fast answer from a slow memory.

    Args:
      answers: the filter whose step makes the answer from the memory before this gradient.
      remembers: the filter that keeps the memory; both remember the same kind of thing.

    Raises:
      TypeError: if either is no filter.

    Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.
    """
    return transformation(_TwoSpeed(_filter("answers", answers), _filter("remembers", remembers)))
