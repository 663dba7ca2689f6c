"""A sweep on a task in words, as a picture and as files."""

import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from gdjax.report.files import Writers, write_whole
from gdjax.report.plots import COLORS, save
from gdjax.report.statistics import mean_interval
from gdjax.report.text import aligned, number
from gdjax.sweeps.figures import figure
from gdjax.sweeps.halving import Halving
from gdjax.sweeps.results import Sweep
from gdjax.tasks import Task

FILES = ("sweep.csv", "sweep.png")
"""What a sweep writes."""

LEADERS = 10
"""Rows of the table."""


def leaders(found: Sweep, task: Task) -> str:
    """The best settings as a table, then what the best one gives on test data."""
    settings = len(found.mean)
    lost = int(found.diverged.any(axis=1).sum())
    end = f"{settings:,} settings × {len(found.seeds)} seeds"
    end += f"; {lost:,} settings diverged with some seed." if lost else "; none diverged."
    if lost == settings:
        return f"Every setting diverged: {end}"
    order = np.argsort(found.mean, kind="stable")[: min(LEADERS, settings - lost)]
    metrics = list(task.metrics)[:1]
    lines = [(*found.hyperparameters, "validation loss", *metrics)]
    for place in order:
        values = (_shown(column[place]) for column in found.hyperparameters.values())
        scores = (number(mean_interval(found.history.metrics[name][place, :, -1])) for name in metrics)
        lines.append((*values, number(mean_interval(found.loss[place])), *scores))
    tests = _on_test(found, task, int(order[0]))
    told = " and ".join(f"{name} {number(mean_interval(values))}" for name, values in tests.items())
    return f"{aligned(lines)}\n{end} ± is a 95 % interval over the seeds.\nThe best one on test data: {told}."


def _on_test(found: Sweep, task: Task, place: int) -> dict[str, np.ndarray]:
    """Loss and first metric of a setting's runs on test data, each [seeds]."""
    params = jax.tree.map(lambda x: x[place], found.params)
    name = next(iter(task.metrics))
    judges = {"loss": task.loss, name: task.metrics[name]}
    return {
        name: np.asarray(jax.vmap(judge, (0, None))(params, task.test), float) for name, judge in judges.items()
    }  # fmt: skip


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def plot_sweep(found: Sweep, title: str) -> Any:
    """Loss against the hyperparameter of the most values; a curve for each combination of the others, best first."""
    paper, (axes,) = figure()
    name, mean = _widest(found.hyperparameters), found.mean
    x = found.hyperparameters[name]
    others = [each for each in found.hyperparameters if each != name]
    keys = [tuple(_shown(found.hyperparameters[each][i]) for each in others) for i in range(len(mean))]
    best: dict[tuple, float] = {}
    for key, loss in zip(keys, mean, strict=True):
        best[key] = min(best.get(key, np.inf), loss)
    curves = sorted(best, key=best.__getitem__)
    few = len(curves) <= len(COLORS)
    if not few:  # as settings drawn at random: a point each
        axes.plot(x, np.where(np.isfinite(mean), mean, np.nan), color=COLORS[0], marker=".", linestyle="none")
    for key, color in zip(curves if few else [], COLORS, strict=False):
        mine = np.asarray([each == key for each in keys]) & np.isfinite(mean)
        order = np.flatnonzero(mine)[np.argsort(x[mine], kind="stable")]
        if not order.size:
            continue
        label = ", ".join(f"{other} {value}" for other, value in zip(others, key, strict=True))
        axes.plot(x[order], mean[order], color=color, marker=".", label=label)
        low, high = found.loss[order].min(axis=1), found.loss[order].max(axis=1)
        axes.fill_between(x[order], low, high, color=color, alpha=0.12, linewidth=0)
    _lay_out(axes, name, x, mean, title)
    if others and few:
        axes.legend(fontsize=8)
    return paper


def plot_halving(found: Halving, title: str) -> Any:
    """Loss against the hyperparameter of the most values: every setting each time that it was judged."""
    paper, (axes,) = figure()
    name = _widest(found.hyperparameters)
    for rung, color in zip(found.rungs, np.linspace(0.75, 0.0, len(found.rungs)), strict=True):
        mean = np.where(np.isfinite(rung.sweep.mean), rung.sweep.mean, np.nan)
        label = f"{len(rung.settings):,} after {rung.epochs} epochs"
        x = rung.sweep.hyperparameters[name]
        axes.plot(x, mean, color=str(color), marker=".", linestyle="none", label=label)
    every = np.concatenate([rung.sweep.mean for rung in found.rungs])
    _lay_out(axes, name, found.hyperparameters[name], every, title)
    axes.legend(fontsize=8, title="settings judged")
    return paper


def _widest(hyperparameters: dict[str, np.ndarray]) -> str:
    """The name of the most values, of those that are numbers if any are."""
    numeric = {name: values for name, values in hyperparameters.items() if values.dtype.kind in "fi"}
    return max(numeric or hyperparameters, key=lambda name: len(np.unique(hyperparameters[name])))


def _lay_out(axes: Any, name: str, x: np.ndarray, losses: np.ndarray, title: str) -> None:
    axes.set(xlabel=name, ylabel="validation loss", title=title)
    if x.dtype.kind == "f" and x.min() > 0 and x.max() > 10 * x.min():
        axes.set_xscale("log")
    shown = losses[np.isfinite(losses)]
    if shown.size and shown.min() > 0:
        axes.set_yscale("log")


def table_of(found: Sweep | Halving) -> pd.DataFrame:
    """A row a run; of a halving a row each time that it was judged, and after how many epochs."""
    if isinstance(found, Sweep):
        return found.to_pandas()
    return pd.concat([rung.sweep.to_pandas().assign(epochs=rung.epochs) for rung in found.rungs], ignore_index=True)


def write_sweep(found: Sweep | Halving, title: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write sweep.csv and sweep.png.

    Returns:
      The files.
    """
    picture = plot_sweep(found, title) if isinstance(found, Sweep) else plot_halving(found, title)
    writers: Writers = {
        "sweep.csv": lambda path: table_of(found).to_csv(path, index=False),
        "sweep.png": lambda path: save(picture, path),
    }
    return write_whole(writers, folder)


def reproduce(found: Sweep, task: Task, optimizer: str, load: str, epochs: int) -> str:
    """Python that trains the best setting again and prints its metric; `load` is the call that makes the task."""
    values = {name: value.item() for name, value in found.best().hyperparameters.items()}
    arguments = ", ".join(f"{name}={value!r}" for name, value in values.items())
    regime = str(found.regime) if "(" in str(found.regime) else f"{found.regime}()"
    metric = next(iter(task.metrics))
    return "\n".join(
        (
            "import gdjax",
            "from gdjax import tasks",
            "",
            f"task = {load}",
            "scores = []",
            f"for seed in range({len(found.seeds)}):",
            f"    result = gdjax.fit(task.loss, task.init, task.train, optimizer=gdjax.{optimizer}({arguments}),",
            f"                       regime=gdjax.{regime}, epochs={epochs}, seed=seed)",
            f'    scores.append(float(task.metrics["{metric}"](result.params, task.test)))',
            f'print("{metric}", sum(scores) / len(scores))',
        )
    )
