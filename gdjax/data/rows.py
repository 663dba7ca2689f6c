"""A dataset dealt out to shards, so that every device holds some of its rows and no other's.

Row i of n lies on shard i mod S, as its slot i // S; the n mod S rows that are left over are copied to every device.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from gdjax import checks
from gdjax.data.meshes import laid, over, row_axis
from gdjax.types import Batch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ShardedRows:
    """A dataset's rows by shard; what `placed` makes for a regime with `shards=`."""

    body: Batch
    """Arrays [shards, slots, ...]."""
    tail: Batch
    """Arrays [rows left over, ...], fewer than shards."""

    @property
    def shards(self) -> int:
        """How many there are."""
        return jax.tree.leaves(self.body)[0].shape[0]

    @property
    def slots(self) -> int:
        """Rows of a shard."""
        return jax.tree.leaves(self.body)[0].shape[1]

    @property
    def parts(self) -> tuple[tuple[Batch, int], ...]:
        """(rows, how many), the shards' one after the other, and the tail's where there are some."""
        body = jax.tree.map(lambda x: x.reshape(self.shards * self.slots, *x.shape[2:]), self.body)
        tail = jax.tree.leaves(self.tail)[0].shape[0]
        return ((body, self.shards * self.slots), *([(self.tail, tail)] if tail else []))


def dealt(data: Batch, shards: int, mesh: Mesh | None = None) -> ShardedRows:
    """A dataset's rows, dealt out.

    Args:
      data: a pytree of arrays with a common leading axis, or rows dealt out already.
      shards: how many, at most the number of rows.
      mesh: the devices that the shards lie on.
    """
    if isinstance(data, ShardedRows):
        return data
    slots = checks.rows("data", data) // shards

    def body(leaf: Any) -> Any:
        return leaf[: shards * slots].reshape(slots, shards, *leaf.shape[1:]).swapaxes(0, 1)

    def put(leaf: Any, *axes: str) -> jax.Array:
        return jnp.asarray(leaf) if mesh is None else laid(leaf, over(mesh, *axes))

    along = () if mesh is None else (row_axis(mesh),)
    return ShardedRows(
        jax.tree.map(lambda x: put(body(x), *along), data),
        jax.tree.map(lambda x: put(x[shards * slots :]), data),
    )


def count_rows(data: Any) -> int:
    """Rows of a dataset, dealt out or not.

    Raises:
      ValueError, TypeError: if its arrays don't fit together.
    """
    if isinstance(data, ShardedRows):
        return data.shards * data.slots + jax.tree.leaves(data.tail)[0].shape[0]
    return checks.rows("data", data)
