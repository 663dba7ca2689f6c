"""Transforms that look at the sign alone, or turn it."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from gdjax.transforms.base import GradientTransformation, Rule, elementwise, transformation
from gdjax.types import OptState, Params, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class _Sign(Rule):
    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        return elementwise(jnp.sign, updates), state


def sign() -> GradientTransformation:
    """−1, 0 or 1, coordinate by coordinate; u/|u| where u is complex.

    Source: Bernstein et al. (2018), "signSGD: compressed optimisation for non-convex problems".
    """
    return transformation(_Sign())


@dataclasses.dataclass(frozen=True, eq=False)
class _Negate(Rule):
    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        return elementwise(jnp.negative, updates), state


def negate() -> GradientTransformation:
    """The opposite direction: before an optimizer, it climbs."""
    return transformation(_Negate())
