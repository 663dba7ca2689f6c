"""One device or eight: the same examples in every batch, the same run."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import gdjax
from gdjax.data import placed
from gdjax.data.rows import ShardedRows
from gdjax.engine import sharding

ROWS, FEATURES, WIDTH = 61, 6, 16
REGIMES = {
    "full": gdjax.full_batch(),
    "full of even rows": gdjax.full_batch(shards=8),
    "stochastic": gdjax.stochastic(),
    "mini": gdjax.mini_batch(16),
    "mini as it lies": gdjax.mini_batch(16, shuffle=False),
    "mini without remainder": gdjax.mini_batch(24, drop_remainder=True),
    "sharded": gdjax.mini_batch(16, shards=8),
    "sharded, as it lies": gdjax.mini_batch(16, shards=8, shuffle=False),
    "sharded, once": gdjax.mini_batch(16, shards=8, shuffle="once"),
    "sharded, one short batch": gdjax.mini_batch(64, shards=8),
    "sharded, tail alone": gdjax.mini_batch(56, shards=8),
}

SHORT = {
    *itertools.product(("full", "stochastic", "mini", "sharded"), (2, 8), (False,)),
    *itertools.product(("full of even rows", "mini", "sharded", "sharded, one short batch"), (8,), (True,)),
    ("mini", 1, False),
}
"""Of devices that share the work, what is tried every time."""


@pytest.fixture(autouse=True)
def spread_small_leaves(monkeypatch):
    monkeypatch.setattr(sharding, "LEAST_SHARE", 0)


def mesh_of(devices, *axes):
    shape, names = (devices,), axes or ("data",)
    return Mesh(np.asarray(jax.devices()[:devices]).reshape(shape + (1,) * (len(names) - 1)), names)


def table(rows=ROWS):
    key = jax.random.key(5)
    x = np.asarray(jax.random.normal(key, (rows, FEATURES)))
    return {"id": np.arange(rows, dtype=np.int32), "x": x, "y": np.sin(x.sum(1)).astype(np.float32)}


def start(key):
    a, b = jax.random.split(key)
    return {
        "a": jax.random.normal(a, (FEATURES, WIDTH)) / 3,
        "b": jax.random.normal(b, (WIDTH,)) / 4,
        "seen": jnp.zeros(ROWS),
    }


def loss(params, batch, *, key, training):
    """A network with dropout; the slope of `seen` tells which examples a batch has."""
    hidden = jnp.tanh(batch["x"] @ params["a"])
    kept = jnp.where(jax.random.bernoulli(key, 0.8, hidden.shape), 1.0, 0.0) if training else 0.8
    out = (hidden * kept) @ params["b"]
    marks = params["seen"][batch["id"]]
    return jnp.mean((out - batch["y"]) ** 2 + marks - jax.lax.stop_gradient(marks))


def seen(params, gradients, updates, state):
    return {"seen": gradients["seen"]}


def run(mesh=None, regime=None, **others):
    given = {
        "optimizer": gdjax.chain(gdjax.adam(0.01), gdjax.transforms.reduce_on_plateau(0.5, patience=1)),
        "regime": regime or gdjax.mini_batch(16),
        "epochs": 5,
        "seed": 3,
        "validation": table(24),
        "record": seen,
    }
    return gdjax.fit(loss, start, table(), mesh=mesh, **(given | others))


def close(one, other, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@functools.cache
def alone(name):
    return run(regime=REGIMES[name])


@pytest.mark.parametrize(
    ("name", "devices", "zero"),
    [
        pytest.param(*each, marks=[] if each in SHORT else pytest.mark.long)
        for each in itertools.product(REGIMES, (1, 2, 8), (False, True))
    ],
)
def test_devices_share_the_work_and_change_nothing(name, devices, zero):
    one, several = alone(name), run(mesh_of(devices), REGIMES[name], shard_optimizer_state=zero)
    np.testing.assert_allclose(several.history.loss, one.history.loss, rtol=1e-5)
    np.testing.assert_allclose(several.history.validation_loss, one.history.validation_loss, rtol=1e-5)
    np.testing.assert_array_equal(several.history.learning_rate, one.history.learning_rate)
    ids = [result.history.recorded["seen"] != 0 for result in (one, several)]
    np.testing.assert_array_equal(*ids)
    close(several.params, one.params)


@pytest.mark.parametrize("name", REGIMES)
def test_batches_are_those_that_the_regime_tells(name):
    regime, history = REGIMES[name], alone(name).history
    batches = [np.flatnonzero(row) for row in history.recorded["seen"]]
    steps = regime.steps_per_epoch(ROWS)
    for epoch in range(5):
        order = np.asarray(regime.order(ROWS, 3, epoch))
        assert len(set(order)) == len(order)
        for batch in batches[epoch * steps : (epoch + 1) * steps]:
            assert sorted(order[: len(batch)]) == batch.tolist()
            order = order[len(batch) :]
        assert len(order) == 0


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
@pytest.mark.parametrize("rows", [8, 9, 23, 64, 100])
def test_sharded_orders_hold_every_example_once(rows, shards):
    orders = [np.asarray(gdjax.mini_batch(8, shards=shards).order(rows, 0, epoch)) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    assert rows < 16 or not np.array_equal(orders[0], orders[1])


def test_each_mean_is_over_its_own_rows():
    data = jnp.arange(1.0, 12.0)
    regime = gdjax.mini_batch(4, shards=4)  # of 11 rows: two batches of 4, and the 3 left over
    result = gdjax.fit(lambda w, x: jnp.mean(w * x), jnp.array(0.0), data, optimizer=gdjax.gd(1.0), regime=regime,
                       epochs=1, record=lambda p, g, u, s: {"mean": g})  # fmt: skip
    order = np.asarray(regime.order(11, 0, 0))
    means = [np.mean(np.asarray(data)[rows]) for rows in (order[:4], order[4:8], order[8:])]
    np.testing.assert_allclose(result.history.recorded["mean"], means, rtol=1e-6)
    assert sorted(order[8:]) == [8, 9, 10]


def test_the_state_lies_where_it_should():
    mesh = mesh_of(8)
    plain, zero = run(mesh), run(mesh, shard_optimizer_state=True)
    for result in (plain, zero):
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(result.params))
    moments = [leaf for leaf in jax.tree.leaves(zero.state.optimizer_state) if leaf.shape == (WIDTH,)]
    assert len(moments) == 2
    for leaf in moments:
        assert leaf.addressable_shards[0].data.shape == (WIDTH // 8,)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(plain.state.optimizer_state))


def test_parameters_stay_where_their_owner_laid_them():
    mesh = Mesh(np.asarray(jax.devices()).reshape(4, 2), ("data", "model"))
    params = start(jax.random.key(1))
    specs = {"a": PartitionSpec(None, "model"), "b": PartitionSpec("model"), "seen": PartitionSpec()}
    lying = {name: jax.device_put(x, NamedSharding(mesh, specs[name])) for name, x in params.items()}
    given = {"optimizer": gdjax.adam(0.01), "regime": gdjax.mini_batch(16), "epochs": 3, "seed": 3}
    expected = gdjax.fit(loss, params, table(), **given)
    for zero in (False, True):
        result = gdjax.fit(loss, lying, table(), mesh=mesh, shard_optimizer_state=zero, **given)
        close(result.params, expected.params)
        assert result.params["a"].sharding.spec == specs["a"]
        shapes = [leaf.addressable_shards[0].data.shape for leaf in jax.tree.leaves(result.state.optimizer_state)
                  if leaf.shape == (WIDTH,)]  # fmt: skip
        # its only axis lies along "model" already
        assert shapes == [(WIDTH // 2,)] * 2
        wide = {leaf.addressable_shards[0].data.shape for leaf in jax.tree.leaves(result.state.optimizer_state)
                if leaf.shape == (FEATURES, WIDTH)}  # fmt: skip
        assert wide == {(FEATURES, WIDTH // 2)}  # 4 devices don't divide 6 features


def test_an_explicit_mesh_is_as_good():
    mesh = jax.make_mesh((8,), ("data",))
    close(run(mesh).params, alone("mini").params)


@pytest.mark.parametrize("zero", [False, True])
def test_sharded_rows_lie_apart(zero):
    mesh = mesh_of(8)
    (data,) = placed(table(), regime=gdjax.mini_batch(16, shards=8), mesh=mesh)
    assert isinstance(data, ShardedRows)
    assert data.body["x"].addressable_shards[0].data.shape == (1, ROWS // 8, FEATURES)
    np.testing.assert_array_equal(np.asarray(data.body["id"])[3], np.arange(3, 56, 8))
    np.testing.assert_array_equal(np.asarray(data.tail["id"]), np.arange(56, ROWS))
    training = gdjax.training(loss, optimizer=gdjax.adam(0.01), regime=gdjax.mini_batch(16, shards=8), mesh=mesh,
                              shard_optimizer_state=zero)  # fmt: skip
    state = training.init(start, 3)
    epoch = jax.jit(training.epoch)
    by_scan = state
    for _ in range(2):
        by_scan, _ = epoch(by_scan, data)
    assert epoch._cache_size() == 1
    by_loop, record = jax.jit(training.steps, static_argnames="capacity")(state, data, 8, capacity=8)
    assert int(record.count) == 8
    close(by_scan.params, by_loop.params, 1e-6)
    plain = gdjax.training(loss, optimizer=gdjax.adam(0.01), regime=gdjax.mini_batch(16, shards=8))
    close(by_loop.params, plain.steps(plain.init(start, 3), table(), 8, capacity=8)[0].params)


def test_a_second_run_compiles_nothing():
    from gdjax.engine.fit import advance

    mesh = mesh_of(4)
    run(mesh, shard_optimizer_state=True)
    before = advance._cache_size()
    run(mesh, shard_optimizer_state=True, seed=8)
    assert advance._cache_size() == before


def test_beginning_again_compiles_nothing():
    from gdjax.engine.training import _begin_lying_at_once

    counts = []
    for seed in (1, 2):
        run(mesh_of(4), seed=seed)
        counts.append(_begin_lying_at_once._cache_size())
    assert counts[0] == counts[1] > 0


def test_a_bare_array_is_validated_on():
    def spread(w, x):
        return jnp.mean((w - x) ** 2)

    given = {"optimizer": gdjax.gd(0.1), "epochs": 2, "validation": np.ones(9, np.float32), "mesh": mesh_of(8)}
    for regime in (gdjax.full_batch(), gdjax.mini_batch(8)):
        result = gdjax.fit(spread, jnp.zeros(()), np.arange(16.0), regime=regime, **given)
        assert np.isfinite(result.history.validation_loss).all()


@pytest.mark.parametrize(("first", "then"), [(8, 2), (8, None), (None, 8), (1, 4)])
def test_a_run_goes_on_with_other_devices(first, then):
    meshes = [None if devices is None else mesh_of(devices) for devices in (first, then)]
    half = run(meshes[0], epochs=2, regime=REGIMES["sharded"])
    whole = run(meshes[1], epochs=5, regime=REGIMES["sharded"], state=half.state)
    uncut = alone("sharded")
    np.testing.assert_allclose(whole.history.loss, uncut.history.loss[2:], rtol=1e-5)
    close(whole.params, uncut.params)


def test_averages_and_policies_go_along():
    given = {"average": gdjax.transforms.ema(0.9), "non_finite": "skip"}
    one, eight = run(**given), run(mesh_of(8), shard_optimizer_state=True, **given)
    close(eight.average, one.average)
    np.testing.assert_allclose(eight.history.average_validation_loss, one.history.average_validation_loss, rtol=1e-5)


def test_transforms_of_optax_go_along():
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.01))
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by integers
        one, eight = run(optimizer=optimizer), run(mesh_of(8), optimizer=optimizer, shard_optimizer_state=True)
    close(eight.params, one.params)


def test_metrics_on_sharded_rows_weigh_the_tail():
    def error(params, batch):
        return jnp.mean(jnp.abs(jnp.tanh(batch["x"] @ params["a"]) @ params["b"] - batch["y"]))

    given = {"regime": REGIMES["sharded"], "validation": None, "metrics": {"error": error}}
    result = run(mesh_of(8), **given)
    np.testing.assert_allclose(result.history.metrics["error"][-1], error(result.params, table()), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(8), "`mesh` must be a jax.sharding.Mesh, got 8."),
        (lambda: run(Mesh(np.asarray(jax.devices()).reshape(4, 2), ("a", "b"))), "`mesh` must have an axis 'data'"),
        (lambda: run(shard_optimizer_state=True), "`shard_optimizer_state` must come with a `mesh`, got none."),
        (lambda: run(mesh_of(8), gdjax.mini_batch(16, shards=4)), "`shards` must be a multiple of the 8 devices"),
        (lambda: gdjax.mini_batch(16, shards=3), "`shards` must divide `batch_size`, 16, got 3."),
        (lambda: gdjax.mini_batch(16, shards=0), "`shards` must be at least 1, got 0."),
        (lambda: run(regime=gdjax.mini_batch(64, shards=64)), "`shards` must be at most the number of examples, 61"),
    ],
)
def test_what_does_not_fit_is_said(call, words):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert words in str(error.value)


def test_parameters_on_another_mesh_are_refused():
    other = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    params = start(jax.random.key(1)) | {
        "b": jax.device_put(jnp.ones(WIDTH), NamedSharding(other, PartitionSpec("data")))
    }
    with pytest.raises(ValueError, match="`params` must lie on `mesh`"):
        gdjax.fit(loss, params, table(), optimizer=gdjax.gd(0.1), regime=gdjax.full_batch(), epochs=1, mesh=mesh_of(8))


@pytest.mark.parametrize("what", ["data", "sharded", "validation", "params", "without a mesh"])
def test_what_lies_on_a_mesh_of_explicit_axes_is_taken_as_it_lies(what):
    """`jax.make_mesh` types them so in newer versions of JAX."""
    typed = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    place = NamedSharding(typed, PartitionSpec("data"))
    rows = jax.device_put(table(64), place)
    x = jax.device_put(jnp.zeros((16, FEATURES)), place)

    def train(data, params, **others):
        def squares(params, batch):
            return jnp.mean((jnp.tanh(batch["x"] @ params.T).sum(1) - batch["y"]) ** 2)

        given = {"optimizer": gdjax.adam(0.01), "regime": gdjax.mini_batch(16), "epochs": 2} | others
        return gdjax.fit(squares, params, data, **given)

    given = {
        "data": lambda: train(rows, np.ones_like(x), mesh=typed),
        "sharded": lambda: train(rows, np.ones_like(x), mesh=typed, regime=gdjax.mini_batch(16, shards=8)),
        "validation": lambda: train(table(64), np.ones_like(x), mesh=typed, validation=rows),
        "params": lambda: train(table(64), x + 1, mesh=typed),
        "without a mesh": lambda: train(rows, x + 1),
    }
    regime = gdjax.mini_batch(16, shards=8 if what == "sharded" else 1)
    expected = train(table(64), np.ones_like(x), regime=regime)
    np.testing.assert_allclose(given[what]().history.loss, expected.history.loss, rtol=1e-5)


@pytest.mark.parametrize("devices", [[], [0, 0]])
def test_a_mesh_without_devices_or_with_one_twice_is_refused(devices):
    mesh = Mesh(np.asarray([jax.devices()[place] for place in devices], object), ("data",))
    with pytest.raises(ValueError, match="`mesh` must have devices, each once, got"):
        run(mesh)
