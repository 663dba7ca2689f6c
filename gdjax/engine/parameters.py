"""What of a model trains: its inexact arrays. Everything else is held as it is.

Models carry functions, strings, Python numbers and integer arrays among their leaves (an equinox module
does). `split` takes them apart from what trains, and `merge` puts the model together again; the held
part is a pytree too, so a state that contains it goes through `jit` and `vmap`.
"""

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.types import Params


class Fixed:
    """A leaf that is part of a program's structure; 1, 1.0 and True are three."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf

    def __hash__(self) -> int:
        return hash((type(self.leaf), self.leaf)) if isinstance(self.leaf, Hashable) else id(self.leaf)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fixed) or type(self.leaf) is not type(other.leaf):
            return False
        return self.leaf is other.leaf or (isinstance(self.leaf, Hashable) and bool(self.leaf == other.leaf))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Held:
    """The leaves of a model that do not train, by their place among all leaves."""

    arrays: dict[int, Any]
    """Integer, boolean and key arrays."""
    fixed: tuple = dataclasses.field(metadata={"static": True})
    """(place, `Fixed`) of every other leaf: functions, strings, Python numbers."""
    structure: Any = dataclasses.field(metadata={"static": True})
    """The model's tree structure."""


def split(params: Params) -> tuple[Params, Held]:
    """(the tree of what trains, None elsewhere; the rest)."""
    leaves, structure = jax.tree.flatten(params)
    trains = [_is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    trainable = structure.unflatten([leaf if yes else None for leaf, yes in zip(leaves, trains, strict=True)])
    rest = [(place, leaf) for place, (leaf, yes) in enumerate(zip(leaves, trains, strict=True)) if not yes]
    arrays = {place: leaf for place, leaf in rest if _is_array(leaf)}
    return trainable, Held(
        arrays, tuple((place, Fixed(leaf)) for place, leaf in rest if not _is_array(leaf)), structure
    )


def merge(trainable: Params, held: Held) -> Params:
    """The model that `split` took apart."""
    rest = held.arrays | {place: fixed.leaf for place, fixed in held.fixed}
    trained = iter(jax.tree.leaves(trainable))
    places = range(held.structure.num_leaves)
    return held.structure.unflatten([rest[place] if place in rest else next(trained) for place in places])


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray | np.generic):
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        return inexact or (isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iub")
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
