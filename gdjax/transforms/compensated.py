"""Sums that lose nothing: a running total in two floats.

Source: Knuth (1969), The Art of Computer Programming 2, section 4.2.2, theorem B.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype
from gdjax.types import state


@state
class CompensatedSum(NamedTuple):
    """A total in two floats, float32 (float64 under x64), shape () each."""

    value: jax.Array
    """The total, rounded."""
    rest: jax.Array
    """What `value` cannot hold."""

    def add(self, term: jax.Array) -> "CompensatedSum":
        """The total with one more term."""
        value, error = _two_sum(self.value, term)
        return CompensatedSum(*_two_sum(value, self.rest + error))


def zero_sum() -> CompensatedSum:
    """An empty sum."""
    return CompensatedSum(jnp.zeros((), float_dtype()), jnp.zeros((), float_dtype()))


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)
