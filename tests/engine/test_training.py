import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdjax
from gdjax import schedules
from gdjax.data import regimes
from gdjax.transforms import reduce_on_plateau

ROWS, EPOCHS, STEPS = 22, 3, 15
"""Batches of 5, 5, 5, 5 and 2 rows an epoch."""

REGIME = gdjax.mini_batch(5)


def problem(dtype=np.float32):
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 3))
    data = jnp.asarray(x, dtype), jnp.asarray(x @ [1.0, -2.0, 3.0], dtype)
    return {"w": jnp.zeros(3, dtype), "b": jnp.zeros((), dtype)}, data


def squares(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def noisy(params, batch, *, key):
    x, y = batch
    kept = jax.random.bernoulli(key, 0.8, x.shape).astype(x.dtype)
    return squares(params, (x * kept, y))


def optimizer(rate=0.1):
    rate = schedules.per_epoch(schedules.exponential_decay(rate, 1, 0.5))
    return gdjax.chain(gdjax.adam(rate), reduce_on_plateau(0.5, patience=1, rtol=0.9))


def bits(tree):
    """Every leaf's bytes."""
    leaves = jax.tree.leaves(tree)
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if key else x).tobytes() for x, key in zip(leaves, keys, strict=True)]


@functools.cache
def compiled(block_ids):
    """(the run, its `steps` as one program, the uncut run), where so many ids are computed in one go."""
    run = gdjax.training(noisy, optimizer=optimizer(), regime=REGIME, record=lambda p, g, u, s: {"gradient": g["w"]})
    params, data = problem()
    steps = jax.jit(lambda state, stop: run.steps(state, data, stop, capacity=STEPS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regimes, "BLOCK_IDS", block_ids)
        return run.init(params, 1), steps, steps(run.init(params, 1), STEPS)


@pytest.mark.parametrize("block_ids", [regimes.BLOCK_IDS, 15])
@given(st.sets(st.integers(1, STEPS - 1)))
@settings(deadline=None, max_examples=30)
def test_every_way_of_cutting_a_run_gives_the_same_bits(block_ids, cuts):
    state, steps, (end, record) = compiled(block_ids)
    parts = []
    for stop in (*sorted(cuts), STEPS):
        state, part = steps(state, stop)
        assert int(state.epoch) * 5 + int(state.step) == stop
        parts.append(jax.tree.map(lambda column, count=int(part.count): column[:count], part._replace(count=part.loss)))
    joined = jax.tree.map(lambda *columns: jnp.concatenate(columns), *parts)
    assert bits(state) == bits(end)
    assert bits(joined) == bits(record._replace(count=record.loss))
    assert steps._cache_size() == 1
    assert record.learning_rate[9] > 2 * record.learning_rate[10]  # the plateau did cut


def test_capacity_limits_a_call():
    params, data = problem()
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=gdjax.mini_batch(5, shuffle=False))
    state, record = run.steps(run.init(params), data, 99, capacity=7)
    assert (int(state.epoch), int(state.step), int(record.count)) == (1, 2, 7)
    state, record = run.steps(state, data, 99)  # by default one epoch
    assert (int(state.epoch), int(state.step), int(record.count)) == (2, 2, 5)
    same, record = run.steps(state, data, 3)  # already passed
    assert int(record.count) == 0
    assert bits(same) == bits(state)


def test_epoch_agrees_with_steps(monkeypatch):
    monkeypatch.setattr(regimes, "BLOCK_IDS", 15)  # an epoch in two blocks and a remainder
    params, data = problem()
    run = gdjax.training(noisy, optimizer=optimizer(), regime=REGIME)
    epoch, steps = jax.jit(run.epoch), jax.jit(run.steps)
    by_scan = by_loop = run.init(params, 1)
    for number in range(1, 3):
        by_scan, scanned = epoch(by_scan, data)
        by_loop, looped = steps(by_loop, data, number * 5)
        assert int(scanned.count) == int(looped.count) == 5
        for one, other in zip(jax.tree.leaves(scanned), jax.tree.leaves(looped), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(by_scan.trainable), jax.tree.leaves(by_loop.trainable), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert int(by_scan.epoch) == int(by_loop.epoch) == 2
    assert int(by_scan.step) == int(by_loop.step) == 0


@pytest.mark.parametrize("how", ["epoch", "steps"])
def test_numpy_data_will_do(how):
    params, data = problem()
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=REGIME)
    call = run.epoch if how == "epoch" else functools.partial(run.steps, stop=5)
    state, _ = call(run.init(params), jax.tree.map(np.asarray, data))
    assert bits(state) == bits(call(run.init(params), data)[0])


def test_epoch_refuses_a_state_within_an_epoch():
    params, data = problem()
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=REGIME)
    state, _ = run.steps(run.init(params), data, 2)
    with pytest.raises(ValueError, match="`state` must stand at the start of an epoch, got step 2"):
        run.epoch(state, data)


def test_epoch_is_differentiable_in_the_learning_rate(x64):
    params, data = problem(np.float64)

    @jax.jit
    def final(rate):
        run = gdjax.training(squares, optimizer=gdjax.adam(rate), regime=REGIME)
        state, _ = run.epoch(run.init(params), data)
        return squares(state.params, data)

    difference = (final(0.1 + 1e-6) - final(0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(final)(0.1), difference, rtol=1e-6)
    assert difference < -1


def test_float64_runs_in_float64(x64):
    params, (x, y) = problem(np.float64)
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=gdjax.full_batch())
    state, record = jax.jit(run.steps, static_argnames="capacity")(run.init(params), (x, y), 20, capacity=20)
    w, b = np.zeros(3), 0.0
    for _ in range(20):
        rest = x @ w + b - y
        w, b = w - 0.1 * 2 * x.T @ rest / ROWS, b - 0.1 * 2 * np.mean(rest)
    assert record.loss.dtype == record.step_loss.dtype == record.learning_rate.dtype == np.float64
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-12)
    np.testing.assert_allclose(state.params["b"], b, rtol=1e-12)


