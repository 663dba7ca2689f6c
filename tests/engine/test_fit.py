import functools
import logging
import os
import signal
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules
from gdjax.transforms import reduce_on_plateau

ROWS = 22


def problem():
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 3)).astype(np.float32)
    params = {"w": jnp.array([0.5, 0.5, 0.5]), "b": jnp.zeros(())}
    return params, {"x": x, "y": x @ np.array([1, -2, 3], np.float32)}


def squares(params, batch):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def noisy(params, batch, *, key):
    kept = jax.random.bernoulli(key, 0.8, batch["x"].shape).astype(jnp.float32)
    return squares(params, batch | {"x": batch["x"] * kept})


def train(optimizer, regime=None, *, loss_fn=squares, epochs=3, **settings):
    params, data = problem()
    regime = gdjax.mini_batch(5) if regime is None else regime
    settings = {"seed": 1} | settings
    return gdjax.fit(loss_fn, params, data, optimizer=optimizer, regime=regime, epochs=epochs, **settings)


def by_hand(optimizer, regime, *, epochs=3, seed=1):
    """The loop that `fit` stands for: (params, step losses)."""
    params, data = problem()
    optimizer = optax.with_extra_args_support(optimizer)
    state, losses, epoch_value = optimizer.init(params), [], np.float32(np.nan)

    @jax.jit
    def step(params, state, batch, epoch, epoch_fraction, epoch_value):
        loss, gradients = jax.value_and_grad(squares)(params, batch)
        position = {"epoch": epoch, "epoch_fraction": epoch_fraction, "epoch_value": epoch_value}
        updates, state = optimizer.update(gradients, state, params, value=loss, **position)
        return optax.apply_updates(params, updates), state, loss

    for epoch in range(epochs):
        size = regime.batch_size or ROWS
        order = np.asarray(regime.order(ROWS, seed, epoch))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for i, ids in enumerate(batches):
            batch = jax.tree.map(lambda column, ids=ids: column[ids], data)
            fraction = np.float32(i / len(batches))
            params, state, loss = step(params, state, batch, np.int32(epoch), fraction, epoch_value)
            losses.append(float(loss))
        epoch_value = np.average(losses[-len(batches) :], weights=[len(ids) for ids in batches]).astype(np.float32)
    return params, losses


def scheduled():
    rate = schedules.per_epoch(schedules.exponential_decay(0.1, 1, 0.5))
    return gdjax.chain(gdjax.adam(rate), reduce_on_plateau(0.5, patience=1, rtol=0.9))


def bits(tree):
    """Every leaf's bytes."""
    leaves = jax.tree.leaves(tree)
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if key else x).tobytes() for x, key in zip(leaves, keys, strict=True)]


def columns(history):
    return {"loss": history.loss, "step_loss": history.step_loss, "learning_rate": history.learning_rate}


@pytest.mark.parametrize(
    ("optimizer", "regime"),
    [
        (scheduled(), gdjax.mini_batch(5)),
        (gdjax.gd(0.05), gdjax.mini_batch(5, shuffle="once", drop_remainder=True)),
        (gdjax.heavy_ball(0.01), gdjax.stochastic()),
        (optax.adam(0.1), gdjax.mini_batch(5)),
        (optax.sgd(0.01, momentum=0.9), gdjax.mini_batch(5, shuffle=False)),
        (optax.chain(optax.clip_by_global_norm(1.0), gdjax.gd(0.1)), gdjax.full_batch()),
    ],
    ids=["scheduled", "gd", "heavy_ball", "optax.adam", "optax.sgd", "optax.chain"],
)
def test_fit_is_a_plain_loop(optimizer, regime):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        result = train(optimizer, regime)
        params, losses = by_hand(optimizer, regime)
    np.testing.assert_allclose(result.history.step_loss, losses, rtol=2e-5)
    for one, other in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (gdjax.mini_batch(ROWS, shuffle=False), gdjax.full_batch()),
        (gdjax.mini_batch(ROWS + 5, shuffle=False), gdjax.full_batch()),
    ],
    ids=["mini(n) is full", "mini(n + 5) is full"],
)
def test_equal_regimes_give_equal_numbers(one, other):
    first, second = train(gdjax.adam(0.1), one), train(gdjax.adam(0.1), other)
    assert bits(first.params) == bits(second.params)
    assert bits(columns(first.history)) == bits(columns(second.history))


def test_a_batch_larger_than_the_data_makes_one_short_update():
    result = train(gdjax.gd(0.1), gdjax.mini_batch(1000), epochs=1)
    params, data = problem()
    gradients = jax.grad(squares)(params, data)
    np.testing.assert_allclose(result.params["w"], params["w"] - 0.1 * gradients["w"], rtol=1e-5)
    assert result.history.step_loss.shape == (1,)


def test_a_continued_run_is_the_uninterrupted_one():
    def loss(params, batch, *, key, training):
        return noisy(params, batch, key=key) if training else squares(params, batch)

    settings = {"loss_fn": loss, "validation": problem()[1]}
    whole = train(scheduled(), epochs=4, **settings)
    part = train(scheduled(), epochs=1, **settings)
    parts = [part.history]
    for epochs in (2, 2, 4, 4):  # to a place and again to it; to the end and again to it
        before = part.state
        part = train(scheduled(), epochs=epochs, state=before, seed=99, **settings)  # the state knows its own seed
        if int(before.epoch) == epochs:
            assert bits(part.state) == bits(before)
            assert part.history.step_loss.size == part.history.validation_loss.size == 0
        parts.append(part.history)
    assert bits(part.state) == bits(whole.state)
    for name in ("loss", "step_loss", "learning_rate", "validation_loss"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole.history, name), strict=True)


