import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.data.regimes import run_keys


def weights(regime, n, how):
    """The weight of every row in every batch of one epoch of a run [steps, n]: each row has a parameter of its own."""
    run = gdjax.training(
        lambda w, ids: jnp.mean(w[ids]),
        optimizer=gdjax.gd(1.0),
        regime=regime,
        record=lambda params, gradients, updates, state: {"weight": gradients},
    )
    state, data = run.init(jnp.zeros(n), seed=3), jnp.arange(n)
    if how == "epoch":
        state, record = jax.jit(run.epoch)(state, data)
    else:
        state, record = jax.jit(run.steps)(state, data, regime.steps_per_epoch(n))
    seen = np.asarray(record.recorded["weight"])
    np.testing.assert_allclose(state.params, -seen.sum(axis=0), rtol=1e-6)
    return seen


@pytest.mark.parametrize("how", ["epoch", "steps"])
@pytest.mark.parametrize(
    ("regime", "n", "rows"),
    [
        (gdjax.mini_batch(64), 300, [64, 64, 64, 64, 44]),
        (gdjax.mini_batch(64, shuffle="once"), 300, [64, 64, 64, 64, 44]),
        (gdjax.mini_batch(64, shuffle=False), 300, [64, 64, 64, 64, 44]),
        (gdjax.mini_batch(64, drop_remainder=True), 300, [64, 64, 64, 64]),
        (gdjax.mini_batch(512), 300, [300]),
        (gdjax.full_batch(), 300, [300]),
        (gdjax.stochastic(), 7, [1] * 7),
        (gdjax.mini_batch(1000), 33_100, [1000] * 33 + [100]),  # ids of an epoch in three blocks
    ],
    ids=lambda value: f"{len(value)} batches" if isinstance(value, list) else str(value),
)
def test_every_batch_is_the_mean_over_its_own_rows(regime, n, rows, how):
    seen = weights(regime, n, how)
    order = np.split(np.asarray(regime.order(n, seed=3)), np.cumsum(rows)[:-1])
    assert [len(ids) for ids in order] == rows
    assert regime.steps_per_epoch(n) == len(rows) == len(seen)
    for row, ids in zip(seen, order, strict=True):
        assert set(np.flatnonzero(row)) == set(ids.tolist())
        np.testing.assert_allclose(row[ids], 1 / len(ids), rtol=1e-6)
    assert np.count_nonzero(seen) == len(set(np.nonzero(seen)[1])) == sum(rows)


@pytest.mark.parametrize("how", ["epoch", "steps"])
@pytest.mark.parametrize("regime", [gdjax.mini_batch(64), gdjax.mini_batch(64, drop_remainder=True)], ids=repr)
def test_epoch_losses_weigh_batches_by_rows(regime, how):
    data = jnp.arange(300.0) ** 2
    run = gdjax.training(lambda w, x: jnp.mean(x) + 0 * w, optimizer=gdjax.gd(0.1), regime=regime)
    _, record = getattr(run, how)(run.init(jnp.zeros(())), data, **({"stop": 99} if how == "steps" else {}))
    seen = np.asarray(data, np.float64)[np.asarray(regime.order(300))]
    np.testing.assert_allclose(record.loss[-1], seen.mean(), rtol=1e-6)
    np.testing.assert_allclose(record.loss[1], seen[:128].mean(), rtol=1e-6)  # before that, the mean so far


@pytest.mark.parametrize("n", [1, 2, 3, 300, 20_000])
@pytest.mark.parametrize("shuffle", [True, "once", False])
def test_order_is_a_bijection(n, shuffle):
    order = gdjax.mini_batch(4, shuffle=shuffle).order(n, seed=1, epoch=2)
    assert order.dtype == jnp.int32
    assert np.array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize(("shuffle", "different"), [(True, 12), ("once", 3), (False, 1)])
def test_what_orders_differ_between(shuffle, different):
    regime = gdjax.mini_batch(4, shuffle=shuffle)
    orders = {tuple(regime.order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(4)}
    assert len(orders) == different
    assert (tuple(range(50)) in orders) is (shuffle is False)


def test_order_is_the_same_in_float64(x64):
    wide = gdjax.mini_batch(4).order(50, seed=1, epoch=2)
    jax.config.update("jax_enable_x64", False)
    assert wide.dtype == jnp.int32
    assert np.array_equal(wide, gdjax.mini_batch(4).order(50, seed=1, epoch=2))


@pytest.mark.parametrize("block", [7, 50, 64])
def test_ids_in_blocks_are_the_order(block):
    regime = gdjax.mini_batch(4)
    keys = regime.keys(run_keys(1).order, 50, 2)
    blocks = [regime.ids(keys, 50, start, block) for start in range(0, 50, block)]
    ids, order = np.concatenate(blocks), np.asarray(regime.order(50, seed=1, epoch=2))
    assert np.array_equal(ids[:50], order)
    assert np.all(ids[50:] == order[-1])  # beyond the end, the last one


def test_order_leaves_the_dropped_remainder_out():
    whole, dropped = gdjax.mini_batch(64), gdjax.mini_batch(64, drop_remainder=True)
    assert np.array_equal(dropped.order(300, seed=1), whole.order(300, seed=1)[:256])


def test_stochastic_is_mini_batch_of_one():
    assert gdjax.stochastic() == gdjax.mini_batch(1)
    assert gdjax.stochastic(shuffle="once") == gdjax.mini_batch(1, shuffle="once")
    assert hash(gdjax.stochastic()) == hash(gdjax.mini_batch(1))


@pytest.mark.parametrize(
    ("regime", "name"),
    [(gdjax.full_batch(), "full_batch"), (gdjax.stochastic(), "stochastic"), (gdjax.mini_batch(64), "mini_batch(64)")],
)
def test_regimes_say_their_name(regime, name):
    assert str(regime) == name


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gdjax.mini_batch(0), ValueError, "`batch_size` must be at least 1, got 0."),
        (lambda: gdjax.mini_batch(-3), ValueError, "`batch_size` must be at least 1, got -3."),
        (lambda: gdjax.mini_batch(32.0), TypeError, "`batch_size` must be an integer, got 32.0."),
        (lambda: gdjax.mini_batch("32"), TypeError, "`batch_size` must be an integer, got '32'."),
        (lambda: gdjax.mini_batch(True), TypeError, "`batch_size` must be an integer, got True."),
        (lambda: gdjax.mini_batch(None), TypeError, "`batch_size` must be an integer, got None."),
        (
            lambda: gdjax.mini_batch(4, shuffle="twice"),
            ValueError,
            "`shuffle` must be one of True, False, 'once', got 'twice'.",
        ),
        (
            lambda: gdjax.mini_batch(4, shuffle=1),
            ValueError,
            "`shuffle` must be one of True, False, 'once', got 1.",
        ),
        (
            lambda: gdjax.mini_batch(4, drop_remainder="no"),
            ValueError,
            "`drop_remainder` must be one of True, False, got 'no'.",
        ),
        (lambda: gdjax.mini_batch(4).order(0), ValueError, "`n` must be at least 1, got 0."),
        (lambda: gdjax.mini_batch(4).steps_per_epoch(4.5), TypeError, "`n` must be an integer, got 4.5."),
    ],
)
def test_wrong_numbers_are_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("size", [np.int64(4), jnp.array(4)])
def test_any_integer_is_a_batch_size(size):
    assert gdjax.mini_batch(size) == gdjax.mini_batch(4)
