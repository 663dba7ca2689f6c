"""Many small leaves as one buffer a dtype.

An update costs a few kernels a leaf, and a compiler's time for each; for leaves of a few hundred numbers that is most
of the cost. `pack` lays them side by side, so that an optimizer sees one leaf, and a loss takes them apart again with
`.tree`, whose gradient is a single concatenation.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.engine.parameters import split
from gdjax.types import Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed:
    """A pytree with its small leaves side by side; itself a pytree, as are gradients and moments of one."""

    buffers: dict[str, jax.Array]
    """By dtype, the small leaves, raveled, one after the other [numbers]."""
    rest: dict[int, Any]
    """The other leaves, by their place among all."""
    plan: tuple = dataclasses.field(metadata={"static": True})
    """By dtype, the places and shapes of the leaves in its buffer."""
    structure: Any = dataclasses.field(metadata={"static": True})
    """The tree's structure."""

    @property
    def tree(self) -> Params:
        """The tree that was packed; leading axes of the buffers, such as those of a batch of models, come first."""
        leaves = dict(self.rest)
        for dtype, parts in self.plan:
            buffer = jnp.asarray(self.buffers[dtype])
            pieces = jax.lax.split(buffer, [math.prod(shape) for _, shape in parts], axis=buffer.ndim - 1)
            for piece, (place, shape) in zip(pieces, parts, strict=True):
                leaves[place] = piece.reshape(*buffer.shape[:-1], *shape)
        return self.structure.unflatten([leaves[place] for place in range(self.structure.num_leaves)])


def pack(params: Params, *, largest: int = 4096) -> Packed:
    """Parameters with their small leaves in one buffer for each dtype.

    The updates of thousands of small leaves then take the time of one. Rules that look at each number alone, and those
    that look at all (a global norm), give what they give on the tree; rules by leaf (`lamb`, masks by name) see a
    buffer as one leaf. Leaves that don't train, large ones, and sharded ones where the sharding can be seen (on
    arrays, or in the types of an explicitly sharded program) stay as they are.

    Args:
      params: a pytree.
      largest: the most numbers of a leaf that is packed, at least 1.

    Returns:
      A pytree whose `.tree` has the structure, shapes and dtypes of `params`.

    Raises:
      ValueError, TypeError: if `largest` is no positive integer.

    >>> import jax, jax.numpy as jnp, gdjax
    >>> packed = gdjax.pack({"w": jnp.ones((2, 3)), "b": jnp.zeros(3)})
    >>> jax.tree.map(jnp.shape, packed.buffers)
    {'float32': (9,)}
    >>> gradients = jax.grad(lambda packed: jnp.sum(packed.tree["w"] ** 2))(packed)
    >>> gradients.tree["w"].shape
    (2, 3)
    """
    largest = checks.integer("largest", largest, least=1)
    leaves, structure = jax.tree.flatten(params)
    trains = split(dict(enumerate(leaves)))[0]
    groups: dict[str, dict[int, jax.Array]] = {}
    for place, leaf in trains.items():
        if leaf is not None and 1 <= leaf.size <= largest and not _sharded(leaf):
            array = jnp.asarray(leaf)
            groups.setdefault(array.dtype.name, {})[place] = array
    return Packed(
        buffers={dtype: jnp.concatenate([x.ravel() for x in group.values()]) for dtype, group in groups.items()},
        rest={place: leaf for place, leaf in enumerate(leaves) if not any(place in group for group in groups.values())},
        plan=tuple((dtype, tuple((place, x.shape) for place, x in group.items())) for dtype, group in groups.items()),
        structure=structure,
    )


def _sharded(leaf: Any) -> bool:
    """Whether a leaf is known to be spread over devices."""
    if isinstance(leaf, jax.core.Tracer):
        return any(axis is not None for axis in jax.typeof(leaf).sharding.spec)
    return isinstance(leaf, jax.Array) and not leaf.sharding.is_fully_replicated
