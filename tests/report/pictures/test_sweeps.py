import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.report import plot_sweep

X = jnp.arange(1.0, 8.0)
DATA = X, 3 * X
RATES = np.asarray([0.001, 0.003, 0.01, 0.3])
"""The last one diverges."""


def init(key):
    return jax.random.normal(key, ())


def loss(w, batch):
    return jnp.mean((batch[1] - w * batch[0]) ** 2) + 0.1


def swept(seeds=3, optimizer=gdjax.heavy_ball, **grid):
    grid = grid or {"learning_rate": RATES, "decay": [0.0, 0.5]}
    return gdjax.sweep(
        loss, init, DATA, optimizer=optimizer, grid=grid, regime=gdjax.full_batch(), epochs=5, seeds=range(seeds)
    )


def crosses(axes):
    return [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]


def test_a_curve_for_each_of_the_other_hyperparameter(axes, legend):
    sweep = swept()
    lost = sweep.diverged.any(axis=1)
    assert lost.any()
    assert not lost.all()
    assert plot_sweep(sweep, axes=axes) is axes
    labels = legend(axes)
    best = sweep.best()
    assert labels[0] == f"decay {best.hyperparameters['decay']:g}"
    assert set(labels[:2]) == {"decay 0", "decay 0.5"}
    assert labels[2:] == [f"best, {best.loss:.3g}", "diverged, with some seed"]
    for line in axes.lines:
        if line.get_label() in labels[:2]:
            mine = (sweep.hyperparameters["decay"] == float(line.get_label().split()[1])) & ~lost
            np.testing.assert_allclose(line.get_xdata(), sweep.hyperparameters["learning_rate"][mine])
            np.testing.assert_allclose(line.get_ydata(), sweep.loss[mine].mean(axis=1))
    ring = next(line for line in axes.lines if line.get_label().startswith("best"))
    np.testing.assert_allclose(ring.get_xydata(), [(best.hyperparameters["learning_rate"], best.loss)])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning_rate", "training loss")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_bands_reach_from_the_best_seed_to_the_worst(axes):
    sweep = swept(learning_rate=RATES[:3])
    plot_sweep(sweep, axes=axes)
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    for rate, losses in zip(RATES, sweep.loss, strict=False):
        at = corners[np.isclose(corners[:, 0], rate), 1]
        assert (at.min(), at.max()) == pytest.approx((losses.min(), losses.max()))


def test_crosses_at_the_top_stand_where_a_seed_diverged(axes):
    sweep = swept()
    plot_sweep(sweep, axes=axes)
    at = np.concatenate([line.get_xdata() for line in crosses(axes)])
    np.testing.assert_allclose(sorted(at), sorted(sweep.hyperparameters["learning_rate"][sweep.diverged.any(axis=1)]))
    for line in crosses(axes):
        assert line.get_transform() == axes.get_xaxis_transform()
        assert 0.9 < line.get_ydata()[0] < 1
    assert axes.get_ylim()[1] < 2 * sweep.loss[np.isfinite(sweep.loss)].max()


def test_one_seed_has_no_band(axes, legend):
    plot_sweep(swept(seeds=1, learning_rate=RATES), axes=axes)
    assert not axes.collections
    assert legend(axes)[-1] == "diverged"


def test_x_may_be_named(axes, legend):
    plot_sweep(swept(learning_rate=RATES[:3], decay=[0.0, 0.5]), axes=axes, x="decay")
    assert axes.get_xlabel() == "decay"
    assert axes.get_xscale() == "linear"
    assert set(legend(axes)[:3]) == {"learning_rate 0.001", "learning_rate 0.003", "learning_rate 0.01"}


def test_flags_are_words(axes):
    plot_sweep(swept(learning_rate=[0.01], nesterov=[False, True]), axes=axes, x="nesterov")
    axes.figure.draw_without_rendering()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["False", "True"]


def test_many_combinations_are_points(axes, legend):
    points = gdjax.random_points(12, {"learning_rate": gdjax.log_uniform(1e-3, 0.3), "decay": gdjax.uniform(0, 0.9)})
    sweep = gdjax.sweep(
        loss, init, DATA, optimizer=gdjax.heavy_ball, points=points, regime=gdjax.full_batch(), epochs=5, seeds=[0]
    )
    plot_sweep(sweep, axes=axes, x="learning_rate")
    drawn = axes.lines[0]
    kept = np.isfinite(sweep.mean)
    assert drawn.get_linestyle() == "None"
    np.testing.assert_allclose(drawn.get_xdata()[kept], sweep.hyperparameters["learning_rate"][kept])
    np.testing.assert_allclose(drawn.get_ydata()[kept], sweep.mean[kept])
    np.testing.assert_allclose(
        np.concatenate([*(line.get_xdata() for line in crosses(axes)), []]),
        sweep.hyperparameters["learning_rate"][~kept],
    )
    assert legend(axes)[0].startswith("best, ")


def test_where_all_diverged(axes, legend):
    plot_sweep(swept(seeds=1, learning_rate=[0.5, 1.0, 2.0]), axes=axes)
    assert legend(axes) == ["diverged"]
    assert crosses(axes)[0].get_xdata().tolist() == pytest.approx([0.5, 1.0, 2.0])


def test_bad_input():
    with pytest.raises(TypeError, match=r"`sweep` must be what `gdjax.sweep` returns for one regime, got list\."):
        plot_sweep([])
    with pytest.raises(ValueError, match=r"`x` must be one of 'learning_rate', got 'decay'\."):
        plot_sweep(swept(learning_rate=RATES), x="decay")
