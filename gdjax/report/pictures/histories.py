"""Losses along runs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gdjax import checks
from gdjax.engine.fit import NonFiniteError, Result
from gdjax.engine.history import History
from gdjax.report.pictures.paper import by_label, color, marker, on_axes, place_of, plain

MARKERS_A_RUN = 8
"""So many tell a run from the others where colors do not."""

RING = {"marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
"""Around the best validation loss."""


def plot_history(
    histories: Mapping[str, Any] | Result | History | NonFiniteError, *, axes: Any = None, x: str = "epochs"
) -> Any:
    """Draw the losses of one run, or of several.

    The mean training loss of each epoch is a solid line, the validation loss after it a dashed one of the same color
    with a ring around the best. Where all losses are positive the axis is logarithmic. A run that early stopping or
    an interrupt ended ends in a square. Where one diverged, a cross stands at the top; the frame does not follow it,
    unless all did.

    Args:
      histories: {label: run}, or one run: what `fit` returned, its history, or the `NonFiniteError` that it raised.
        A history alone is counted from 1; a result that went on from another from where it took that up.
      axes: what to draw on, an Axes of matplotlib; None for a new figure.
      x: "epochs", or "updates", where the loss of each batch stands as a thin line behind the means.

    Returns:
      The axes.

    Raises:
      TypeError: if something is no run.
      ValueError: if `x` is another word, or no run is given.
      ImportError: if matplotlib is not installed.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.report import plot_history
    >>> data = (jnp.arange(8.0), 3 * jnp.arange(8.0))
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> result = gdjax.fit(loss, jnp.array(0.0), data, optimizer=gdjax.gd(0.01), regime=gdjax.full_batch(), epochs=5)
    >>> axes = plot_history(result)
    >>> axes.lines[0].get_xdata().tolist(), axes.get_yscale()
    ([1, 2, 3, 4, 5], 'log')
    """
    checks.choice("x", x, ("epochs", "updates"))
    given = by_label("histories", histories, "run")
    runs = {label: _run(place_of("histories", label), run) for label, run in given.items()}
    axes = on_axes(axes)
    for place, (label, run) in enumerate(runs.items()):
        _draw(axes, place, label, run, by_update=x == "updates")
    axes.set(xlabel=x[:-1], ylabel="loss")
    _set_frame(axes, list(runs.values()), by_update=x == "updates")
    _explain(axes, list(runs.values()))
    axes.legend(fontsize=8, loc="upper right")
    return axes


class _Run(NamedTuple):
    history: History
    epochs: np.ndarray
    """The numbers of its epochs, from 1 [epochs]."""
    ends: np.ndarray
    """Updates made when each ended [epochs]."""
    begun: int
    """Updates made before the first of the history."""
    end: str
    """What ended it early, in words; else empty."""


def _run(name: str, run: Any) -> _Run:
    end, rest, epochs = "", 0, None
    if isinstance(run, NonFiniteError):
        run, end = run.result, "diverged"
    if isinstance(run, Result):
        end = end or ("stopped early" if run.stopped_early else "interrupted" if run.interrupted else "")
        epochs, rest, run = int(run.state.epoch), int(run.state.step), run.history
    if not isinstance(run, History):
        raise TypeError(f"`{name}` must be what `gdjax.fit` returns, or its `.history`, got {type(run).__name__}.")
    if run.loss.ndim != 1:
        raise TypeError(f"`{name}` must be the history of one run, got a sweep's, which `plot_sweep` draws.")
    if len(run.loss) and not np.isfinite(run.loss[-1]):
        end = "diverged"
    finished, steps = len(run.loss), len(run.step_loss)
    numbers = np.arange(finished) + 1 + (finished if epochs is None else epochs) - finished
    # A call that took a run up within an epoch made less than one epoch's steps fewer.
    per_epoch = -(-(steps - rest) // finished) if finished else 0
    ends = numbers * per_epoch
    return _Run(run, numbers, ends, int(ends[-1]) + rest - steps if finished else 0, end)


def _draw(axes: Any, place: int, label: str, run: _Run, *, by_update: bool) -> None:
    look = {"color": color(place), "zorder": 3}
    x = run.ends if by_update else run.epochs
    if by_update:
        steps = run.begun + np.arange(len(run.history.step_loss))
        axes.plot(steps, _shown(run.history.step_loss), color=color(place), alpha=0.3, linewidth=0.6, zorder=2)
    every = max(1, -(-len(x) // MARKERS_A_RUN))
    name = label or "training"
    axes.plot(
        x, _shown(run.history.loss), marker=marker(place), markersize=4, markevery=(place * every // 3 % every, every),
        label=f"{name} ({run.end})" if run.end else name, **look,
    )  # fmt: skip
    if run.end:
        _draw_end(axes, run, x, by_update=by_update, **look)
    validation = run.history.validation_loss
    if validation is None or not np.isfinite(validation).any():
        return
    axes.plot(x, _shown(validation), linestyle="--", **look)
    best = int(np.nanargmin(_shown(validation)))
    axes.plot(x[best], validation[best], **look, **RING)


def _draw_end(axes: Any, run: _Run, x: np.ndarray, *, by_update: bool, **look: Any) -> None:
    """A cross at the top where a run diverged, after its last finite epoch or update; a square where another ended."""
    look |= {"markersize": 8, "markeredgecolor": "white", "linestyle": "none"}
    if run.end == "diverged":
        epoch = 1 + run.epochs[np.isfinite(run.history.loss)].max(initial=0)
        at = run.begun + len(run.history.step_loss) if by_update else epoch
        axes.plot([at], [0.97], transform=axes.get_xaxis_transform(), clip_on=False, marker="X", **look)
    elif len(x):
        axes.plot(x[-1:], run.history.loss[-1:], marker="s", **look)


def _shown(losses: np.ndarray) -> np.ndarray:
    """Gaps where a loss is not finite."""
    return np.where(np.isfinite(losses), losses, np.nan)


def _set_frame(axes: Any, runs: list[_Run], *, by_update: bool) -> None:
    """A frame for the runs that stayed finite, or for all if none did; logarithmic where it can be."""
    losses = []
    for run in [run for run in runs if run.end != "diverged"] or runs:
        losses += [run.history.loss, run.history.validation_loss, run.history.step_loss if by_update else None]
    seen = np.concatenate([each[np.isfinite(each)] for each in losses if each is not None])
    if not seen.size:
        return
    low, high = seen.min(), seen.max()
    if low > 0:
        axes.set_yscale("log")
        margin = max((high / low) ** 0.06, 1.01)
        axes.set_ylim(low / margin, high * margin)
        plain(axes.yaxis)
    else:
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)


def _explain(axes: Any, runs: list[_Run]) -> None:
    """Entries of the legend for what all runs have in common; of a single run, which epoch is best."""
    judged = [run.history.validation_loss for run in runs if run.history.validation_loss is not None]
    if not judged:
        return
    alone = len(runs) == 1
    look = {"color": color(0) if alone else "0.4"}
    best = "best"
    if alone and np.isfinite(judged[0]).any():
        at = int(np.nanargmin(_shown(judged[0])))
        best = f"best, {judged[0][at]:.3g} after epoch {runs[0].epochs[at]}"
    axes.plot([], [], linestyle="--", label="validation", **look)
    axes.plot([], [], label=best, **look, **RING)