def test_a_vmapped_training_is_separate_runs():
    params, data = problem()

    def train(run):
        return run.epoch(run.init(params, 1), data)

    def make(rate):
        return gdjax.training(noisy, optimizer=gdjax.adam(rate), regime=REGIME)

    rates = np.array([0.001, 0.01, 0.3], np.float32)
    states, records = jax.jit(jax.vmap(train))(jax.vmap(make)(rates))
    alone = jax.jit(train)
    for i, rate in enumerate(rates):
        state, record = alone(make(rate))
        np.testing.assert_allclose(records.step_loss[i], record.step_loss, rtol=1e-5)
        np.testing.assert_allclose(states.params["w"][i], state.params["w"], rtol=1e-5)
    assert alone._cache_size() == 1
    assert len(set(records.loss[:, -1].tolist())) == 3


def test_seeds_can_be_mapped_over():
    params, data = problem()
    run = gdjax.training(noisy, optimizer=gdjax.gd(0.1), regime=REGIME)
    losses = jax.jit(jax.vmap(lambda seed: run.epoch(run.init(params, seed), data)[1].loss[-1]))(jnp.arange(3))
    assert len(set(losses.tolist())) == 3
    np.testing.assert_allclose(losses[2], jax.jit(run.epoch)(run.init(params, 2), data)[1].loss[-1], rtol=1e-5)


def test_params_from_an_init_function():
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=REGIME)
    first, again, other = (run.init(lambda key: {"w": jax.random.normal(key, 3)}, seed).params for seed in (0, 0, 1))
    assert bits(first) == bits(again) != bits(other)


@pytest.mark.parametrize("staircase", ["step_decay", "inverse_time_decay"])
@pytest.mark.parametrize("told", [True, False])
def test_staircases_change_at_the_boundary(staircase, told):
    """Four million steps an epoch: 31 epochs and their last step are 32 in float32."""
    length = 4_000_000
    schedule = {
        "step_decay": schedules.step_decay(1.0, 32, 0.5),
        "inverse_time_decay": schedules.inverse_time_decay(1.0, 1.0, transition_steps=32, staircase=True),
    }[staircase]
    if not told:
        schedule = schedules.per_epoch(schedule, steps_per_epoch=length)
        rates = [schedule(jnp.int32(step)) for step in (0, 32 * length - 1, 32 * length)]
    else:
        descent = gdjax.gd(schedules.per_epoch(schedule))
        state = descent.init(jnp.zeros(()))
        fraction = np.float32((length - 1) / length)
        assert np.float32(31) + fraction == 32
        rates = []
        for epoch, part in ((0, np.float32(0)), (31, fraction), (32, np.float32(0))):
            updates, state = descent.update(jnp.ones(()), state, epoch=np.int32(epoch), epoch_fraction=part)
            rates.append(-updates)
            assert state.hyperparameters["learning_rate"] == rates[-1]
    assert [float(rate) for rate in rates] == [1.0, 1.0, 0.5]


def test_plateau_judges_at_the_boundary():
    plateau = reduce_on_plateau(0.5, patience=1)
    state, scales = plateau.init(jnp.zeros(())), []
    for epoch, fraction in ((30, 0.0), (31, 0.0), (31, 0.999999), (31, 0.999999), (32, 0.0), (32, 0.5)):
        updates, state = plateau.update(
            jnp.ones(()),
            state,
            value=jnp.float32(1.0),
            epoch=np.int32(epoch),
            epoch_fraction=np.float32(fraction),
            epoch_value=jnp.float32(1.0),
        )
        scales.append(float(updates))
    assert scales == [1.0, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_optax_inject_hyperparams_tells_its_learning_rate():
    params, data = problem()
    descent = optax.inject_hyperparams(optax.sgd)(learning_rate=0.25)
    run = gdjax.training(squares, optimizer=descent, regime=gdjax.full_batch())
    _, record = run.epoch(run.init(params), data)
    assert record.learning_rate.tolist() == [0.25]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"optimizer": gdjax.adam}, TypeError, "`optimizer` must be a gradient transformation"),
        ({"regime": 64}, TypeError, "`regime` must be made by full_batch, stochastic or mini_batch, got 64"),
        ({"record": "norm"}, TypeError, "`record` must be a function, got 'norm'"),
        ({"loss_fn": 3.0}, TypeError, r"`loss_fn` must be a function of \(params, batch\), got 3.0"),
    ],
)
def test_wrong_parts_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        gdjax.training(**({"loss_fn": squares, "optimizer": gdjax.gd(0.1), "regime": REGIME} | settings))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run, state, data: run.init({}), ValueError, "`params` must hold at least one float array"),
        (lambda run, state, data: run.init({"w": 1.0}), ValueError, "`params` must hold at least one float array"),
        (lambda run, state, data: run.init(state.params, 1.5), TypeError, "`seed` must be an integer, got 1.5"),
        (lambda run, state, data: run.init(state.params, -1), ValueError, "`seed` must be at least 0, got -1"),
        (lambda run, state, data: run.steps(state, data, 5, capacity=0), ValueError, "`capacity` must be at least 1"),
        (lambda run, state, data: run.epoch(state, ()), ValueError, "`data` must hold at least one array"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    params, data = problem()
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=REGIME)
    with pytest.raises(error, match=message):
        call(run, run.init(params), data)
