"""A regime is how an epoch slices n examples into batches; the rest of descent is the same for all."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.data.shuffling import RoundKeys, round_keys, shuffled
from gdjax.types import Batch

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

    def __str__(self) -> str:
        names = {None: "full_batch", 1: "stochastic"}
        name = names.get(self.batch_size, "mini_batch")
        arguments = [] if self.batch_size in names else [str(self.batch_size)]
        arguments += [] if self.shuffle is True or self.batch_size is None else [f"shuffle={self.shuffle!r}"]
        arguments += ["drop_remainder=True"] if self.drop_remainder and self.batch_size != 1 else []
        return f"{name}({', '.join(arguments)})" if arguments else name

    def slices(self, n: int, row_bytes: int = 0) -> "Slices":
        """How an epoch of n examples, each of so many bytes, is cut."""
        n = checks.integer("n", n, least=1, most=2**31 - 1)
        rows = n if self.batch_size is None else min(self.batch_size, n)
        together = min(BLOCK_IDS, BLOCK_BYTES // max(row_bytes, 1))
        full, rest = divmod(n, rows)
        block = min(full, max(1, together // rows))
        return Slices(n, rows, full, 0 if self.drop_remainder else rest, block)

    def steps_per_epoch(self, n: int) -> int:
        """Updates that an epoch of n examples makes."""
        return self.slices(n).steps

    @property
    def in_given_order(self) -> bool:
        """Whether batches are contiguous slices of the data as it lies."""
        return self.batch_size is None or not self.shuffle

    def keys(self, key: jax.Array, n: int, epoch: Any) -> RoundKeys | None:
        """The keys of an epoch's order, from the run's order key; None where the order is the given one."""
        if self.in_given_order:
            return None
        return round_keys(jax.random.fold_in(key, 0 if self.shuffle == "once" else epoch), n)

    def ids(self, keys: RoundKeys | None, n: int, start: Any, count: int) -> jax.Array | None:
        """Example ids at places start … start + count − 1, int32 [count]; None where the order is the given one.

        Places beyond the last one repeat it, so that blocks of places need not divide n.
        """
        if keys is None:
            return None
        places = jnp.minimum(start + jnp.arange(count, dtype=jnp.int32), n - 1)
        return shuffled(places, n, keys)

    def block(self, data: Batch, keys: RoundKeys | None, start: Any, count: int) -> Callable[[Any, int], Batch]:
        """The rows at places start … start + count − 1 of the epoch's order, gathered together.

        Returns:
          `rows(place, number)`: so many of them from a place on. A run slices its batches from what lies side by
          side, so that its inner loop reads no more than that.
        """
        first, lying = 0, data
        if keys is not None:
            ids = self.ids(keys, checks.rows("data", data), start, count)
            first, lying = start, jax.tree.map(lambda x: jnp.asarray(x).at[ids].get(mode="promise_in_bounds"), data)

        def rows(place: Any, number: int) -> Batch:
            return jax.tree.map(
                lambda x: x if len(x) == number else jax.lax.dynamic_slice_in_dim(x, place - first, number), lying
            )

        return rows

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
        seen = self.slices(n).seen
        ids = self.ids(self.keys(run_keys(seed).order, n, epoch), n, 0, seen)
        return jnp.arange(seen, dtype=jnp.int32) if ids is None else ids


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


def full_batch() -> Regime:
    """Batch descent: every update sees all examples."""
    return Regime(None, shuffle=False)


def stochastic(*, shuffle: bool | Literal["once"] = True) -> Regime:
    """Stochastic descent: every update sees one example; the same as `mini_batch(1)`.

    Args:
      shuffle: as in `mini_batch`.
    """
    return mini_batch(1, shuffle=shuffle)


def mini_batch(batch_size: int, *, shuffle: bool | Literal["once"] = True, drop_remainder: bool = False) -> Regime:
    """Mini-batch descent: every update sees `batch_size` examples, and every epoch each example once.

    Where the batch size does not divide the number of examples, the last batch is smaller, and its mean
    is over its own rows.

    Args:
      batch_size: rows a batch, at least 1; more than there are examples is all of them.
      shuffle: True for another order each epoch, "once" for one shuffled order, False for the given one.
      drop_remainder: leave the smaller last batch out.

    Raises:
      ValueError, TypeError: if an argument is out of range.

    >>> mini_batch(64).steps_per_epoch(300)
    5
    """
    return Regime(
        checks.integer("batch_size", batch_size, least=1),
        checks.choice("shuffle", shuffle, (True, False, "once")),
        checks.choice("drop_remainder", drop_remainder, (True, False)),
    )
