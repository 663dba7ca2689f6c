"""Pictures as functions: what is drawn is what was found, on the axes that were given."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import gdjax
from gdjax import report, schedules

X = np.linspace(0, 1, 8, dtype=np.float32)
DATA, HELD_OUT = (X, 3 * X), (X[:3], 2 * X[:3])


@pytest.fixture
def axes():
    return Figure().subplots()


def loss(w, batch):
    return jnp.mean((batch[1] - w * batch[0]) ** 2)


def fitted(rate=0.1, epochs=6, **others):
    given = {"optimizer": gdjax.gd(rate), "regime": gdjax.mini_batch(4), "epochs": epochs} | others
    return gdjax.fit(loss, jnp.array(0.0), DATA, **given)


def lines(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_a_history(axes):
    result = fitted(validation=HELD_OUT)
    assert report.plot_history(result, axes=axes) is axes
    drawn = lines(axes)
    assert list(drawn) == ["training", "validation"]
    np.testing.assert_array_equal(drawn["training"].get_ydata(), result.history.loss)
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), result.history.validation_loss)
    np.testing.assert_array_equal(drawn["training"].get_xdata(), np.arange(1, 7))
    assert (drawn["training"].get_linestyle(), drawn["validation"].get_linestyle()) == ("-", "--")
    assert (axes.get_xlabel(), axes.get_yscale()) == ("epochs", "log")
    best = int(np.argmin(result.history.validation_loss))
    ring = next(line for line in axes.lines if line.get_marker() == "o")
    assert ring.get_xdata() == [best + 1]
    assert ring.get_ydata() == [result.history.validation_loss[best]]


def test_histories_by_updates(axes):
    runs = {"slow": fitted(0.01), "fast": fitted(0.5, epochs=3).history}
    report.plot_history(runs, axes=axes, x="updates")
    drawn = lines(axes)
    assert list(drawn) == ["slow", "fast"]
    np.testing.assert_array_equal(drawn["slow"].get_xdata(), np.arange(2, 13, 2))
    thin = [line for line in axes.lines if line.get_label().startswith("_")]
    np.testing.assert_array_equal(thin[1].get_ydata(), runs["fast"].step_loss)
    assert drawn["slow"].get_color() == thin[0].get_color() != drawn["fast"].get_color()


def test_how_runs_end_is_said(axes):
    stopped = fitted(0.5, epochs=60, early_stopping=gdjax.early_stopping(1))
    lost = fitted(50.0, epochs=30, non_finite="keep")
    assert stopped.stopped_early
    report.plot_history({"a": stopped, "b": lost}, axes=axes)
    assert list(lines(axes)) == ["a (stopped early)", "b (diverged)"]


def test_a_history_of_no_epoch(axes):
    report.plot_history(fitted(epochs=0), axes=axes)
    assert lines(axes)["training"].get_xdata().size == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "`histories` must hold at least one history, got none."),
        ({"a": 3}, "`histories['a']` must be what `gdjax.fit` returns, or its `.history`, got int."),
        (None, "`histories` must be what `gdjax.fit` returns, or its `.history`, got NoneType."),
    ],
)
def test_what_is_no_history(given, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        report.plot_history(given)
    assert str(caught.value) == words


def test_another_x():
    with pytest.raises(ValueError, match="`x` must be one of 'epochs', 'updates', got 'seconds'"):
        report.plot_history(fitted(), x="seconds")


def test_schedules(axes):
    staircase = schedules.per_epoch(schedules.step_decay(0.8, 1))
    ramp = schedules.per_run(schedules.warmup(schedules.step_decay(0.5, 999), 100))
    given = {"staircase": staircase, "ramp": ramp, "own": lambda step: 1 / (1 + step.astype(float)), "constant": 0.3}
    assert report.plot_schedules(given, 6, axes=axes, steps_per_epoch=2) is axes
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["staircase"].get_ydata(), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    np.testing.assert_allclose(drawn["staircase"].get_xdata(), [0, 0.5, 1, 1.5, 2, 2.5])
    np.testing.assert_allclose(drawn["ramp"].get_ydata(), np.arange(6) / 12, atol=1e-6)
    np.testing.assert_allclose(drawn["own"].get_ydata(), 1 / (1 + np.arange(6)), rtol=1e-6)
    np.testing.assert_allclose(drawn["constant"].get_ydata(), 0.3)
    assert axes.get_xlabel() == "epochs"


def test_one_schedule_by_updates(axes):
    report.plot_schedules(schedules.inverse_time_decay(1.0, 1.0), 3, axes=axes)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, 1 / 2, 1 / 3], rtol=1e-6)
    assert axes.get_xlabel() == "updates"
    assert axes.get_legend() is None


def test_schedules_that_cannot_be_drawn():
    with pytest.raises(ValueError, match="must know the epoch"):
        report.plot_schedules(schedules.per_epoch(schedules.step_decay(0.8, 1)), 6)
    with pytest.raises(ValueError, match="`steps` must be .*got 0"):
        report.plot_schedules(0.1, 0)
    with pytest.raises(TypeError, match=r"`schedules\['a'\]` must be"):
        report.plot_schedules({"a": "fast"}, 6)


@pytest.fixture(scope="module")
def sweep():
    return gdjax.sweep(
        loss, jnp.array(0.0), DATA, optimizer=gdjax.momentum, regime=gdjax.mini_batch(4), epochs=30, seeds=range(3),
        grid={"learning_rate": [0.01, 0.1, 1.0, 300.0], "beta": [0.0, 0.9]},
    )  # fmt: skip


def test_a_sweep(axes, sweep):
    assert report.plot_sweep(sweep, axes=axes) is axes
    drawn = lines(axes)
    assert set(drawn) == {"beta 0", "beta 0.9"}
    first = next(iter(drawn))
    winner = sweep.best()
    assert first == f"beta {winner.hyperparameters['beta']:g}"  # the best curve is the first
    np.testing.assert_array_equal(drawn[first].get_xdata(), [0.01, 0.1, 1.0])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "learning_rate")
    ring = next(line for line in axes.lines if line.get_marker() == "o")
    assert (ring.get_xdata(), ring.get_ydata()) == ([winner.hyperparameters["learning_rate"]], [winner.loss])
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert crosses.get_xdata().tolist() == [300.0, 300.0]
    assert len(axes.collections) == 2  # a band each


def test_a_sweep_against_another_hyperparameter(axes, sweep):
    report.plot_sweep(sweep, axes=axes, x="beta")
    assert axes.get_xlabel() == "beta"
    assert axes.get_xscale() == "linear"
    with pytest.raises(ValueError, match="`x` must be one of 'learning_rate', 'beta', got 'b1'"):
        report.plot_sweep(sweep, axes=axes, x="b1")
    with pytest.raises(TypeError, match="`sweep` must be what `gdjax.sweep` returns for one regime, got list"):
        report.plot_sweep([sweep])


def test_settings_at_random_are_points(axes):
    points = {"learning_rate": np.linspace(0.01, 0.1, 12), "beta": np.linspace(0, 0.9, 12)}
    found = gdjax.sweep(
        loss, jnp.array(0.0), DATA, optimizer=gdjax.momentum, regime=gdjax.full_batch(), epochs=3, points=points
    )
    report.plot_sweep(found, axes=axes, x="learning_rate")
    assert axes.lines[0].get_linestyle() == "None"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found.mean)


def bowl(p):
    return p[0] ** 2 / 2 + 10 * p[1] ** 2


def test_a_trajectory_is_descent():
    path = report.trajectory(bowl, gdjax.gd(0.05), [1.0, 1.0], 3)
    np.testing.assert_allclose(path, [[0.95**k, 0.0**k] for k in range(4)], atol=1e-7)
    assert path.dtype == np.float32
    theirs = report.trajectory(bowl, optax.rmsprop(0.1), [1.0, 1.0], 5)
    np.testing.assert_allclose(report.trajectory(bowl, gdjax.rmsprop(0.1), [1.0, 1.0], 5), theirs, rtol=1e-5)
    decayed = report.trajectory(bowl, gdjax.gd(schedules.step_decay(0.05, 1)), [1.0, 0.0], 2)
    np.testing.assert_allclose(decayed[:, 0], [1, 0.95, 0.95 * 0.975], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": [1, 2]}, "`start` must be an array of floats, got dtype int32."),
        ({"function": lambda p: p}, "`function` must return a scalar, got an array of shape (2,)."),
        ({"optimizer": gdjax.gd}, "`optimizer` must be a gradient transformation"),
        ({"steps": -1}, "`steps` must be"),
    ],
)
def test_what_has_no_trajectory(change, words):
    given = {"function": bowl, "optimizer": gdjax.gd(0.1), "start": [1.0, 1.0], "steps": 3} | change
    with pytest.raises((TypeError, ValueError)) as caught:
        report.trajectory(**given)
    assert words in str(caught.value)


def test_trajectories(axes):
    paths = {"slow": report.trajectory(bowl, gdjax.gd(0.02), [4.0, 1.0], 20), "point": np.asarray([[4.0, 1.0]])}
    assert report.plot_trajectories(bowl, paths, axes=axes, minimum=(0, 0)) is axes
    np.testing.assert_array_equal(lines(axes)["slow"].get_xydata(), paths["slow"])
    markers = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
    assert markers["s"] == [[4.0, 1.0]]
    assert markers["*"] == [[0.0, 0.0]]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 0 < 4 < right
    assert bottom < 0 < 1 < top
    assert not axes.texts


def test_what_diverges_ends_at_the_frame(axes):
    frame = ((-1.0, 5.0), (-2.0, 2.0))
    paths = {
        "lost": np.asarray([[4.0, 1.0], [4.0, 1.5], [2.0, 3.5], [0.0, 0.0]]),
        "nowhere": np.asarray([[4.0, 1.0], [np.nan, 0.0]]),
    }
    report.plot_trajectories(bowl, paths, axes=axes, bounds=frame)
    assert (axes.get_xlim(), axes.get_ylim()) == frame
    assert [text.get_text() for text in axes.texts] == ["", "left at update 2", "", "left at update 1"]
    np.testing.assert_allclose(axes.texts[0].xy, [3.5, 2.0])
    np.testing.assert_array_equal(lines(axes)["lost"].get_xydata(), paths["lost"][:2])
    np.testing.assert_array_equal(axes.texts[2].xy, [4.0, 1.0])


@pytest.mark.parametrize(
    ("paths", "change", "words"),
    [
        ({"a": np.zeros((3, 3))}, {}, "`paths['a']` must be floats [points, 2], got float64 [3, 3]."),
        (np.zeros((0, 2)), {}, "`paths` must be floats [points, 2], got float64 [0, 2]."),
        (np.full((1, 2), np.inf), {}, "`paths` must start at finite numbers"),
        (np.zeros((1, 2)), {"bounds": ((1, 0), (0, 1))}, "`bounds` must be"),
        (np.zeros((1, 2)), {"minimum": (0, 0, 0)}, "`minimum` must be two numbers"),
        (np.zeros((1, 2)), {"levels": 0}, "`levels` must be"),
    ],
)
def test_what_cannot_be_drawn(axes, paths, change, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        report.plot_trajectories(bowl, paths, axes=axes, **change)
    assert words in str(caught.value)
    assert not axes.lines


def test_without_axes_pyplot_makes_them(monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = report.plot_history(fitted())
    assert made.figure is pyplot.gcf()
    pyplot.close(made.figure)


def test_a_history_of_a_sweep_is_none(sweep):
    with pytest.raises(TypeError, match="`histories` must be"):
        report.plot_history(dataclasses.replace(sweep.history))