def test_a_second_fit_compiles_nothing(caplog):
    traces = []

    def loss(params, batch):
        traces.append(1)
        return squares(params, batch)

    def run(rate, seed, b2):
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            train(gdjax.adam(rate, b2=b2), loss_fn=loss, seed=seed, validation=problem()[1])
        compiled = [record.getMessage() for record in caplog.records if "ompil" in record.getMessage()]
        caplog.clear()
        return compiled

    assert run(0.1, 0, 0.999)
    count = len(traces)
    assert count > 0
    for settings in ((0.2, 0, 0.999), (0.1, 5, 0.999), (0.1, 0, 0.9), (0.3, 2**31, 0.5)):
        assert run(*settings) == []
    assert len(traces) == count


ENDLESS = 10**9
"""Epochs that no machine makes while a test waits."""


def slow_run(*, epochs=ENDLESS, **settings):
    """To be interrupted; with one step an epoch."""
    return train(gdjax.gd(1e-6), gdjax.full_batch(), epochs=epochs, **settings)


def test_ctrl_c_keeps_what_is_trained():
    slow_run(epochs=4096)  # compile
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    result = slow_run()
    timer.join()
    made = int(result.state.epoch)
    assert result.interrupted
    assert 0 < made < ENDLESS
    assert result.history.loss.shape == result.history.step_loss.shape == (made,)
    assert signal.getsignal(signal.SIGINT) is before
    again = slow_run(epochs=made + 10, state=result.state)
    assert not again.interrupted
    assert again.history.loss.shape == (10,)


def test_the_handler_is_restored_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="scalar"):
        train(gdjax.gd(0.1), loss_fn=lambda params, batch: batch["y"])
    assert signal.getsignal(signal.SIGINT) is before


def test_fit_runs_in_any_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(train(gdjax.gd(0.1))))
    thread.start()
    thread.join()
    assert results[0].history.loss.shape == (3,)


def test_progress_is_shown(capsys):
    with_bar, without = train(gdjax.gd(0.1), progress=True), train(gdjax.gd(0.1))
    shown = capsys.readouterr().err
    assert "compiling" in shown
    assert "3/3 epochs" in shown
    assert f"loss={with_bar.history.step_loss[-1]:.4g}" in shown
    assert bits(with_bar.params) == bits(without.params)
    assert not capsys.readouterr().err


def test_progress_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="`progress=True` needs tqdm"):
        train(gdjax.gd(0.1), progress=True)
    train(gdjax.gd(0.1))


def test_a_partial_loss_is_a_loss():
    def scaled(scale, params, batch):
        return scale * squares(params, batch)

    one = train(gdjax.gd(0.01), loss_fn=functools.partial(scaled, np.float32(2.0))).history.loss
    np.testing.assert_allclose(one, 2 * train(gdjax.gd(0.02)).history.loss, rtol=1e-5)


@pytest.mark.parametrize("recorded", [None, 1.0, [jnp.zeros(2)], {"a": [jnp.zeros(2)]}, {1: jnp.zeros(2)}])
def test_record_returns_a_dict_of_arrays(recorded):
    with pytest.raises(TypeError, match="`record` must return a dict of name to array, got"):
        gdjax.fit(
            lambda w, x: jnp.mean((w - x) ** 2), jnp.zeros(()), jnp.ones(4), optimizer=gdjax.gd(0.1),
            regime=gdjax.full_batch(), epochs=1, record=lambda *_: recorded,
        )  # fmt: skip


@pytest.mark.parametrize("number", [2**40, 2**31, -(2**33), 1e300])
def test_numbers_that_jax_would_change_are_refused(number):
    with pytest.raises(ValueError, match=r"`data\['y'\]` must fit into (int32|float32)"):
        gdjax.fit(
            lambda w, batch: jnp.mean(w - batch["y"].astype(jnp.float32)), jnp.zeros(()), {"y": np.full(4, number)},
            optimizer=gdjax.gd(0.1), regime=gdjax.full_batch(), epochs=1,
        )  # fmt: skip


def test_an_optimizer_with_another_update_follows_it():
    still = gdjax.gd(0.1)._replace(update=lambda updates, state, params=None, **extra: (0 * updates, state))
    result = gdjax.fit(
        lambda w, x: jnp.mean((w - x) ** 2), jnp.zeros(()), jnp.ones(4), optimizer=still, regime=gdjax.full_batch(),
        epochs=2,
    )  # fmt: skip
    assert result.params == 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (gdjax.gd(0.1), "has `state.optimizer_state.hyperparameters['eps']`, which this optimizer's has not."),
        (gdjax.rmsprop(0.1), "has no `state.optimizer_state.hyperparameters['initial_value']`."),
        (gdjax.chain(gdjax.adam(0.1), reduce_on_plateau(0.5)), "has no `state.optimizer_state[0].count`."),
    ],
)
def test_another_optimizers_state_is_named(other, words):
    state = train(gdjax.adam(0.1), epochs=1).state
    with pytest.raises(
        ValueError, match="^`state` must come from a run with the same optimizer, got one that "
    ) as said:
        train(other, state=state)
    assert str(said.value).endswith(words)
