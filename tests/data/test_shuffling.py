import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gdjax.data.regimes import mini_batch, run_keys
from gdjax.data.shuffling import round_keys, shuffled

EPOCHS = 20_000
WINDOW = 4096


@jax.jit
def window(n, seed, epoch, start):
    """`WINDOW` places of an order from `start` on, around its end; n is data, so one program does for all."""
    keys = round_keys(jax.random.fold_in(run_keys(seed).order, epoch), n)
    return shuffled((start + jnp.arange(WINDOW, dtype=jnp.uint32)) % n, n, keys)


@functools.cache
def orders(n):
    """The orders of many epochs [EPOCHS, n]."""
    order = jax.jit(jax.vmap(lambda epoch: mini_batch(1).order(n, seed=7, epoch=epoch)))
    return np.asarray(order(jnp.arange(EPOCHS, dtype=jnp.int32)))


def test_every_n_is_a_bijection():
    for n in range(1, 3001):
        ids = np.asarray(window(np.uint32(n), np.uint32(n + 1), np.int32(n % 5), np.uint32(0)))[:n]
        assert np.array_equal(np.sort(ids), np.arange(n)), n


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), st.data())
@settings(deadline=None)
def test_any_window_of_any_order_is_distinct(n, seed, epoch, data):
    start = data.draw(st.integers(0, n - 1))
    ids = np.asarray(window(np.uint32(n), np.uint32(seed), np.int32(epoch), np.uint32(start)))[:n]
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    assert ids.max() < n
    assert len(np.unique(ids)) == min(n, WINDOW)


@pytest.mark.parametrize("n", [5, 8, 16, 100])
def test_every_place_gets_every_id_equally_often(n):
    counts = np.stack([np.bincount(column, minlength=n) for column in orders(n).T])
    expected = EPOCHS / n
    # Rows and columns of a sum of permutation matrices are fixed: its χ² is n/(n − 1) times one of (n − 1)² freedoms.
    statistic = np.sum((counts - expected) ** 2) / expected * (n - 1) / n
    assert stats.chi2.sf(statistic, (n - 1) ** 2) > 1e-4


@pytest.mark.parametrize("n", [5, 8, 16, 100])
def test_first_pairs_are_equally_frequent(n):
    first, second = orders(n)[:, 0], orders(n)[:, 1]
    counts = np.bincount(first * n + second, minlength=n * n).reshape(n, n)
    assert stats.chisquare(counts[~np.eye(n, dtype=bool)]).pvalue > 1e-4


@pytest.mark.parametrize("n", [5, 8, 16, 100])
def test_consecutive_epochs_are_independent(n):
    first = orders(n)[:, 0]
    assert stats.chisquare(np.bincount(first[::2] * n + first[1::2], minlength=n * n)).pvalue > 1e-4


@pytest.mark.parametrize("n", [5, 8, 16, 100])
def test_both_parities_occur_half_the_time(n):
    inversions = sum((orders(n)[:, i, None] > orders(n)[:, i + 1 :]).sum(axis=1) for i in range(n))
    assert stats.binomtest(int(np.sum(inversions % 2)), EPOCHS).pvalue > 1e-4
