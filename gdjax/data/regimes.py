"""A regime is how an epoch slices n examples into batches; the rest of descent is the same for all."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.data.shuffling import RoundKeys, ids_at, round_keys

BLOCK_IDS = 16384
"""Examples whose ids are computed and whose rows are gathered in one go, at most: enough to hide the cost of starting,
too few to fill a cache."""

BLOCK_BYTES = 2**18
"""Likewise the bytes of their rows."""


@dataclasses.dataclass(frozen=True)
class Regime:
    """Slices of an epoch. Make one with `full_batch()`, `stochastic()` or `mini_batch(batch_size)`."""

    batch_size: int | None
    """Rows of a batch; None is all of them."""
    shuffle: bool | Literal["once"]
    """True: another order each epoch; "once": one shuffled order; False: the given order."""
    drop_remainder: bool = False
    """Whether the smaller batch at the end of an epoch is left out."""
    shards: int = 1
    """Into how many parts the rows are dealt, each shuffled by itself, so that devices may hold some each."""

    def __str__(self) -> str:
        names = {None: "full_batch", 1: "stochastic"}
        name = names.get(self.batch_size, "mini_batch")
        arguments = [] if self.batch_size in names else [str(self.batch_size)]
        arguments += [] if self.shuffle is True or self.batch_size is None else [f"shuffle={self.shuffle!r}"]
        arguments += ["drop_remainder=True"] if self.drop_remainder and self.batch_size != 1 else []
        arguments += [f"shards={self.shards}"] if self.shards > 1 else []
        return f"{name}({', '.join(arguments)})" if arguments else name

    def slices(self, n: int, row_bytes: int = 0) -> "Slices":
        """How an epoch of n examples, each of so many bytes, is cut."""
        n = checks.integer("n", n, least=1, most=2**31 - 1)
        if n < self.shards:
            raise ValueError(f"`shards` must be at most the number of examples, {n}, got {self.shards}.")
        rows = n if self.batch_size is None else min(self.batch_size, n)
        together = min(BLOCK_IDS, BLOCK_BYTES // max(row_bytes, 1))
        full, rest = (0, n) if rows % self.shards else divmod(n, rows)  # shards give as many rows each to a full batch
        block = min(full, max(1, together // rows))
        return Slices(n, rows, full, 0 if self.drop_remainder and full else rest, block)

    def steps_per_epoch(self, n: int) -> int:
        """Updates that an epoch of n examples makes."""
        return self.slices(n).steps

    @property
    def in_given_order(self) -> bool:
        """Whether batches are contiguous slices of the data as it lies."""
        return self.batch_size is None or not self.shuffle

    def keys(self, key: jax.Array, n: int, epoch: Any) -> RoundKeys | None:
        """The keys of an epoch's order, from the run's order key; None where the order is the given one.

        With shards, those of each [shards, ...], for its n // shards slots.
        """
        if self.in_given_order:
            return None
        key = jax.random.fold_in(key, 0 if self.shuffle == "once" else epoch)
        if self.shards == 1:
            return round_keys(key, n)
        shards = jnp.arange(self.shards, dtype=jnp.uint32)
        return jax.vmap(lambda shard: round_keys(jax.random.fold_in(key, shard), n // self.shards))(shards)

    def ids(self, keys: RoundKeys | None, n: int, start: Any, count: int) -> jax.Array | None:
        """Example ids at places start … start + count − 1, int32 [count]; None where the order is the given one."""
        return None if keys is None else ids_at(start + jnp.arange(count, dtype=jnp.int32), n, keys)

    def order(self, n: int, seed: int = 0, epoch: int = 0) -> jax.Array:
        """The epoch's order of example ids, for people and tests; a run never makes it.

        Args:
          n: the number of examples, at least 1.
          seed: the run's seed.
          epoch: the epoch, counted from 0.

        Returns:
          int32 [n], or fewer where the remainder is dropped.

        >>> mini_batch(2, shuffle=False).order(5).tolist()
        [0, 1, 2, 3, 4]
        >>> mini_batch(4, shuffle=False, shards=2).order(7).tolist()
        [0, 2, 1, 3, 4, 5, 6]
        """
        keys = self.keys(run_keys(seed).order, n, epoch)
        whole = self.batches(keys, n, 0, self.slices(n).full)
        return jnp.concatenate([whole.ravel(), *self.last(keys, n)])

    def batches(self, keys: RoundKeys | None, n: int, first: Any, count: int) -> jax.Array:
        """Example ids of full batches first … first + count − 1, int32 [count, rows]; what lies beyond the last is any.

        With shards, each batch's rows shard by shard.
        """
        each = self.slices(n).rows // self.shards
        ids = self._rounds(keys, n, first * each, count * each)
        return ids.reshape(self.shards, count, each).swapaxes(0, 1).reshape(count, self.shards * each)

    def last(self, keys: RoundKeys | None, n: int) -> tuple[jax.Array, ...]:
        """Example ids of the smaller last batch, if there is one; with shards, of its rows on them and of the others.

        A tuple of none to two int32 arrays.
        """
        slices, slots = self.slices(n), n // self.shards
        first = slices.full * (slices.rows // self.shards)
        if not slices.remainder:
            return ()
        parts = self._rounds(keys, n, first, slots - first), jnp.arange(slots * self.shards, n, dtype=jnp.int32)
        return tuple(part.ravel() for part in parts if part.size)

    def _rounds(self, keys: RoundKeys | None, n: int, first: Any, count: int) -> jax.Array:
        """Example ids at these places of every shard's order, int32 [shards, count]."""
        slots = n // self.shards
        places = first + jnp.arange(count, dtype=jnp.int32)
        if keys is None or self.shards == 1:
            rounds = ids_at(places, slots, keys)[None]
        else:
            rounds = jax.vmap(lambda key: ids_at(places, slots, key))(keys)
        return rounds * self.shards + jnp.arange(self.shards, dtype=jnp.int32)[:, None]


