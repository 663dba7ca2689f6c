"""Schedules: the value that acts in every update."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.report.pictures.paper import by_label, color, dash, on_axes, place_of
from gdjax.schedules import as_schedule


def plot_schedules(
    schedules: Mapping[str, Callable | float] | Callable | float,
    steps: int,
    *,
    axes: Any = None,
    steps_per_epoch: int | None = None,
) -> Any:
    """Draw what schedules give in each update of a run; what mostly stands still, as stairs.

    Args:
      schedules: {label: schedule}, or one; any function of the step, or a number.
      steps: updates of the run, at least 1.
      axes: what to draw on, an Axes of matplotlib; None for a new figure.
      steps_per_epoch: updates of an epoch. With it the picture counts epochs; schedules made by `per_epoch` need it.

    Returns:
      The axes.

    Raises:
      ValueError, TypeError: if a count is no positive integer, a schedule neither a function nor a number, or one that
        counts epochs is not told how long they are.
      ImportError: if matplotlib is not installed.

    >>> import gdjax
    >>> from gdjax.report import plot_schedules
    >>> axes = plot_schedules({"halved": gdjax.schedules.step_decay(0.8, 2), "constant": 0.5}, 6)
    >>> halved, constant = axes.lines
    >>> halved.get_ydata().round(2).tolist()  # the last value twice: it too acts for a step
    [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2]
    """
    steps = checks.integer("steps", steps, least=1)
    if steps_per_epoch is not None:
        steps_per_epoch = checks.integer("steps_per_epoch", steps_per_epoch, least=1)
    values = {
        label: _values(place_of("schedules", label), schedule, steps, steps_per_epoch)
        for label, schedule in by_label("schedules", schedules, "schedule").items()
    }
    axes = on_axes(axes)
    x = np.arange(steps + 1) / (steps_per_epoch or 1)
    for place, (label, y) in enumerate(values.items()):
        style = {"color": color(place), "linestyle": dash(place), "label": label or None}
        stairs = np.mean(np.diff(y) == 0) > 0.5 if steps > 1 else True
        axes.plot(x, np.append(y, y[-1]), drawstyle="steps-post" if stairs else "default", **style)
    axes.set(xlabel="epoch" if steps_per_epoch else "update", ylabel="value")
    if all((y >= 0).all() for y in values.values()):
        axes.set_ylim(bottom=0)
    if any(values):
        axes.legend(fontsize=8)
    return axes


def _values(name: str, schedule: Any, steps: int, steps_per_epoch: int | None) -> np.ndarray:
    """What acts in each update [steps]."""
    if not callable(schedule):
        return np.full(steps, checks.number(name, schedule, "be a number", lambda x: True))
    schedule = as_schedule(schedule, name=name)
    if steps_per_epoch is None and getattr(schedule, "steps_per_epoch", 0) is None:
        raise ValueError(f"`steps_per_epoch` must be given, since `{name}` counts epochs, got None.")
    per_epoch = steps_per_epoch or 1  # who asks for shares of the run takes each step for an epoch

    def value(step: jax.Array) -> Any:
        fraction = (step % per_epoch).astype(float) / per_epoch
        return schedule(step, epoch=step // per_epoch, epoch_fraction=fraction, epochs=-(-steps // per_epoch))

    return np.asarray(jax.vmap(value)(jnp.arange(steps)), float)
