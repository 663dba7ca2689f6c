"""A sweep is separate runs, side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules
from gdjax.sweeps.memory import pieces_of

N = 37
EPOCHS = 10
SEEDS = (3, 11)
REGIMES = [gdjax.full_batch(), gdjax.mini_batch(8), gdjax.stochastic()]


def init(key):
    return {"w": 0.5 * jax.random.normal(key, (4,)), "b": jnp.zeros(())}


def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"] + params["b"]) - y) ** 2)


def rows(n=N, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, 4))
    return x, np.tanh(x @ [1.0, -0.5, 0.2, 0.0]) + 0.1 * draw.standard_normal(n)


def decayed(learning_rate, k):
    return gdjax.momentum(schedules.inverse_time_decay(learning_rate, k), 0.8)


def with_plateau(learning_rate, factor):
    return gdjax.chain(
        gdjax.adam(learning_rate), gdjax.transforms.reduce_on_plateau(factor=factor, patience=0, rtol=0.1)
    )


FACTORIES = {
    "gd": (gdjax.gd, {"learning_rate": [0.01, 0.1]}),
    "rmsprop": (gdjax.rmsprop, {"learning_rate": [1e-3, 1e-2], "decay": [0.9, 0.99]}),
    "adam": (gdjax.adam, {"learning_rate": [1e-3, 1e-2], "b1": [0.8, 0.9]}),
    "scheduled momentum": (decayed, {"learning_rate": [0.02, 0.1], "k": [0.01, 0.1]}),
    "plateau": (with_plateau, {"learning_rate": [1e-2, 1e-1], "factor": [0.5]}),
    "optax": (optax.adam, {"learning_rate": [1e-3, 1e-2], "eps": [1e-8, 1e-3]}),
}


def assert_separate(found, factory, regime, data, validation, tolerance):
    """Every run of the sweep equals a `fit` with the same setting and seed."""
    names = list(found.hyperparameters)
    for setting in range(len(found.diverged)):
        values = {name: found.hyperparameters[name][setting].item() for name in names}
        for place, seed in enumerate(SEEDS):
            one = gdjax.fit(
                loss, init, data, optimizer=factory(**values), regime=regime, epochs=EPOCHS, seed=seed,
                validation=validation, metrics={"twice": lambda p, b: 2 * loss(p, b)},
            )  # fmt: skip
            history = found.history
            for name in ("loss", "validation_loss"):
                np.testing.assert_allclose(
                    getattr(history, name)[setting, place], getattr(one.history, name), rtol=tolerance
                )
            # A batch's loss may come near 0, where the rounding of its predictions is no small share of it.
            step_loss = one.history.step_loss
            atol = 10 * tolerance * step_loss.mean()
            np.testing.assert_allclose(history.step_loss[setting, place], step_loss, rtol=tolerance, atol=atol)
            twice = one.history.metrics["twice"]
            np.testing.assert_allclose(history.metrics["twice"][setting, place], twice, rtol=tolerance)
            np.testing.assert_array_equal(history.learning_rate[setting, place], one.history.learning_rate)
            np.testing.assert_allclose(found.params["w"][setting, place], one.params["w"], atol=10 * tolerance)


@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("precision", ["x32", "x64"])
def test_a_sweep_equals_separate_runs(name, regime, precision, request):
    if precision == "x64":
        request.getfixturevalue("x64")
    factory, grid = FACTORIES[name]
    promotion = "standard" if factory is optax.adam else "strict"
    dtype, tolerance = (np.float64, 1e-12) if precision == "x64" else (np.float32, 1e-6)
    with jax.numpy_dtype_promotion(promotion):
        data, validation = (jax.tree.map(lambda x: x.astype(dtype), rows(n, seed)) for n, seed in ((N, 0), (16, 1)))
        found = gdjax.sweep(
            loss, init, data, optimizer=factory, grid=grid, regime=regime, epochs=EPOCHS, seeds=SEEDS,
            validation=validation, metrics={"twice": lambda p, b: 2 * loss(p, b)},
        )  # fmt: skip
        assert not found.diverged.any()
        if name == "plateau":
            assert (found.history.learning_rate[..., -1] < found.history.learning_rate[..., 0]).any()
        assert_separate(found, factory, regime, data, validation, tolerance)


def small(**settings):
    """A quick sweep, to look at one thing."""
    data = jax.tree.map(lambda x: x.astype(np.float32), rows())
    given = {"optimizer": gdjax.gd, "regime": gdjax.mini_batch(8), "epochs": 2} | settings
    if "points" not in given and callable(given["optimizer"]) and "grid" not in given:
        given["grid"] = {"learning_rate": [0.01, 0.1]}
    return gdjax.sweep(given.pop("loss_fn", loss), given.pop("params", init), given.pop("data", data), **given)


def test_what_diverges_disturbs_nobody_and_never_wins():
    def quadratic(w, x):
        return jnp.mean((w - x) ** 2)

    x = jnp.arange(8.0)
    found = small(
        loss_fn=quadratic, params=lambda key: jax.random.normal(key), data=x, epochs=60,
        grid={"learning_rate": [0.1, 5.0, 1e30]}, seeds=(0, 1),
    )  # fmt: skip
    assert found.diverged.tolist() == [[False, False], [True, True], [True, True]]
    assert found.best().index == 0
    assert np.isinf(found.loss[1:]).all()
    alone = small(
        loss_fn=quadratic, params=lambda key: jax.random.normal(key), data=x, epochs=60,
        grid={"learning_rate": [0.1]}, seeds=(0, 1),
    )  # fmt: skip
    np.testing.assert_allclose(found.history.step_loss[0], alone.history.step_loss[0], rtol=1e-6)
    worst = small(loss_fn=quadratic, params=jnp.array(0.0), data=x, grid={"learning_rate": [1e30]})
    with pytest.raises(ValueError, match="converge"):
        worst.best()


def test_grid_is_a_product_whose_last_name_varies_fastest():
    found = small(optimizer=gdjax.momentum, grid={"learning_rate": [0.1, 0.2], "beta": np.array([0.5, 0.9, 0.95])})
    assert found.hyperparameters["learning_rate"].tolist() == [0.1] * 3 + [0.2] * 3
    assert found.hyperparameters["beta"].tolist() == [0.5, 0.9, 0.95] * 2
    assert found.history.step_loss.shape == (6, 1, 10)


def test_flags_are_hyperparameters_too():
    found = small(optimizer=gdjax.heavy_ball, grid={"nesterov": [True, False], "learning_rate": [0.01, 0.05]})
    data = jax.tree.map(lambda x: x.astype(np.float32), rows())
    for place, (nesterov, rate) in enumerate([(True, 0.01), (True, 0.05), (False, 0.01), (False, 0.05)]):
        one = gdjax.fit(
            loss, init, data, optimizer=gdjax.heavy_ball(rate, nesterov=nesterov), regime=gdjax.mini_batch(8), epochs=2
        )
        np.testing.assert_allclose(found.history.step_loss[place, 0], one.history.step_loss, rtol=1e-6)


def test_initial_parameters_are_swept_by_what_the_initialization_names():
    def start(key, *, scale, shift):
        return {"w": scale * jax.random.normal(key, (4,)) + shift, "b": jnp.zeros(())}

    points = {"learning_rate": [0.1, 0.1], "scale": [0.5, 2.0], "shift": [np.zeros(4), np.ones(4)]}
    found = small(params=start, points=points, seeds=(4,))
    data = jax.tree.map(lambda x: x.astype(np.float32), rows())
    one = gdjax.fit(
        loss, lambda key: start(key, scale=2.0, shift=np.ones(4, np.float32)), data, optimizer=gdjax.gd(0.1),
        regime=gdjax.mini_batch(8), epochs=2, seed=4,
    )  # fmt: skip
    np.testing.assert_allclose(found.history.step_loss[1, 0], one.history.step_loss, rtol=1e-6)


def test_an_optimizer_with_batched_leaves_is_a_sweep():
    rates = jnp.array([0.01, 0.1])
    found = small(optimizer=jax.vmap(gdjax.adam)(rates))
    same = small(optimizer=gdjax.adam, grid={"learning_rate": [0.01, 0.1]})
    np.testing.assert_allclose(found.history.loss, same.history.loss, rtol=1e-6)


def test_several_regimes():
    found = small(regime=REGIMES)
    assert [each.regime for each in found] == REGIMES
    assert [each.history.step_loss.shape[2] for each in found] == [2, 10, 74]


def test_a_sweep_beyond_memory_is_run_in_pieces():
    grid = {"learning_rate": np.logspace(-3, -1, 50)}
    whole = small(grid=grid, seeds=(0, 1))
    pieces = small(grid=grid, seeds=(0, 1), memory=40_000)
    np.testing.assert_allclose(pieces.history.step_loss, whole.history.step_loss, rtol=1e-6)
    np.testing.assert_allclose(pieces.params["w"], whole.params["w"], rtol=1e-5)


def test_a_sweep_ten_times_larger_than_memory_finishes(monkeypatch):
    sizes = []

    def told(*arguments):
        pieces = pieces_of(*arguments)
        sizes.append((len(pieces), arguments[4](len(pieces[0])), arguments[4](arguments[0])))
        return pieces

    monkeypatch.setattr("gdjax.sweeps.plan.pieces_of", told)
    grid = {"learning_rate": np.logspace(-3, -1, 300)}
    given = {"loss_fn": wide_loss, "params": wide, "data": rows_of_floats(), "grid": grid}
    whole = small(**given)
    memory = sizes[0][2] // 10
    pieces = small(**given, memory=memory)
    count, bytes_of_a_piece, bytes_of_all = sizes[1]
    assert count >= 10
    assert bytes_of_a_piece <= memory <= bytes_of_all / 10
    np.testing.assert_allclose(pieces.history.step_loss, whole.history.step_loss, rtol=1e-5)


def wide(key):
    """More than lanes are for."""
    return {"w": jax.random.normal(key, (4, 500)) / 20}


def wide_loss(params, batch):
    return jnp.mean((jnp.tanh(batch[0] @ params["w"]).sum(axis=1) - batch[1]) ** 2)


def rows_of_floats():
    return jax.tree.map(lambda x: x.astype(np.float32), rows())


@pytest.mark.parametrize("count", [11, 40], ids=["vmap", "lanes"])
def test_eight_devices_come_to_what_one_comes_to(count):
    validation = jax.tree.map(lambda x: x.astype(np.float32), rows(16, 1))
    points = {"learning_rate": np.logspace(-3, -1, count), "factor": np.linspace(0.3, 0.7, count)}
    given = {"optimizer": with_plateau, "points": points, "seeds": SEEDS, "epochs": 5, "validation": validation}
    one = small(**given)
    eight = small(**given, mesh=jax.make_mesh((4, 2), ("a", "b"), devices=jax.devices()))
    for name in ("loss", "step_loss", "validation_loss", "learning_rate"):
        a, b = getattr(one.history, name), getattr(eight.history, name)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5 * a.mean() if name == "step_loss" else 0)
    np.testing.assert_allclose(one.params["w"], eight.params["w"], atol=1e-5)


def test_a_second_sweep_compiles_nothing():
    traces = []

    def counted(params, batch):
        traces.append(1)
        return loss(params, batch)

    small(loss_fn=counted, optimizer=gdjax.adam)
    count = len(traces)
    small(loss_fn=counted, optimizer=gdjax.adam, grid={"learning_rate": [0.3, 0.2]}, seeds=(7,))
    assert len(traces) == count > 0


def test_results_as_a_table():
    table = small(seeds=(3, 5), metrics={"twice": lambda p, b: 2 * loss(p, b)}).to_pandas()
    assert list(table.columns) == ["learning_rate", "seed", "loss", "twice", "diverged"]
    assert table["seed"].tolist() == [3, 5, 3, 5]
    assert table["learning_rate"].tolist() == [0.01, 0.01, 0.1, 0.1]


def test_random_points():
    drawn = gdjax.random_points(500, {"a": gdjax.log_uniform(1e-4, 1e-1), "b": gdjax.uniform(0.8, 0.9)}, seed=1)
    assert drawn["a"].min() >= 1e-4
    assert drawn["a"].max() <= 1e-1
    assert 0.2 < (drawn["a"] < 1e-3).mean() < 0.5
    assert abs(drawn["b"].mean() - 0.85) < 0.01
    again = gdjax.random_points(500, {"a": gdjax.log_uniform(1e-4, 1e-1), "b": gdjax.uniform(0.8, 0.9)}, seed=1)
    np.testing.assert_array_equal(drawn["a"], again["a"])


def looks_at_its_number(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0.05 else 0.05)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"grid": {"learning_rat": [0.1]}}, "learning_rate.*'learning_rat'"),
        ({"points": {"learning_rate": [0.1, 0.2], "beta": [0.9]}, "optimizer": gdjax.momentum}, "as long as.*2, got 1"),
        ({"grid": {"learning_rate": []}}, "at least one value"),
        ({"grid": {}}, "at least one hyperparameter"),
        ({"grid": {"learning_rate": "0.1"}}, "list or an array"),
        ({"grid": {"learning_rate": 0.1}}, "list or an array"),
        ({"grid": {"learning_rate": [0.1, -1.0]}}, "`learning_rate` must be finite and at least 0, got -1.0"),
        ({"grid": {"learning_rate": ["fast"]}}, "`learning_rate` must be a number, got 'fast'"),
        ({"grid": {"learning_rate": [0.1]}, "points": {"learning_rate": [0.1]}}, "one of `grid` and `points`"),
        ({"optimizer": gdjax.gd(0.1)}, "leading axis"),
        ({"optimizer": gdjax.gd(0.1), "grid": {"learning_rate": [0.1]}}, "factory"),
        ({"optimizer": 3, "grid": {"learning_rate": [0.1]}}, "factory"),
        ({"optimizer": looks_at_its_number, "grid": {"learning_rate": [0.1]}}, "traced numbers"),
        ({"optimizer": lambda learning_rate: None}, "what `optimizer` returns"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": 3}, "list of integers"),
        ({"regime": []}, "at least one"),
        ({"regime": 64}, "`regime`"),
        ({"epochs": 0}, "`epochs`"),
        ({"memory": 0}, "`memory`"),
        ({"mesh": 8}, "`mesh`"),
        ({"data": (np.full((3, 4), np.nan, np.float32), np.zeros(3, np.float32))}, "finite"),
    ],
)
def test_bad_input(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        small(**settings)


def noticed(params, gradients, updates, state):
    return {"norm": optax.tree.norm(gradients), "w": params["w"]}


@pytest.mark.parametrize("settings", [3, 24])  # 24 are lanes
def test_what_is_recorded_is_each_runs_own(settings):
    given = {"regime": gdjax.mini_batch(8), "epochs": 4, "record": noticed}
    rates = np.logspace(-3, -1, settings)
    stopping = gdjax.early_stopping(1, 0.05)
    for early_stopping in (None, stopping):
        found = gdjax.sweep(
            loss, init, rows(), optimizer=gdjax.adam, grid={"learning_rate": rates}, seeds=SEEDS,
            early_stopping=early_stopping, **given,
        )  # fmt: skip
        recorded = found.history.recorded
        assert {name: column.shape for name, column in recorded.items()} == {
            "norm": (settings, 2, 20), "w": (settings, 2, 20, 4),
        }  # fmt: skip
        for setting in (0, settings - 1):
            one = gdjax.fit(
                loss, init, rows(), optimizer=gdjax.adam(rates[setting]), seed=SEEDS[1],
                early_stopping=early_stopping, **given,
            )  # fmt: skip
            made = len(one.history.step_loss)
            for name, column in one.history.recorded.items():
                np.testing.assert_allclose(recorded[name][setting, 1, :made], column, rtol=1e-5, atol=1e-7)
                assert np.isnan(recorded[name][setting, 1, made:]).all()