class Slices(NamedTuple):
    """How an epoch of n examples is cut into batches."""

    examples: int
    """n."""
    rows: int
    """Rows of a full batch."""
    full: int
    """Full batches."""
    remainder: int
    """Rows of the smaller last batch; 0 where there is none."""
    block: int
    """Batches whose rows are gathered together."""

    @property
    def steps(self) -> int:
        """Updates an epoch."""
        return self.full + (self.remainder > 0)

    @property
    def seen(self) -> int:
        """Examples an epoch."""
        return self.full * self.rows + self.remainder


class RunKeys(NamedTuple):
    """The PRNG keys of a run, each for its own purpose."""

    init: jax.Array
    """Makes the parameters."""
    order: jax.Array
    """Shuffles the epochs."""
    step: jax.Array
    """Is folded with epoch and step for the loss."""


@jax.jit
def run_keys(seed: Any) -> RunKeys:
    """All keys of a run follow from its seed, an integer that may be traced."""
    return RunKeys(*jax.random.split(jax.random.key(seed), 3))


def full_batch(*, shards: int = 1) -> Regime:
    """Batch descent: every update sees all examples.

    Args:
      shards: as in `mini_batch`.
    """
    return Regime(None, shuffle=False, shards=checks.integer("shards", shards, least=1))


def stochastic(*, shuffle: bool | Literal["once"] = True) -> Regime:
    """Stochastic descent: every update sees one example; the same as `mini_batch(1)`.

    Args:
      shuffle: as in `mini_batch`.
    """
    return mini_batch(1, shuffle=shuffle)


def mini_batch(
    batch_size: int, *, shuffle: bool | Literal["once"] = True, drop_remainder: bool = False, shards: int = 1
) -> Regime:
    """Mini-batch descent: every update sees `batch_size` examples, and every epoch each example once.

    Where the batch size does not divide the number of examples, the last batch is smaller, and its mean
    is over its own rows.

    Args:
      batch_size: rows a batch, at least 1; more than there are examples is all of them.
      shuffle: True for another order each epoch, "once" for one shuffled order, False for the given one.
      drop_remainder: leave the smaller last batch out.
      shards: into how many parts the rows are dealt, for datasets of which each device of a mesh shall hold a part;
        it must divide the batch size, and the devices must divide it. Row i lies on shard i mod `shards`; every batch
        takes as many rows from each, in an order of the shard's own, and the n mod `shards` rows left over come last
        in every epoch. The order does not depend on the number of devices.

    Raises:
      ValueError, TypeError: if an argument is out of range.

    >>> mini_batch(64).steps_per_epoch(300)
    5
    """
    batch_size = checks.integer("batch_size", batch_size, least=1)
    shards = checks.integer("shards", shards, least=1)
    if batch_size % shards:
        raise ValueError(f"`shards` must divide `batch_size`, {batch_size}, got {shards}.")
    return Regime(
        batch_size,
        checks.choice("shuffle", shuffle, (True, False, "once")),
        checks.choice("drop_remainder", drop_remainder, (True, False)),
        shards,
    )
