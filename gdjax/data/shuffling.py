"""The order of an epoch as a bijection of indices, computed on the fly.

No permutation is stored and nothing is sorted: the example at any place is a short integer
computation from a few keys, so memory is constant, access is random, and every device and host
computes the same order by itself.

Each round pairs every index x with its mirror image (pivot − x) mod n, and a keyed coin of the pair
decides whether the two change places. A round is its own inverse, so any number of rounds is a bijection
of [0, n) for every n, of either parity, and without cycle walking. After R rounds a place's example, and
a pair's, is uniform up to 2⁻ᴿ.

Source: Hoang, Morris & Rogaway (2012), "An enciphering scheme based on a card shuffle" (swap-or-not).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

ROUNDS = 24

UNROLLED = 8
"""Rounds in one fused kernel: fewer compile faster, more run faster."""


class RoundKeys(NamedTuple):
    """The keys of one epoch's order."""

    pivots: jax.Array
    """uint32 [ROUNDS], each in [0, n)."""
    coins: jax.Array
    """uint32 [ROUNDS]."""


def round_keys(key: jax.Array, n: int) -> RoundKeys:
    """Keys for the order of `n` examples, from a PRNG key."""
    pivots, coins = jax.random.bits(key, (2, ROUNDS), jnp.uint32)
    return RoundKeys(pivots % jnp.uint32(n), coins)


def shuffled(places: jax.Array, n: int, keys: RoundKeys) -> jax.Array:
    """The example ids at `places` of the order.

    Args:
      places: integers in [0, n), any shape.
      n: the number of examples, at most 2³¹ − 1.
      keys: the epoch's keys, made for the same n.

    Returns:
      int32 ids in [0, n), of the shape of `places`, distinct where places are.
    """
    size = jnp.uint32(n)

    def one_round(i: jax.Array, x: jax.Array) -> jax.Array:
        mirror = keys.pivots[i] - x
        mirror = jnp.minimum(mirror, mirror + size)  # a negative difference wraps to a huge one
        return jnp.where(_heads(jnp.maximum(x, mirror), keys.coins[i]), mirror, x)

    x = jax.lax.fori_loop(0, ROUNDS, one_round, places.astype(jnp.uint32), unroll=UNROLLED)
    return x.astype(jnp.int32)


def ids_at(places: jax.Array, n: int, keys: RoundKeys | None) -> jax.Array:
    """The example ids at `places` of an epoch's order, which is the given one without keys.

    Places beyond the last one repeat it, so that blocks of places need not divide n.
    """
    places = jnp.minimum(places, n - 1)
    return places if keys is None else shuffled(places, n, keys)


def _heads(pair: jax.Array, coin: jax.Array) -> jax.Array:
    """A keyed coin: the top bit of two rounds of multiply and shift."""
    x = (pair ^ coin) * jnp.uint32(0x9E3779B1)
    x = (x ^ (x >> 15)) * jnp.uint32(0x85EBCA77)
    return x >= jnp.uint32(1 << 31)
