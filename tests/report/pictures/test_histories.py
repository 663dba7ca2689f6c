import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.engine.history import History
from gdjax.report import plot_history

X = jnp.arange(1.0, 8.0)
DATA = X, 3 * X
FURTHER = X + 0.5, 3 * X + 1


def loss(w, batch):
    return jnp.mean((batch[1] - w * batch[0]) ** 2) + 0.1


def run(rate=0.01, epochs=6, **changes):
    settings = {"optimizer": gdjax.gd(rate), "regime": gdjax.mini_batch(3), "validation": FURTHER} | changes
    return gdjax.fit(loss, jnp.array(0.0), DATA, epochs=epochs, **settings)


def of_label(axes, label):
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return line


def dashed(axes):
    return [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata())]


def with_marker(axes, marker):
    return [line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata()) == 1]


@pytest.mark.parametrize("part", [lambda result: result, lambda result: result.history])
def test_a_run(axes, legend, part):
    result = run()
    assert plot_history(part(result), axes=axes) is axes
    training = of_label(axes, "training")
    np.testing.assert_array_equal(training.get_xydata().T, [range(1, 7), result.history.loss])
    (validation,) = dashed(axes)
    np.testing.assert_array_equal(validation.get_xydata().T, [range(1, 7), result.history.validation_loss])
    assert (training.get_linestyle(), validation.get_color()) == ("-", training.get_color())
    best = int(np.argmin(result.history.validation_loss))
    (ring,) = with_marker(axes, "o")
    np.testing.assert_allclose(ring.get_xydata(), [(best + 1, result.history.validation_loss[best])])
    told = f"best, {result.history.validation_loss[best]:.3g} after epoch {best + 1}"
    assert legend(axes) == ["training", "validation", told]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("epoch", "loss", "log")


def test_several_runs_have_a_color_and_a_marker_each(axes, legend):
    runs = {"gd": run(), "adam": run(optimizer=gdjax.adam(0.1)), "alone": run(validation=None)}
    plot_history(runs, axes=axes)
    assert legend(axes) == ["gd", "adam", "alone", "validation", "best"]
    looks = [(line.get_color(), line.get_marker()) for line in map(of_label, [axes] * 3, runs)]
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 3
    assert [line.get_color() for line in dashed(axes)] == [color for color, _ in looks[:2]]


def test_updates(axes):
    result = run()
    plot_history(result, axes=axes, x="updates")
    thin = axes.lines[0]
    np.testing.assert_array_equal(thin.get_xydata().T, [range(18), result.history.step_loss])
    assert thin.get_alpha() < 0.5
    assert thin.get_linewidth() < 1
    np.testing.assert_array_equal(of_label(axes, "training").get_xdata(), np.arange(1, 7) * 3)
    assert axes.get_xlabel() == "update"


def test_a_run_that_goes_on_is_counted_from_where_it_was(axes):
    further = run(epochs=9, state=run().state)
    plot_history({"result": further, "history": further.history}, axes=axes, x="updates")
    assert axes.lines[0].get_xdata()[[0, -1]].tolist() == [18, 26]
    assert of_label(axes, "result").get_xdata().tolist() == [21, 24, 27]
    assert of_label(axes, "history").get_xdata().tolist() == [3, 6, 9]


def test_a_run_that_stopped_early_ends_in_a_square(axes, legend):
    result = run(rate=0.03, epochs=90, early_stopping=gdjax.early_stopping(patience=2))
    assert result.stopped_early
    last = len(result.history.loss)
    plot_history({"gd": result}, axes=axes)
    assert legend(axes)[0] == "gd (stopped early)"
    (square,) = with_marker(axes, "s")
    np.testing.assert_array_equal(square.get_xydata(), [(last, result.history.loss[-1])])


