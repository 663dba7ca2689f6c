"""A sweep on a task in words, as a picture and as files."""

import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from gdjax.report.files import Writers, write_whole
from gdjax.report.pictures.sweeps import lay_out, plot_sweep, shown_number, widest
from gdjax.report.plots import save
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
        values = (shown_number(column[place]) for column in found.hyperparameters.values())
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


def plot_halving(found: Halving, title: str) -> Any:
    """Loss against the hyperparameter of the most values: every setting each time that it was judged."""
    paper, (axes,) = figure()
    name = widest(found.hyperparameters)
    for rung, color in zip(found.rungs, np.linspace(0.75, 0.0, len(found.rungs)), strict=True):
        mean = np.where(np.isfinite(rung.sweep.mean), rung.sweep.mean, np.nan)
        label = f"{len(rung.settings):,} after {rung.epochs} epochs"
        x = rung.sweep.hyperparameters[name]
        axes.plot(x, mean, color=str(color), marker=".", linestyle="none", label=label)
    every = np.concatenate([rung.sweep.mean for rung in found.rungs])
    axes.set(xlabel=name, ylabel="validation loss", title=title)
    lay_out(axes, found.hyperparameters[name], every)
    axes.legend(fontsize=8, title="settings judged")
    return paper


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
    if isinstance(found, Sweep):
        picture, (axes,) = figure()
        plot_sweep(found, axes=axes).set_title(title)
    else:
        picture = plot_halving(found, title)
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
