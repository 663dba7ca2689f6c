"""An average of the parameters, kept beside them by the same filters that average gradients."""

from typing import Any

import jax

from gdjax.dtypes import cast
from gdjax.transforms.base import GradientTransformation, transformation
from gdjax.transforms.bias_correction import SelfCorrected
from gdjax.transforms.clock import ClockState, clocked
from gdjax.transforms.filters import FilterState, is_average
from gdjax.types import Params


def averaging(filter: Any) -> GradientTransformation:
    """The transform that is fed parameters instead of gradients, debiased and under a clock of its own.

    Raises:
      TypeError: if `filter` is no linear filter.
    """
    if not is_average(filter):
        raise TypeError(f"`average` must be a filter such as `ema(0.999)` or `weighted_sum()`, got {filter!r}.")
    return clocked(transformation(SelfCorrected(filter)))


def started(average: GradientTransformation, params: Params) -> ClockState:
    """The state before the first step, when the average is the parameters themselves."""
    state = average.init(params)
    memory = jax.tree.map(lambda v, p: cast(p, v.dtype), state.inner.filter.memory, params)
    return state._replace(inner=state.inner._replace(filter=FilterState(memory)))


def averaged(state: ClockState, like: Params) -> Params:
    """The average that such a state holds, in the dtypes of the parameters."""
    return jax.tree.map(lambda v, p: cast(v, p.dtype), state.inner.filter.memory, like)
