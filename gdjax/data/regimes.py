"""A regime is how an epoch slices n examples into batches; the rest of descent is the same for all."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.data.shuffling import RoundKeys, round_keys, shuffled
from gdjax.types import Batch


@dataclasses.dataclass(frozen=True)
class Regime:
    """Slices of an epoch. Make one with `full_batch()`, `stochastic()` or `mini_batch(batch_size)`."""

    batch_size: int | None
    """Rows of a batch; None is all of them."""
    shuffle: bool | Literal["once"]
    """True: another order each epoch; "once": one shuffled order; False: the given order."""
    drop_remainder: bool = False
    """Whether the smaller batch at the end of an epoch is left out."""

    def __str__(self) -> str:
        names = {None: "full_batch", 1: "stochastic"}
        return names.get(self.batch_size, f"mini_batch({self.batch_size})")

    def slices(self, n: int) -> tuple[int, int, int]:
        """(full batches, rows of a full batch, rows of the remainder batch or 0) of an epoch of n examples."""
        rows = n if self.batch_size is None else min(self.batch_size, n)
        full = n // rows
        return full, rows, 0 if self.drop_remainder else n - full * rows

    def steps_per_epoch(self, n: int) -> int:
        """Updates that an epoch of n examples makes."""
        full, _, remainder = self.slices(checks.integer("n", n, least=1))
        return full + (remainder > 0)

    @property
    def in_given_order(self) -> bool:
        """Whether batches are contiguous slices of the data as it lies."""
        return self.batch_size is None or not self.shuffle

    def keys(self, key: jax.Array, n: int, epoch: Any) -> RoundKeys | None:
        """The keys of an epoch's order, from the run's key; None where the order is the given one."""
        if self.in_given_order:
            return None
        return round_keys(jax.random.fold_in(key, 0 if self.shuffle == "once" else epoch), n)

    def batch(self, data: Batch, keys: RoundKeys | None, start: Any, rows: int) -> Batch:
        """`rows` rows of the epoch's order from place `start` on."""
        n = checks.rows("data", data)
        if keys is None:
            if rows == n:
                return data
            return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), data)
        ids = shuffled(start + jnp.arange(rows, dtype=jnp.int32), n, keys)
        return jax.tree.map(lambda x: x.at[ids].get(mode="promise_in_bounds", unique_indices=True), data)

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
        """
        full, rows, remainder = self.slices(checks.integer("n", n, least=1))
        places = jnp.arange(full * rows + remainder, dtype=jnp.int32)
        keys = self.keys(order_key(jax.random.key(seed)), n, epoch)
        return places if keys is None else shuffled(places, n, keys)


def order_key(key: jax.Array) -> jax.Array:
    """The part of a run's key that shuffles."""
    return jax.random.fold_in(key, 1)


def full_batch() -> Regime:
    """Batch descent: every update sees all examples."""
    return Regime(None, shuffle=False)


def stochastic(*, shuffle: bool | Literal["once"] = True) -> Regime:
    """Stochastic descent: every update sees one example; the same as `mini_batch(1)`.

    Args:
      shuffle: as in `mini_batch`.
    """
    return mini_batch(1, shuffle=shuffle)


def mini_batch(
    batch_size: int, *, shuffle: bool | Literal["once"] = True, drop_remainder: bool = False
) -> Regime:
    """Mini-batch descent: every update sees `batch_size` examples, and every epoch each example once.

    Where the batch size does not divide the number of examples, the last batch is smaller, and its mean
    is over its own rows.

    Args:
      batch_size: rows a batch, at least 1; more than there are examples is all of them.
      shuffle: True for another order each epoch, "once" for one shuffled order, False for the given one.
      drop_remainder: leave the smaller last batch out.

    Raises:
      ValueError, TypeError: if an argument is out of range.

    >>> [mini_batch(64).slices(300), mini_batch(64).steps_per_epoch(300)]
    [(4, 64, 44), 5]
    """
    return Regime(
        checks.integer("batch_size", batch_size, least=1),
        checks.choice("shuffle", shuffle, (True, False, "once")),
        checks.choice("drop_remainder", drop_remainder, (True, False)),
    )
