"""Pictures as functions, matplotlib: an axes in, an axes out; without one, pyplot makes it, and a notebook shows it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.engine.fit import Result
from gdjax.engine.history import History
from gdjax.report.colors import COLORS, DASHES
from gdjax.schedules.base import as_schedule
from gdjax.sweeps.results import Sweep


def axes_of(axes: Any, **figure: Any) -> Any:
    """The axes given, or those of a new figure of pyplot's.

    Raises:
      ImportError: if there is none and matplotlib is not installed.
    """
    if axes is not None:
        return axes
    try:
        from matplotlib import pyplot  # only here: who brings an axes has it, and most runs draw nothing
    except ImportError:
        raise ImportError("a picture needs matplotlib, got none: pip install matplotlib, or 'gdjax[demo]'.") from None
    return pyplot.subplots(layout="constrained", **figure)[1]


def named(name: str, given: Any, kind: str) -> dict[str, Any]:
    """What is to be drawn, {label: thing}; of a single one the label is empty.

    Raises:
      ValueError: if there is nothing.
    """
    several = dict(given) if isinstance(given, Mapping) else {"": given}
    if not several:
        raise ValueError(f"`{name}` must hold at least one {kind}, got none.")
    return several


def plot_history(
    histories: History | Result | Mapping[str, History | Result], *, axes: Any = None, x: str = "epochs"
) -> Any:
    """Losses of one run or of several: training solid, validation dashed and its best epoch ringed.

    Args:
      histories: what `gdjax.fit` returns, or its `.history`; or {label: one of these}.
      axes: matplotlib's axes to draw on.
      x: "epochs", or "updates": then each batch's loss is shown too, thin, and epochs' losses where the history is one
        of whole epochs.

    Returns:
      The axes. Its y axis is logarithmic where all losses are positive.

    Raises:
      TypeError, ValueError: if `histories` are none, or `x` is another word.

    >>> import jax.numpy as jnp, gdjax
    >>> from gdjax import report
    >>> data = jnp.arange(8.0), 3 * jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> result = gdjax.fit(loss, jnp.array(0.0), data, optimizer=gdjax.gd(0.01), regime=gdjax.mini_batch(4), epochs=9)
    >>> len(report.plot_history({"gd": result}).lines[0].get_xdata())
    9
    """
    checks.choice("x", x, ("epochs", "updates"))
    runs = named("histories", histories, "history")
    shown = {label: _history(label, run) for label, run in runs.items()}
    axes = axes_of(axes)
    drawn = []
    for place, (label, history) in enumerate(shown.items()):
        color, run = COLORS[place % len(COLORS)], runs[label]
        stopped = isinstance(run, Result) and run.stopped_early
        lost = not np.isfinite(history.step_loss).all()
        end = " (stopped early)" * stopped + " (diverged)" * lost
        epochs, steps = len(history.loss), len(history.step_loss)
        at = np.arange(1, epochs + 1)
        if x == "updates":
            axes.plot(np.arange(1, steps + 1), history.step_loss, color=color, linewidth=0.6, alpha=0.4)
            drawn.append(history.step_loss)
            at = at * (steps // epochs) if epochs and steps % epochs == 0 else at[:0]
        axes.plot(at, history.loss[: len(at)], color=color, label=f"{label or 'training'}{end}")
        drawn.append(history.loss)
        judged = history.validation_loss
        if judged is not None and len(at) and len(judged) == len(at):
            name = f"{label}, validation" if label else "validation"
            axes.plot(at, judged, color=color, linestyle="--", label=name)
            drawn.append(judged)
            if np.isfinite(judged).any():
                best = int(np.nanargmin(np.where(np.isfinite(judged), judged, np.inf)))
                axes.plot(at[best], judged[best], color=color, marker="o", markersize=8, fillstyle="none")
    axes.set(xlabel=x, ylabel="loss")
    _log_where_positive(axes, np.concatenate(drawn))
    axes.legend()
    return axes


def plot_schedules(schedules: Any, steps: int, *, axes: Any = None, steps_per_epoch: int | None = None) -> Any:
    """What schedules come to, step by step.

    Args:
      schedules: a schedule, or {label: schedule}; a number is a constant one.
      steps: updates of the run, at least 1.
      axes: matplotlib's axes to draw on.
      steps_per_epoch: updates an epoch; the x axis then counts epochs, and schedules that speak in epochs or in shares
        of the run are told where they are.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: if a schedule is none, or must know the epoch and `steps_per_epoch` is not given.

    >>> from gdjax import report, schedules
    >>> axes = report.plot_schedules({"1 / t": schedules.inverse_time_decay(0.1, 0.5), "constant": 0.1}, 100)
    >>> [line.get_label() for line in axes.lines]
    ['1 / t', 'constant']
    """
    steps = checks.integer("steps", steps, least=1)
    several = named("schedules", schedules, "schedule")
    known = {label: as_schedule(each) if callable(each) else each for label, each in several.items()}
    at = np.arange(steps)
    epoch: dict[str, Any] = {}
    if steps_per_epoch is not None:
        per = checks.integer("steps_per_epoch", steps_per_epoch, least=1)
        epoch = {
            "epoch": jnp.asarray(at // per, jnp.int32), "epoch_fraction": jnp.asarray(at % per / per, jnp.float32),
        }  # fmt: skip
        at = at / per
    values = {label: _values(f"schedules[{label!r}]", each, steps, epoch) for label, each in known.items()}
    axes = axes_of(axes)
    for place, (label, column) in enumerate(values.items()):
        style = {"color": COLORS[place % len(COLORS)], "linestyle": DASHES[place // len(COLORS) % len(DASHES)]}
        axes.plot(at, column, drawstyle="steps-post", label=label or None, **style)
    axes.set(xlabel="updates" if steps_per_epoch is None else "epochs", ylabel="learning rate")
    if any(label for label in values):
        axes.legend()
    return axes


def plot_sweep(sweep: Sweep, *, axes: Any = None, x: str | None = None) -> Any:
    """Loss against a hyperparameter of a sweep; a curve for each combination of the others, the best eight of them.

    Bands reach from the best to the worst seed, the best setting is ringed, and a cross at the top is a setting that
    diverged. Where there are more combinations than colors, as of settings drawn at random, each is a point.

    Args:
      sweep: what `gdjax.sweep` returns for one regime.
      axes: matplotlib's axes to draw on.
      x: the hyperparameter; by default the one of the most values.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: if `sweep` is none, or has no such hyperparameter.

    >>> import jax.numpy as jnp, gdjax
    >>> from gdjax import report
    >>> data = jnp.arange(8.0), 3 * jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> found = gdjax.sweep(loss, jnp.array(0.0), data, optimizer=gdjax.gd, regime=gdjax.full_batch(), epochs=9,
    ...                     grid={"learning_rate": [0.001, 0.01, 1.0]})
    >>> report.plot_sweep(found).get_xlabel()
    'learning_rate'
    """
    if not isinstance(sweep, Sweep):
        raise TypeError(f"`sweep` must be what `gdjax.sweep` returns for one regime, got {type(sweep).__name__}.")
    name = widest(sweep.hyperparameters) if x is None else checks.choice("x", x, tuple(sweep.hyperparameters))
    axes = axes_of(axes)
    places, mean = sweep.hyperparameters[name], sweep.mean
    others = [each for each in sweep.hyperparameters if each != name]
    keys = [tuple(shown_number(sweep.hyperparameters[each][i]) for each in others) for i in range(len(mean))]
    best: dict[tuple, float] = {}
    for key, loss in zip(keys, mean, strict=True):
        best[key] = min(best.get(key, np.inf), loss)
    curves = sorted(best, key=best.__getitem__)
    few = len(curves) <= len(COLORS)
    if not few:
        axes.plot(places, np.where(np.isfinite(mean), mean, np.nan), color=COLORS[0], marker=".", linestyle="none")
    for key, color in zip(curves if few else [], COLORS, strict=False):
        mine = np.asarray([each == key for each in keys]) & np.isfinite(mean)
        order = np.flatnonzero(mine)[np.argsort(places[mine], kind="stable")]
        if not order.size:
            continue
        label = ", ".join(f"{other} {value}" for other, value in zip(others, key, strict=True))
        axes.plot(places[order], mean[order], color=color, marker=".", label=label)
        low, high = sweep.loss[order].min(axis=1), sweep.loss[order].max(axis=1)
        axes.fill_between(places[order], low, high, color=color, alpha=0.12, linewidth=0)
    judged = "loss" if sweep.history.validation_loss is None else "validation loss"
    axes.set(xlabel=name, ylabel=judged)
    if np.isfinite(mean).any():
        winner = int(np.argmin(mean))
        axes.plot(places[winner], mean[winner], color="black", marker="o", markersize=11, fillstyle="none")
    lost = places[~np.isfinite(mean)]
    high = axes.get_xaxis_transform()
    axes.plot(lost, np.full(len(lost), 0.97), transform=high, color="0.4", marker="x", linestyle="none")
    lay_out(axes, places, mean)
    if others and few:
        axes.legend()
    return axes


def widest(hyperparameters: dict[str, np.ndarray]) -> str:
    """The name of the most values, of those that are numbers if any are."""
    numeric = {name: values for name, values in hyperparameters.items() if values.dtype.kind in "fi"}
    return max(numeric or hyperparameters, key=lambda name: len(np.unique(hyperparameters[name])))


def lay_out(axes: Any, places: np.ndarray, losses: np.ndarray) -> None:
    """Logarithmic axes where numbers ask for them."""
    if places.dtype.kind == "f" and places.min() > 0 and places.max() > 10 * places.min():
        axes.set_xscale("log")
    _log_where_positive(axes, losses)


def shown_number(value: Any) -> str:
    """A hyperparameter as a label has it."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _history(label: str, run: Any) -> History:
    history = run.history if isinstance(run, Result) else run
    if not isinstance(history, History) or history.step_loss.ndim != 1:
        where = f"histories[{label!r}]" if label else "histories"
        raise TypeError(f"`{where}` must be what `gdjax.fit` returns, or its `.history`, got {type(run).__name__}.")
    return history


def _values(name: str, schedule: Any, steps: int, epoch: dict[str, Any]) -> np.ndarray:
    """What a schedule, or a number, comes to at each step."""
    if not callable(schedule):
        return np.full(steps, checks.non_negative(name, schedule))
    at = jnp.arange(steps, dtype=jnp.int32)
    if not epoch:
        return np.asarray(jax.vmap(schedule)(at))
    epochs = jnp.asarray(epoch["epoch"][-1] + 1, jnp.int32)
    return np.asarray(jax.vmap(lambda step, position: schedule(step, epochs=epochs, **position))(at, epoch))


def _log_where_positive(axes: Any, losses: np.ndarray) -> None:
    shown = losses[np.isfinite(losses)]
    if shown.size and shown.min() > 0:
        axes.set_yscale("log")
