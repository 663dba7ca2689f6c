"""A plateau that lowers the learning rate inside an optimizer."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype
from gdjax.schedules import Schedule, product
from gdjax.transforms.base import GradientTransformation, Rule, lift, transformation
from gdjax.transforms.plateau import PlateauState, ReduceOnPlateau
from gdjax.types import OptState, Params, Updates, state


@state
class RateState(NamedTuple):
    """The judge, and the state of the optimizer, whose learning rate it has scaled."""

    judge: PlateauState
    scaled: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _RateOnPlateau(Rule):
    optimizer: GradientTransformation
    plateau: GradientTransformation

    def init(self, params: Params) -> RateState:
        return RateState(self.plateau.init(params), self.optimizer.init(params))

    def update(self, updates: Updates, state: RateState, params: Params | None = None, **extra: Any) -> tuple:
        scale, judge = self.plateau.update(jnp.ones((), float_dtype()), state.judge, **extra)
        updates, scaled = _scaled(self.optimizer, scale).update(updates, state.scaled, params, **extra)
        return updates, RateState(judge, scaled)


def _rates(optimizer: GradientTransformation) -> list[Any]:
    leaves = jax.tree_util.tree_flatten_with_path(optimizer, is_leaf=lambda leaf: isinstance(leaf, Schedule))[0]
    return [leaf for path, leaf in leaves if _is_rate(path)]


def _is_rate(path: tuple) -> bool:
    return getattr(path[-1], "name", None) == "learning_rate"


def _scaled(optimizer: GradientTransformation, scale: jax.Array) -> GradientTransformation:
    def one(path: tuple, leaf: Any) -> Any:
        if not _is_rate(path):
            return leaf
        return product(leaf, scale) if isinstance(leaf, Schedule) else jnp.asarray(leaf).astype(float_dtype()) * scale

    return jax.tree_util.tree_map_with_path(one, optimizer, is_leaf=lambda leaf: isinstance(leaf, Schedule))


def starting_rate(optimizer: GradientTransformation) -> Any:
    """The learning rate of an optimizer; where it follows a schedule, that of the first step.

    Raises:
      ValueError: if it has none, or several, or it is 0.
    """
    rates = _rates(lift("optimizer", optimizer))
    if len(rates) != 1:
        raise ValueError(f"`optimizer` must have one learning rate, got {len(rates)} in {optimizer!r}.")
    rate = rates[0]
    rate = rate(0, epoch=0, epoch_fraction=0.0, epochs=1) if isinstance(rate, Schedule) else rate
    if not isinstance(rate, jax.core.Tracer) and float(rate) == 0:
        raise ValueError(f"`optimizer` must begin with a learning rate above 0, got 0 in {optimizer!r}.")
    return rate


def rate_on_plateau(optimizer: GradientTransformation, plateau: GradientTransformation) -> GradientTransformation:
    """`reduce_on_plateau` that acts where the learning rate does, inside the optimizer, and not behind it.

    The two differ where the rate enters a memory, as in Keras's momentum.

    Args:
      optimizer: a transform of gdjax with one learning rate.
      plateau: `reduce_on_plateau(...)`.

    Raises:
      ValueError, TypeError: if an argument is no transform, or `optimizer` has not one learning rate.
    """
    starting_rate(optimizer)
    if not isinstance(getattr(getattr(plateau, "init", None), "__self__", None), ReduceOnPlateau):
        raise TypeError(f"`plateau` must be made by `reduce_on_plateau`, got {plateau!r}.")
    return transformation(_RateOnPlateau(lift("optimizer", optimizer), lift("plateau", plateau)))
