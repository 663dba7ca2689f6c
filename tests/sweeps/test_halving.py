"""Successive halving trains the survivors on, from where they stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.sweeps.halving import _ladder

N = 37


def init(key):
    return {"w": 0.5 * jax.random.normal(key, (4,)), "b": jnp.zeros(())}


def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"] + params["b"]) - y) ** 2)


def rows(n=N, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, 4)).astype(np.float32)
    return x, np.tanh(x @ np.array([1.0, -0.5, 0.2, 0.0], np.float32)) + 0.1 * draw.standard_normal(n).astype(
        np.float32
    )


def halved(**settings):
    given = {
        "optimizer": gdjax.adam, "regime": gdjax.mini_batch(8), "epochs": 9, "seeds": (3, 11),
        "grid": {"learning_rate": np.logspace(-4, -1, 20)},
    }  # fmt: skip
    given |= settings
    if "points" in settings:
        del given["grid"]
    return gdjax.successive_halving(loss, given.pop("params", init), given.pop("data", rows()), **given)


def flagged(learning_rate, nesterov):
    rate = gdjax.schedules.per_run(gdjax.schedules.cosine_decay(learning_rate, 100))
    optimizer = gdjax.heavy_ball(rate, nesterov=nesterov)
    return gdjax.chain(optimizer, gdjax.transforms.reduce_on_plateau(0.5, patience=0, rtol=0.05))


@pytest.mark.parametrize("memory", [None, 30_000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("lanes", [False, True], ids=["vmap", "lanes"])
def test_survivors_are_the_runs_of_a_sweep(memory, lanes):
    grid = {"nesterov": [True, False], "learning_rate": np.logspace(-4, 0, 30 if lanes else 9)}
    metrics = {"twice": lambda p, b: 2 * loss(p, b)}
    given = {"optimizer": flagged, "grid": grid, "validation": rows(16, 1), "metrics": metrics}
    found = halved(**given, memory=memory)
    whole = gdjax.sweep(loss, init, rows(), regime=gdjax.mini_batch(8), epochs=9, seeds=(3, 11), **given)
    counts = [(len(rung.settings), rung.epochs) for rung in found.rungs]
    assert counts == ([(60, 1), (20, 3), (6, 9)] if lanes else [(18, 1), (6, 3), (2, 9)])
    for rung in found.rungs:
        a, b = rung.sweep.history, whole.history
        assert rung.sweep.hyperparameters["nesterov"].tolist() == grid_column(whole, rung, "nesterov")
        for name, end in (("loss", rung.epochs), ("validation_loss", rung.epochs), ("step_loss", 5 * rung.epochs)):
            expected = getattr(b, name)[rung.settings][..., :end]
            np.testing.assert_allclose(getattr(a, name), expected, rtol=2e-6, atol=1e-6)
        rates = b.learning_rate[rung.settings][..., : 5 * rung.epochs]
        np.testing.assert_allclose(a.learning_rate, rates, rtol=1e-6)
        np.testing.assert_allclose(a.metrics["twice"], 2 * a.validation_loss, rtol=1e-6)
    last = found.rungs[-1]
    np.testing.assert_allclose(last.sweep.params["w"], whole.params["w"][last.settings], atol=1e-5)


def grid_column(whole, rung, name):
    return whole.hyperparameters[name][rung.settings].tolist()


def test_each_rung_keeps_its_best():
    found = halved()
    for upper, lower in zip(found.rungs, found.rungs[1:], strict=False):
        mean = upper.sweep.mean
        kept = np.isin(upper.settings, lower.settings)
        assert mean[kept].max() <= mean[~kept].min()
    best = found.best()
    assert best.index in found.rungs[-1].settings
    assert best.hyperparameters["learning_rate"] == np.logspace(-4, -1, 20)[best.index]
    assert found.epochs_spent == 2 * (20 * 1 + 6 * 2 + 2 * 6)
    assert found.epochs_of_a_sweep == 2 * 20 * 9


def test_every_rung_may_be_cut_in_pieces(monkeypatch):
    whole = halved()
    monkeypatch.setattr("gdjax.sweeps.plan.pieces_of", lambda settings, *_: [np.array([i]) for i in range(settings)])
    pieces = halved()
    for a, b in zip(whole.rungs, pieces.rungs, strict=True):
        assert a.settings.tolist() == b.settings.tolist()
        np.testing.assert_allclose(a.sweep.history.step_loss, b.sweep.history.step_loss, rtol=1e-5)


def test_eight_devices_come_to_what_one_comes_to():
    one, eight = halved(), halved(mesh=jax.make_mesh((8,), ("settings",), devices=jax.devices()))
    for a, b in zip(one.rungs, eight.rungs, strict=True):
        assert a.settings.tolist() == b.settings.tolist()
        np.testing.assert_allclose(a.sweep.history.loss, b.sweep.history.loss, rtol=1e-6)


def test_what_diverges_does_not_survive():
    found = halved(optimizer=gdjax.gd, grid={"learning_rate": [1e30, 0.1, 1e20, 0.01, 1e10, 0.03]}, reduction=2)
    assert found.rungs[1].settings.tolist() == [1, 3, 5]
    everything = halved(optimizer=gdjax.gd, grid={"learning_rate": [1e30, 1e20, 1e10]})
    with pytest.raises(ValueError, match="converge"):
        everything.best()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1024, 27, 3, 1), [(1024, 1), (341, 3), (113, 9), (37, 27)]),
        ((9, 100, 3, 1), [(9, 11), (3, 33), (1, 100)]),
        ((100, 8, 2, 3), [(100, 4), (50, 8)]),
        ((1, 5, 2, 1), [(1, 5)]),
        ((64, 1, 2, 1), [(64, 1)]),
    ],
)
def test_the_ladder(given, expected):
    assert _ladder(*given) == expected


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"reduction": 1}, "`reduction` must be at least 2"),
        ({"first_epochs": 10}, "`first_epochs` must be at most 9"),
        ({"first_epochs": 0}, "`first_epochs`"),
        ({"epochs": 0}, "`epochs`"),
        ({"regime": [gdjax.full_batch()]}, "`regime` must be made by"),
        ({"grid": {"rate": [0.1]}}, "learning_rate.*'rate'"),
    ],
)
def test_bad_input(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        halved(**settings)
