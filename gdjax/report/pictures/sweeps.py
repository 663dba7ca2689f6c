"""A sweep: loss against a hyperparameter."""

from typing import Any

import numpy as np

from gdjax import checks
from gdjax.report.colors import COLORS
from gdjax.report.pictures.paper import color, dash, marker, on_axes, plain
from gdjax.sweeps.results import Sweep


def plot_sweep(sweep: Sweep, *, axes: Any = None, x: str | None = None) -> Any:
    """Draw the loss of a sweep's settings against one hyperparameter.

    There is a curve for each combination of the others, the best first: the mean over the seeds, in a band from the
    best seed to the worst. A ring stands around the best setting, a cross at the top where a seed diverged. Where
    there would be more than eight curves, as of settings drawn at random, each setting is a point.

    Args:
      sweep: what `gdjax.sweep` returned.
      axes: what to draw on, an Axes of matplotlib; None for a new figure.
      x: the hyperparameter's name; None for the one of the most values, of those that are numbers if any are.

    Returns:
      The axes.

    Raises:
      TypeError: if `sweep` is none.
      ValueError: if `x` was not swept, or has several numbers a setting.
      ImportError: if matplotlib is not installed.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.report import plot_sweep
    >>> data = (jnp.arange(8.0), 3 * jnp.arange(8.0))
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> sweep = gdjax.sweep(loss, jnp.array(0.0), data, optimizer=gdjax.gd, regime=gdjax.full_batch(), epochs=5,
    ...                     grid={"learning_rate": [0.001, 0.01, 0.1]})
    >>> axes = plot_sweep(sweep)
    >>> axes.get_xlabel(), axes.get_xscale(), sweep.diverged.ravel().tolist()
    ('learning_rate', 'log', [False, False, True])
    """
    if not isinstance(sweep, Sweep):
        raise TypeError(f"`sweep` must be what `gdjax.sweep` returns for one regime, got {type(sweep).__name__}.")
    names = list(sweep.hyperparameters)
    name = widest(sweep.hyperparameters) if x is None else checks.choice("x", x, tuple(names))
    values = sweep.hyperparameters[name]
    if values.ndim > 1:
        raise ValueError(f"`x` must be one number a setting, got {name!r} of shape {values.shape}.")
    axes = on_axes(axes)
    places = values if values.dtype.kind in "iuf" else values.astype(str)
    others = [other for other in names if other != name]
    keys = [tuple(shown_number(sweep.hyperparameters[other][i]) for other in others) for i in range(len(values))]
    curves = sorted(set(keys), key=lambda key: min(m for k, m in zip(keys, sweep.mean, strict=True) if k == key))
    alone = len(curves) <= 1 or len(curves) > len(COLORS)
    if len(curves) > len(COLORS):
        _draw_points(axes, places, sweep)
    for place, key in enumerate(curves if len(curves) <= len(COLORS) else []):
        label = ", ".join(f"{other} {value}" for other, value in zip(others, key, strict=True))
        _draw_curve(axes, place, label, places, np.asarray([k == key for k in keys]), sweep)
    if np.isfinite(sweep.mean).any():
        best = int(np.argmin(sweep.mean))
        ring = {"color": "black", "marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": "none"}
        axes.plot(places[best : best + 1], sweep.mean[best : best + 1], label=f"best, {sweep.mean[best]:.3g}", **ring)
    if sweep.diverged.any():
        look = {"color": color(0) if alone else "0.4", "marker": "x", "linestyle": "none"}
        axes.plot([], [], label="diverged, with some seed" if len(sweep.seeds) > 1 else "diverged", **look)
    judged = "training" if sweep.history.validation_loss is None else "validation"
    axes.set(xlabel=name, ylabel=f"{judged} loss")
    lay_out(axes, values, sweep.mean)
    axes.legend(fontsize=8)
    return axes


def _draw_points(axes: Any, places: np.ndarray, sweep: Sweep) -> None:
    axes.plot(
        places, np.where(np.isfinite(sweep.mean), sweep.mean, np.nan), color=color(0), marker=".", linestyle="none"
    )
    _draw_diverged(axes, 0, places[sweep.diverged.any(axis=1)])


def _draw_curve(axes: Any, place: int, label: str, places: np.ndarray, mine: np.ndarray, sweep: Sweep) -> None:
    whole = mine & np.isfinite(sweep.mean)
    order = np.flatnonzero(whole)
    if places.dtype.kind in "iuf":
        order = order[np.argsort(places[whole], kind="stable")]
    look = {"color": color(place), "linestyle": dash(place), "marker": marker(place), "markersize": 4}
    axes.plot(places[order], sweep.mean[order], label=label or None, **look)
    if len(sweep.seeds) > 1:
        low, high = sweep.loss[order].min(axis=1), sweep.loss[order].max(axis=1)
        axes.fill_between(places[order], low, high, color=color(place), alpha=0.15, linewidth=0)
    _draw_diverged(axes, place, places[mine & ~whole])


def _draw_diverged(axes: Any, place: int, at: np.ndarray) -> None:
    """Crosses at the top of the axes, a row for each curve: they have no loss that could be shown."""
    if len(at):
        look = {"color": color(place), "marker": "x", "markersize": 5, "linestyle": "none"}
        axes.plot(at, np.full(len(at), 0.97 - 0.03 * place), transform=axes.get_xaxis_transform(), **look)


def shown_number(value: Any) -> str:
    """A hyperparameter's value, short."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def widest(hyperparameters: dict[str, np.ndarray]) -> str:
    """The name of the most values, of those that are numbers if any are."""
    numeric = {name: values for name, values in hyperparameters.items() if values.dtype.kind in "fi"}
    return max(numeric or hyperparameters, key=lambda name: len(np.unique(hyperparameters[name])))


def lay_out(axes: Any, places: np.ndarray, losses: np.ndarray) -> None:
    """Make logarithmic what spans a decade, and losses that are all positive."""
    if places.dtype.kind == "f" and places.min() > 0 and places.max() > 10 * places.min():
        axes.set_xscale("log")
    seen = losses[np.isfinite(losses)]
    if seen.size and seen.min() > 0:
        axes.set_yscale("log")
        plain(axes.yaxis)
