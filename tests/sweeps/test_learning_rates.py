"""The learning-rate test: what it suggests, and why."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import presets, tasks
from gdjax.data.regimes import full_batch
from gdjax.engine.history import History
from gdjax.sweeps.learning_rates import RATES, rate_test
from gdjax.sweeps.results import Sweep

X = np.arange(8, dtype=np.float32)
DATA = (X, 3 * X + X % 2)


def loss(w, batch):
    return jnp.mean((batch[1] - w * batch[0]) ** 2)


def tried(**settings):
    given = {"optimizer": gdjax.gd, "regime": gdjax.full_batch(), "epochs": 20, "seeds": (0,)} | settings
    data = given.pop("data", DATA)
    return gdjax.find_learning_rate(loss, jnp.array(0.0), data, **given)


def made(rates, losses, *, validated=True):
    """A sweep's result of rates × seeds."""
    losses = np.asarray(losses, float)
    last = losses[..., None]
    history = History(last, last, last, last if validated else None, {}, {})
    hyperparameters = {"learning_rate": np.asarray(rates)}
    return Sweep(hyperparameters, np.arange(losses.shape[1]), full_batch(), history, {}, ~np.isfinite(losses), 0.0, 0.0)


def test_the_middle_of_those_as_good_as_the_best():
    found = rate_test(made([1, 2, 3, 4, 5, 6, 7, 8], [[9], [1.04], [1.03], [1.0], [1.02], [1.2], [1.01], [np.inf]]))
    assert (found.lowest, found.suggestion, found.highest) == (2, 3, 5)
    assert found.reason == (
        "3 is the middle of 2 to 5, whose validation losses lie within 5% of the lowest, 1 at 4; above 7 runs diverge."
    )
    assert "training losses" in rate_test(made([1, 2], [[1.0], [3.0]], validated=False)).reason


def test_a_rate_that_one_seed_does_not_survive_is_notrate_test():
    found = rate_test(made([1, 2, 3], [[1.0, 1.0], [0.5, 0.5], [0.1, np.inf]]))
    assert found.suggestion == 2


def test_the_edge_of_what_was_tried_is_named():
    assert "edge of what was tried" in rate_test(made([1, 2, 3], [[3.0], [2.0], [1.0]])).reason


def test_all_rates_diverge():
    with pytest.raises(ValueError, match="converges with every seed, got none from 10 to 20"):
        tried(learning_rates=[20, 10], epochs=60)


def test_gradient_descent_is_stable_below_two_over_its_curvature():
    found = tried()
    assert found.sweep.hyperparameters["learning_rate"].tolist() == list(RATES)
    assert 1 / 70 < found.suggestion < 2 / 35
    assert found.sweep.diverged[np.asarray(RATES) > 2.1 / 35].all()


@pytest.mark.parametrize(
    "factory",
    [gdjax.adam, optax.adam, presets.torch.adam, lambda rate: gdjax.momentum(rate, 0.5)],
    ids=["gdjax", "optax", "torch's words", "own"],
)
def test_any_factory(factory):
    with jax.numpy_dtype_promotion("standard" if factory is optax.adam else "strict"):
        found = tried(optimizer=factory, learning_rates=[0.001, 0.01, 0.1])
    assert found.suggestion == {gdjax.adam: 0.1, optax.adam: 0.1, presets.torch.adam: 0.1}.get(factory, 0.01)


def test_the_picture():
    figure = tried(seeds=(0, 1), validation=DATA).plot()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "validation loss at the end"
    labels = axes.get_legend_handles_labels()[1]
    assert labels[0] == "mean over the seeds"
    assert any("suggested" in label for label in labels)
    figure.canvas.draw()


@pytest.mark.parametrize("factory", [gdjax.gd, gdjax.momentum, gdjax.rmsprop, gdjax.adam], ids=lambda f: f.__name__)
def test_the_suggestion_is_as_good_as_the_best_of_a_grid(factory):
    task = tasks.load("diabetes")
    given = {"optimizer": factory, "regime": gdjax.mini_batch(64), "epochs": 30, "validation": task.validation}
    found = gdjax.find_learning_rate(task.loss, task.init, task.train, **given)
    rates = np.append(np.logspace(-5, 1, 64), found.suggestion)
    fresh = gdjax.sweep(
        task.loss, task.init, task.train, grid={"learning_rate": rates}, seeds=range(100, 105), **given
    ).mean
    assert fresh[-1] <= 1.1 * fresh[:-1].min()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"optimizer": gdjax.gd(0.1)}, "`optimizer` must be a factory"),
        ({"learning_rates": "0.1"}, "`learning_rates` must be a list"),
        ({"learning_rates": 0.1}, "`learning_rates` must be a list"),
        ({"learning_rates": [0.1]}, "at least two rates"),
        ({"learning_rates": [0.1, 0.0]}, "`learning_rates` must be finite and above 0"),
        ({"regime": [gdjax.full_batch()]}, "`regime` must be one regime"),
        ({"regime": 64}, "`regime`"),
        ({"epochs": 0}, "`epochs`"),
        ({"seeds": []}, "`seeds`"),
        ({"data": (X, X[:3])}, "rows"),
    ],
)
def test_bad_input(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        tried(**settings)
