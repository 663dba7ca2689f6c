"""Pictures of a comparison, and the seed picture of the field: three regimes on one contour."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gdjax.data.regimes import Regime, full_batch, mini_batch, stochastic
from gdjax.engine.training import training
from gdjax.optimizers import gd
from gdjax.report.colors import COLORS, DASHES
from gdjax.report.rows import Comparison, Row

MARKERS = ("", "o", "s", "^", "v")
"""None for a constant rate, then one a schedule."""


def plot_losses(comparison: Comparison) -> Figure:
    """Validation loss against examples seen and against seconds; bands reach from the best to the worst seed."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    optimizers, regimes = _names(comparison)
    schedules = list(dict.fromkeys([None, *(row.schedule for row in comparison.rows)]))
    for row in comparison.rows:
        kept = row.curves.validation_loss[row.chosen][~row.diverged[row.chosen]]
        if not len(kept):
            continue
        style = {"color": optimizers[row.optimizer], "linestyle": regimes[str(row.regime)], "linewidth": 1.4}
        style |= {"marker": MARKERS[schedules.index(row.schedule) % len(MARKERS)], "markersize": 4}
        label = row.name + (" (=)" if row.tied else "")
        share = row.curves.updates / row.curves.updates[-1]
        for axes, x, first in ((left, row.examples, 0), (right, share * row.seconds, 1)):
            runs, x = kept[:, first:], x[first:]  # no time is none that a logarithm could show
            axes.plot(x, runs.mean(axis=0), label=label, **style)
            axes.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=style["color"], alpha=0.08, linewidth=0)
    left.set(yscale=_scale(comparison), xlabel="examples seen", ylabel="validation loss")
    right.set(xscale="log", xlabel="seconds of one run, compilation apart")
    right.xaxis.set_minor_formatter(NullFormatter())
    for axes in (left, right):
        if np.isfinite(comparison.target):
            axes.axhline(comparison.target, color="grey", linewidth=0.8, linestyle=(0, (1, 3)))
    if np.isfinite(comparison.target):
        left.annotate("target", (0, comparison.target), color="grey", fontsize=8, va="bottom")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8, title="best first, = tied")
    return figure


def plot_learning_rates(comparison: Comparison) -> Figure:
    """Final validation loss against the learning rate: how much tuning each optimizer needs."""
    regimes = list(dict.fromkeys(str(row.regime) for row in comparison.rows))
    optimizers, _ = _names(comparison)
    figure = Figure(figsize=(3.6 * len(regimes) + 1.5, 4.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(regimes), sharey=True))
    for axes, regime in zip(panels, regimes, strict=True):
        for row in sorted((r for r in comparison.rows if str(r.regime) == regime), key=lambda r: r.name):
            if row.schedule is None:
                _plot_rates(axes, row, optimizers[row.optimizer])
        axes.set(xscale="log", yscale=_scale(comparison), xlabel="learning rate", title=regime)
    panels[0].set_ylabel("validation loss at the end")
    handles = {label: h for axes in panels for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(),
        handles,
        loc="outside right center",
        fontsize=8,
        title="○ chosen\n│ customary\n× diverged runs",
    )
    return figure


def _plot_rates(axes: Any, row: Row, color: str) -> None:
    last = np.where(row.diverged, np.nan, row.curves.validation_loss[..., -1])
    whole = ~row.diverged.any(axis=1)
    mean = np.asarray([np.nanmean(runs) if np.isfinite(runs).any() else np.nan for runs in last])
    axes.plot(row.curves.rates[whole], mean[whole], color=color, label=row.optimizer, marker=".")
    axes.plot(row.curves.rates[~whole], mean[~whole], color=color, marker="x", linestyle="none")
    if np.isfinite(mean[row.chosen]):
        axes.plot(row.learning_rate, mean[row.chosen], color=color, marker="o", markersize=9, fillstyle="none")
    axes.axvline(row.customary_rate, color=color, linewidth=0.6, alpha=0.6)


