"""The schedules that a comparison tries, each with the code that makes it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from gdjax.schedules import exponential_decay, inverse_time_decay, per_epoch, step_decay
from gdjax.transforms import chain, reduce_on_plateau


@dataclasses.dataclass(frozen=True)
class Choice:
    """A schedule: how to build an optimizer that follows it, and the source that does the same."""

    build: Callable[[Callable, Any], Any]
    """(factory, learning rate) to optimizer."""
    source: str
    """With `{optimizer}` and `{rate}` to fill in."""

    def __call__(self, factory: Callable, learning_rate: Any) -> Any:
        """The optimizer."""
        return self.build(factory, learning_rate)


def schedules_for(epochs: int) -> dict[str, Choice]:
    """The usual schedules, laid out over a number of epochs.

    `inverse_time` ends at a fifth of the rate, `step` halves at most four times, `exponential` ends at a tenth, and
    `plateau` halves after two epochs without a better training loss.
    """
    k = round(4 / epochs, 4)
    every = max(1, math.ceil(epochs / 5))

    def speaking(schedule: Callable[[Any], Any]) -> Callable[[Callable, Any], Any]:
        return lambda factory, rate: factory(per_epoch(schedule(rate)))

    def source(call: str) -> str:
        return f"gdjax.{{optimizer}}(gdjax.schedules.per_epoch(gdjax.schedules.{call}))"

    return {
        "inverse_time": Choice(
            speaking(lambda rate: inverse_time_decay(rate, k)), source(f"inverse_time_decay({{rate}}, {k})")
        ),
        "step": Choice(speaking(lambda rate: step_decay(rate, every)), source(f"step_decay({{rate}}, {every})")),
        "exponential": Choice(
            speaking(lambda rate: exponential_decay(rate, epochs, 0.1)),
            source(f"exponential_decay({{rate}}, {epochs}, 0.1)"),
        ),
        "plateau": Choice(
            lambda factory, rate: chain(factory(rate), reduce_on_plateau(0.5, patience=2)),
            "gdjax.chain(gdjax.{optimizer}({rate}), gdjax.transforms.reduce_on_plateau(0.5, patience=2))",
        ),
    }


CONSTANT = Choice(lambda factory, rate: factory(rate), "gdjax.{optimizer}({rate})")
"""No schedule."""
