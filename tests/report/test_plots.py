import numpy as np
import pytest

import gdjax
from gdjax.report.plots import descent_path, plot_learning_rates, plot_losses, plot_paths, regression, save


def test_regression_has_condition_number_20():
    x, y = regression()
    assert (x.shape, y.shape, x.dtype) == ((120, 2), (120,), np.float32)
    assert np.linalg.cond(x.T.astype(float) @ x) == pytest.approx(20, rel=1e-4)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.linalg.norm(best - 1) < 0.5


@pytest.mark.parametrize(("regime", "updates"), [(gdjax.full_batch(), 3), (gdjax.mini_batch(50, shuffle=False), 9)])
def test_path_is_descent_step_by_step(regime, updates):
    x, y = regression()
    path = descent_path(regime, (x, y), (-1.0, 2.0), 0.5, 3)
    assert path.shape == (updates + 1, 2)
    theta = np.array([-1.0, 2.0])
    size = regime.batch_size or len(x)
    for i, place in enumerate(path):
        np.testing.assert_allclose(place, theta, rtol=1e-4, atol=1e-5)
        at = i % -(-len(x) // size) * size
        rows, answers = x[at : at + size].astype(float), y[at : at + size]
        theta = theta - 0.5 * rows.T @ (rows @ theta - answers) / len(rows)


def test_paths_of_three_regimes(tmp_path):
    figure = plot_paths()
    (axes,) = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert [label.split(":")[0] for label in labels[:3]] == ["stochastic", "mini-batch (16)", "batch"]
    assert [int(label.split(": ")[1].split(" updates")[0]) for label in labels[:3]] == [3 * 120, 15 * 8, 60]
    assert "condition number 20" in axes.get_title()
    x, y = regression()
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    batch = axes.lines[labels.index(labels[2]) * 2].get_xydata()
    np.testing.assert_allclose(batch[-1], best, atol=0.2)
    save(figure, tmp_path / "paths.png")
    assert (tmp_path / "paths.png").stat().st_size > 10_000


def test_pictures_of_a_comparison(made, made_row):
    rows = (
        made_row("gd"), made_row("adam", (0.5, 0.6, 0.7), diverged=[1], tied=False),
        made_row("gd", regime=gdjax.full_batch()), made_row("lost", diverged=range(3), tied=False),
    )  # fmt: skip
    comparison = made(*rows)
    examples, time = plot_losses(comparison).axes
    drawn = examples.get_legend_handles_labels()[1]
    assert drawn == ["gd, mini_batch(5) (=)", "adam, mini_batch(5)", "gd, full_batch (=)"]
    assert (examples.get_xlabel(), examples.get_yscale()) == ("examples seen", "log")
    adam = examples.lines[1].get_xydata()
    np.testing.assert_allclose(adam, [(0, 1), (20, 0.8), (40, 0.6)])
    np.testing.assert_allclose(time.lines[0].get_xdata(), [0.1, 0.2])
    panels = plot_learning_rates(comparison).axes
    assert [axes.get_title() for axes in panels] == ["mini_batch(5)", "full_batch"]
    np.testing.assert_allclose(panels[1].lines[0].get_xydata(), [(rate, 0.4) for rate in (0.01, 0.1, 1)])
