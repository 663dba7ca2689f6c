"""A transform of another library with its numbers as leaves: its factory is called wherever it is traced."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from gdjax.transforms.base import GradientTransformation, Rule, static, transformation
from gdjax.types import OptState, Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class _FromFactory(Rule):
    numbers: dict[str, Any]
    factory: Callable = static()
    others: tuple = static()

    def _made(self) -> optax.GradientTransformationExtraArgs:
        try:
            return optax.with_extra_args_support(self.factory(**self.numbers, **dict(self.others)))
        except jax.errors.ConcretizationTypeError as error:
            raise TypeError(
                f"`optimizer` must be a factory that takes traced numbers for {', '.join(self.numbers)}, "
                f"got {self.factory!r}, which looks at their values."
            ) from error

    def init(self, params: Params) -> OptState:
        return self._made().init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        return self._made().update(updates, state, params, **extra)


def from_factory(factory: Callable, settings: dict[str, Any]) -> GradientTransformation:
    """What a factory makes of its settings, the numbers among them as leaves.

    Args:
      factory: returns a transform of gdjax or optax; it must not look at the numbers' values.
      settings: its keyword arguments; what is no number is part of the structure.
    """
    numbers = {name: float(value) for name, value in settings.items() if type(value) in (int, float)}
    others = tuple((name, value) for name, value in settings.items() if name not in numbers)
    return transformation(_FromFactory(numbers, factory, others))