def test_an_interrupted_run_is_shown_as_such(axes, legend):
    plot_history({"gd": dataclasses.replace(run(), interrupted=True)}, axes=axes)
    assert legend(axes)[0] == "gd (interrupted)"
    assert len(with_marker(axes, "s")) == 1


@pytest.mark.parametrize("x", ["epochs", "updates"])
def test_the_frame_does_not_follow_a_run_that_diverged(axes, legend, x):
    with pytest.raises(gdjax.NonFiniteError) as ended:
        run(rate=20.0, epochs=50)
    lost = ended.value.result.history
    assert lost.step_loss.max() > 1e20
    good = run()
    plot_history({"good": good, "lost": ended.value}, axes=axes, x=x)
    assert legend(axes)[:2] == ["good", "lost (diverged)"]
    (cross,) = with_marker(axes, "X")
    assert cross.get_xdata()[0] == (len(lost.loss) + 1 if x == "epochs" else len(lost.step_loss))
    alone = plot_history(good, x=x)
    assert axes.get_ylim() == alone.get_ylim()
    assert cross.get_transform() == axes.get_xaxis_transform()


def test_losses_that_are_not_finite_are_a_divergence(axes, legend):
    result = run(rate=20.0, epochs=40, non_finite="keep", validation=None)
    assert not np.isfinite(result.history.loss[-1])
    plot_history({"gd": result}, axes=axes)
    assert legend(axes)[0] == "gd (diverged)"
    finite = np.isfinite(result.history.loss).sum()
    assert with_marker(axes, "X")[0].get_xdata() == [finite + 1]
    assert np.isfinite(axes.get_ylim()).all()


def test_diverged_in_the_first_epoch(axes, legend):
    with pytest.raises(gdjax.NonFiniteError) as ended:
        run(rate=1e30)
    plot_history({"gd": ended.value}, axes=axes)
    assert legend(axes)[0] == "gd (diverged)"
    assert with_marker(axes, "X")[0].get_xdata() == [1]


def made(loss, step_loss=(), validation=None):
    validation = None if validation is None else np.asarray(validation)
    return History(np.asarray(loss), np.asarray(step_loss), np.zeros(len(step_loss)), validation, {}, {})


@pytest.mark.parametrize("losses", [[1.0, 0.0], [1.0, -1.0]])
def test_what_a_logarithm_cannot_show_is_linear(axes, losses):
    plot_history(made(losses), axes=axes)
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < losses[1]


def test_steps_decide_only_where_they_are_drawn(axes):
    history = made([1.0, 0.5], [1.5, -0.5, 0.5, 0.5])
    assert plot_history(history, axes=axes).get_yscale() == "log"
    assert plot_history(history, x="updates").get_yscale() == "linear"


def test_gaps_and_nothing_at_all(axes, legend):
    plot_history({"gaps": made([2.0, np.nan, 1.0], validation=[np.nan] * 3), "none": made([])}, axes=axes)
    assert legend(axes) == ["gaps", "none", "validation", "best"]
    np.testing.assert_array_equal(of_label(axes, "gaps").get_ydata(), [2, np.nan, 1])
    assert not with_marker(axes, "o")


def test_bad_input():
    with pytest.raises(ValueError, match=r"`x` must be one of 'epochs', 'updates', got 'seconds'\."):
        plot_history(run(), x="seconds")
    rule = "must be what `gdjax.fit` returns, or its `.history`, got"
    with pytest.raises(TypeError, match=rf"`histories\['a'\]` {rule} float\."):
        plot_history({"a": 0.5})
    with pytest.raises(TypeError, match=rf"`histories` {rule} list\."):
        plot_history([run()])
    sweep = gdjax.sweep(
        loss, jnp.array(0.0), DATA, optimizer=gdjax.gd, grid={"learning_rate": [0.01]},
        regime=gdjax.full_batch(), epochs=2,
    )  # fmt: skip
    with pytest.raises(TypeError, match="`histories` must be the history of one run, got a sweep's"):
        plot_history(sweep.history)
