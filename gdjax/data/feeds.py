"""A feed gives a run its batches: rows gathered a block of batches at a time, each device its own share of every one.

Only gathering is written for each device by hand; on what is gathered, XLA divides the work.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import with_sharding_constraint
from jax.sharding import Mesh, PartitionSpec

from gdjax.data.meshes import over, row_axis, row_devices, spread
from gdjax.data.regimes import Regime, Slices
from gdjax.data.rows import ShardedRows, dealt
from gdjax.data.shuffling import RoundKeys, ids_at
from gdjax.data.windows import Window
from gdjax.types import Batch

Parts = tuple[tuple[Batch, int], ...]
"""A batch as parts of so many rows each: one, but for the last batch of sharded rows, whose tail is another."""


@dataclasses.dataclass(frozen=True)
class Feed:
    """The batches of an epoch, from rows of which every device has a copy."""

    regime: Regime
    slices: Slices
    data: Batch
    keys: RoundKeys | None
    mesh: Mesh | None

    def block(self, first: Any, batches: int) -> Callable[[Any], Parts]:
        """Full batches first … first + batches − 1; gives batch i of them."""
        rows = self.slices.rows
        taken = self._gathered(first, batches, rows)
        return lambda i: ((_as_it_lies(taken(i), i, self.mesh), rows),)

    def last(self) -> Parts:
        """The remainder batch."""
        return ((self._gathered(self.slices.full, 1, self.slices.remainder)(self.slices.full), self.slices.remainder),)

    def _gathered(self, first: Any, batches: int, number: int) -> Callable[[Any], Batch]:
        """`number` rows of each batch, gathered together, so that an inner loop reads no more than that."""
        rows = self.slices.rows
        if row_devices(self.mesh) > 1 and number % row_devices(self.mesh) == 0:
            return self._shared(first, batches, number)
        start, lying = 0, self.data
        ids = self.regime.ids(self.keys, self.slices.examples, first * rows, batches * number)
        if ids is not None:
            start, lying = first * rows, _taken(self.data, ids)

        def batch(i: Any) -> Batch:
            return jax.tree.map(
                lambda x: x if len(x) == number else jax.lax.dynamic_slice_in_dim(x, i * rows - start, number), lying
            )

        return batch

    def _shared(self, first: Any, batches: int, number: int) -> Callable[[Any], Batch]:
        """As `_gathered`, of every batch only its own rows on each device."""
        assert self.mesh is not None
        axis, each, n = row_axis(self.mesh), number // row_devices(self.mesh), self.slices.examples
        if number == n:  # the rows as they lie are the batch
            data = with_sharding_constraint(self.data, over(self.mesh, axis))
            return lambda i: data

        def share(data: Batch, keys: RoundKeys | None, first: Any) -> Batch:
            starts = (first + jnp.arange(batches, dtype=jnp.int32)) * self.slices.rows + jax.lax.axis_index(axis) * each
            return _taken(data, ids_at(starts[:, None] + jnp.arange(each, dtype=jnp.int32)[None], n, keys))

        copies = PartitionSpec()
        share = spread(self.mesh, share, (copies, copies, copies), PartitionSpec(None, axis))
        lying = share(self.data, self.keys, jnp.asarray(first, jnp.int32))
        return lambda i: jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i - first, keepdims=False), lying)


@dataclasses.dataclass(frozen=True)
class ShardedFeed:
    """The batches of an epoch, from rows dealt out to shards."""

    regime: Regime
    slices: Slices
    data: ShardedRows
    keys: RoundKeys | None
    mesh: Mesh | None

    def block(self, first: Any, batches: int) -> Callable[[Any], Parts]:
        """Full batches first … first + batches − 1; gives batch i of them."""
        rows = self.slices.rows
        each = rows // self.regime.shards
        start, lying = self._gathered(first * each, batches * each)
        return lambda i: ((_as_it_lies(self._merged(lying, i * each - start, each), i, self.mesh), rows),)

    def last(self) -> Parts:
        """The remainder batch: what is left of every shard, and the tail."""
        first = self.slices.full * (self.slices.rows // self.regime.shards)
        number, parts = self.data.slots - first, []
        if number:
            start, lying = self._gathered(first, number)
            parts.append((self._merged(lying, first - start, number), number * self.regime.shards))
        tail = self.slices.remainder - number * self.regime.shards
        return (*parts, *([(self.data.tail, tail)] if tail else []))

    def _gathered(self, first: Any, rounds: int) -> tuple[Any, Batch]:
        """(their first round, arrays [shards, rounds, ...]) of which the rounds asked for are a part."""
        if self.keys is None:
            return 0, self.data.body
        slots = self.data.slots

        def of_shard(body: Batch, keys: RoundKeys, first: Any) -> Batch:
            return _taken(body, ids_at(first + jnp.arange(rounds, dtype=jnp.int32), slots, keys))

        shards = PartitionSpec(None if self.mesh is None else row_axis(self.mesh))
        of_shards = spread(self.mesh, jax.vmap(of_shard, (0, 0, None)), (shards, shards, PartitionSpec()), shards)
        return first, of_shards(self.data.body, self.keys, jnp.asarray(first, jnp.int32))

    def _merged(self, lying: Batch, start: Any, number: int) -> Batch:
        """Rounds of all shards as the rows of a batch, shard by shard."""

        def rows(x: jax.Array) -> jax.Array:
            x = x if x.shape[1] == number else jax.lax.dynamic_slice_in_dim(x, start, number, axis=1)
            return x.reshape(-1, *x.shape[2:])

        batch = jax.tree.map(rows, lying)
        return batch if self.mesh is None else with_sharding_constraint(batch, over(self.mesh, row_axis(self.mesh)))


@dataclasses.dataclass(frozen=True)
class WindowFeed:
    """The batches of a part of an epoch, gathered on the host."""

    slices: Slices
    window: Window
    mesh: Mesh | None

    def block(self, first: Any, batches: int) -> Callable[[Any], Parts]:
        """Full batches first … first + batches − 1, of which the window has some; gives batch i of those."""

        def batch(i: Any) -> Parts:
            place = i - self.window.first
            rows = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, place, keepdims=False), self.window.batches)
            return ((_as_it_lies(rows, i, self.mesh), self.slices.rows),)

        return batch

    def last(self) -> Parts:
        """The remainder batch."""
        return tuple((part, jax.tree.leaves(part)[0].shape[0]) for part in self.window.last)


def feed(
    regime: Regime, slices: Slices, data: Any, order: jax.Array, epoch: Any, mesh: Mesh | None = None
) -> Feed | ShardedFeed | WindowFeed:
    """An epoch's batches.

    Args:
      regime: how the epoch is sliced.
      slices: those of this dataset.
      data: a pytree of arrays with a common leading axis; or, of a regime with shards, rows dealt out; or a window.
      order: the run's key of that name.
      epoch: which, an integer scalar, may be traced.
      mesh: the devices that share the rows of a batch, where their number divides it.
    """
    if isinstance(data, Window):
        return WindowFeed(slices, data, mesh)
    keys = regime.keys(order, slices.examples, epoch)
    if regime.shards > 1:
        return ShardedFeed(regime, slices, dealt(data, regime.shards), keys, mesh)
    return Feed(regime, slices, data, keys, mesh)


def _taken(data: Batch, ids: jax.Array) -> Batch:
    return jax.tree.map(lambda x: jnp.asarray(x).at[ids].get(mode="promise_in_bounds"), data)


def _as_it_lies(batch: Batch, i: Any, mesh: Mesh | None) -> Batch:
    """The same numbers, such that a TPU's compiler takes them from the dataset as it lies.

    It multiplies float32 as bfloat16, and would make a copy of the dataset in that before the first step. It does not
    see that no bit is set here, since i is not negative.
    """
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    if device.platform != "tpu":
        return batch
    nothing = jnp.minimum(i, 0).astype(jnp.uint32)

    def same(x: jax.Array) -> jax.Array:
        if x.dtype != jnp.float32:
            return x
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32) | nothing
        return jax.lax.bitcast_convert_type(bits, x.dtype)

    return jax.tree.map(same, batch)