def _scale(comparison: Comparison) -> str:
    """Logarithmic where every loss is one that a logarithm can show."""
    losses = [row.curves.validation_loss[~row.diverged] for row in comparison.rows]
    seen = np.concatenate([values.ravel() for values in losses])
    return "log" if seen.size and (seen > 0).all() else "linear"


def _names(comparison: Comparison) -> tuple[dict[str, str], dict[str, str]]:
    """A color for each optimizer and a dash for each regime, whatever their order in the table."""
    optimizers = sorted({row.optimizer for row in comparison.rows})
    regimes = sorted({str(row.regime) for row in comparison.rows})
    return (
        {name: COLORS[i % len(COLORS)] for i, name in enumerate(optimizers)},
        {name: DASHES[i % len(DASHES)] for i, name in enumerate(regimes)},
    )


CONDITION_NUMBER = 20.0


def regression(rows: int = 120, *, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [rows, 2] whose second moments have condition number 20 exactly, and noisy targets [rows]."""
    rng = np.random.default_rng(3)
    x = np.linalg.qr(rng.standard_normal((rows, 2)))[0] * np.sqrt(rows) * [1.0, 1 / np.sqrt(CONDITION_NUMBER)]
    turn = np.asarray([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    x = x @ turn.T
    return x.astype(np.float32), (x @ [1.0, 1.0] + noise * rng.standard_normal(rows)).astype(np.float32)


def descent_path(regime: Regime, data: tuple, start: Sequence[float], learning_rate: float, epochs: int) -> np.ndarray:
    """The two parameters after each update of gradient descent [updates + 1, 2]."""

    def loss(theta: jax.Array, batch: tuple) -> jax.Array:
        return jnp.mean((batch[0] @ theta - batch[1]) ** 2) / 2

    run = training(loss, optimizer=gd(learning_rate), regime=regime, record=lambda theta, *_: {"theta": theta})
    state = run.init(jnp.asarray(start, jnp.float32), 1)
    epoch = jax.jit(run.epoch)
    places = []
    for _ in range(epochs):
        state, record = epoch(state, data)
        places.append(np.asarray(record.recorded["theta"]))
    return np.concatenate([*places, np.asarray(state.params)[None]])


def plot_paths() -> Figure:
    """The paths of batch, mini-batch and stochastic descent on the contour of one linear regression."""
    x, y = regression()
    start = (-1.1, 2.9)
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    axes = figure.subplots()
    grid = np.stack(np.meshgrid(np.linspace(-1.6, 2.8, 160), np.linspace(-1.2, 3.4, 160)), -1)
    heights = np.mean((grid @ x.T.astype(float) - y) ** 2, axis=-1) / 2
    levels = heights.min() + np.geomspace(0.002, heights.max(), 18)
    axes.contour(grid[..., 0], grid[..., 1], heights, levels=levels, colors="0.8", linewidths=0.7)
    for regime, name, rate, epochs, color, dash, width in (
        (stochastic(), "stochastic", 0.1, 3, "#D55E00", "-", 0.7),
        (mini_batch(16), "mini-batch (16)", 0.5, 15, "#009E73", "--", 1.3),
        (full_batch(), "batch", 1.0, 60, "#0072B2", "-", 2.0),
    ):
        path = descent_path(regime, (jnp.asarray(x), jnp.asarray(y)), start, rate, epochs)
        label = f"{name}: {len(path) - 1} updates, {epochs} epochs, rate {rate}"
        axes.plot(*path.T, color=color, linestyle=dash, linewidth=width, label=label)
        axes.plot(*path[-1], color=color, marker="o", markersize=5)
    best = np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0]
    axes.plot(*best, marker="*", color="black", markersize=14, linestyle="none", label="minimum")
    axes.plot(*start, marker="s", color="black", markersize=5, linestyle="none", label="start")
    axes.set(
        xlabel="first parameter", ylabel="second parameter",
        title=f"Gradient descent on a linear regression of condition number {CONDITION_NUMBER:g}",
    )  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=9)
    return figure


def save(figure: Figure, path: Any) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=130, format="png")
