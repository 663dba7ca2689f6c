"""Successive halving: many settings for a short while, the better of them for longer, the best for the whole run."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from gdjax import checks
from gdjax.data.regimes import Regime
from gdjax.engine.checkpoint import Checkpoint
from gdjax.engine.history import History
from gdjax.engine.progress import progress_bar
from gdjax.sweeps.plan import plans, saved_parts
from gdjax.sweeps.results import Best, Sweep
from gdjax.types import Batch, LossFn, Params


@dataclasses.dataclass(frozen=True)
class Rung:
    """What the settings that came so far had come to when they were judged."""

    settings: np.ndarray
    """Their places among all settings, ascending."""
    epochs: int
    """That each had made since its start."""
    sweep: Sweep
    """Their runs, from the first epoch to here."""


@dataclasses.dataclass(frozen=True)
class Halving:
    """A sweep by successive halving."""

    hyperparameters: dict[str, np.ndarray]
    """Of all settings, {name: [settings, ...]}."""
    seeds: np.ndarray
    """[seeds]"""
    rungs: tuple[Rung, ...]
    """From all settings to those that were trained to the end."""

    @property
    def epochs_spent(self) -> int:
        """Epochs that all runs made together."""
        stretches = np.diff([rung.epochs for rung in self.rungs], prepend=0)
        counts = [len(rung.settings) for rung in self.rungs]
        return int(np.dot(counts, stretches)) * len(self.seeds)

    @property
    def epochs_of_a_sweep(self) -> int:
        """Epochs that all runs would have made, had each been trained to the end."""
        return len(self.rungs[0].settings) * self.rungs[-1].epochs * len(self.seeds)

    def best(self) -> Best:
        """The best of the settings that were trained to the end; its `index` is its place among all.

        Raises:
          ValueError: if all of them diverged.
        """
        last = self.rungs[-1]
        found = last.sweep.best()
        return dataclasses.replace(found, index=int(last.settings[found.index]))


def successive_halving(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Any,
    regime: Regime,
    epochs: int,
    grid: dict[str, Any] | None = None,
    points: dict[str, Any] | None = None,
    reduction: int = 3,
    first_epochs: int = 1,
    seeds: Iterable[int] = (0,),
    model_state: Any = None,
    validation: Batch | None = None,
    metrics: dict[str, Callable] | None = None,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    memory: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: bool = False,
    check_finite: bool = True,
) -> Halving:
    """Train many settings, of which ever fewer are trained on: as `sweep`, at a fraction of its cost.

    Of n settings the best n/η are trained on to η times the epochs, and again, until those that are left have made
    all. There are as many rungs as settings and epochs allow: the first ends after `first_epochs` or a little later,
    and none is left without a setting. Survivors go on from where they stand, so that their runs are those of a sweep.

    Args:
      loss_fn: as in `sweep`; likewise all arguments that are not named here.
      params: as in `sweep`.
      data: as in `sweep`.
      optimizer: as in `sweep`.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`.
      epochs: how many a run has that survives every rung, at least 1. Schedules in parts of the run see this number.
      grid: as in `sweep`.
      points: as in `sweep`.
      reduction: η, the share of the settings that is left, as one in so many; at least 2.
      first_epochs: the fewest epochs that a setting is judged after, 1 to `epochs`.
      seeds: as in `sweep`; a setting is judged by its mean over them.
      model_state: as in `sweep`.
      validation: as in `sweep`.
      metrics: as in `sweep`.
      checkpoint: as in `sweep`.
      memory: as in `sweep`.
      mesh: as in `sweep`.
      progress: as in `sweep`.
      check_finite: as in `sweep`.

    Returns:
      A `Halving`: `best()`, the `rungs`, and the epochs spent.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong.

    >>> import jax.numpy as jnp, numpy as np, gdjax
    >>> x = jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> found = gdjax.successive_halving(loss, jnp.array(0.0), (x, 3 * x), optimizer=gdjax.gd,
    ...     regime=gdjax.full_batch(), epochs=9, grid={"learning_rate": np.logspace(-4, 0, 9)})
    >>> [(len(rung.settings), rung.epochs) for rung in found.rungs], found.epochs_spent, found.epochs_of_a_sweep
    ([(9, 1), (3, 3), (1, 9)], 21, 81)

    Source: Jamieson & Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter optimization".
    """
    if not isinstance(regime, Regime):
        raise TypeError(f"`regime` must be made by full_batch, stochastic or mini_batch, got {regime!r}.")
    epochs = checks.integer("epochs", epochs, least=1)
    reduction = checks.integer("reduction", reduction, least=2)
    first_epochs = checks.integer("first_epochs", first_epochs, least=1, most=epochs)
    (plan,) = plans(
        loss_fn, params, data, optimizer=optimizer, regimes=[regime], epochs=epochs, grid=grid, points=points,
        seeds=seeds, model_state=model_state, validation=validation, metrics=metrics, memory=memory, mesh=mesh,
        check_finite=check_finite,
    )  # fmt: skip
    hyperparameters, settings = plan.hyperparameters, np.arange(plan.settings)
    rungs: list[Rung] = []
    ladder = _ladder(plan.settings, epochs, reduction, first_epochs)
    with (
        saved_parts(checkpoint, [plan], rungs=str(ladder)) as parts,
        progress_bar(len(ladder), 0, unit="rungs", shown=progress) as bar,
    ):
        for place, (count, until) in enumerate(ladder):
            kept = np.arange(count)
            if rungs:
                kept = np.sort(np.argsort(rungs[-1].sweep.mean, kind="stable")[:count])
                settings, plan = settings[kept], plan.at(kept)
            bar.say(f"{plan.size} runs to epoch {until}")
            programs = len(plan.groups)
            found, plan = plan.train(
                plan.ends(until),
                lambda done, place=place, programs=programs: bar.reach(place + done / programs),
                keep=True,
                parts=None if parts is None else parts.part(f"rung-{place}"),
            )
            if rungs:
                found = dataclasses.replace(found, history=_continued(rungs[-1].sweep.history, kept, found.history))
            rungs.append(Rung(settings, until, found))
    return Halving(hyperparameters, plan.seeds, tuple(rungs))


def _ladder(settings: int, epochs: int, reduction: int, first_epochs: int) -> list[tuple[int, int]]:
    """(settings, epochs made when they are judged) of each rung; the last makes all."""
    rungs = 0
    while settings // reduction ** (rungs + 1) and epochs // reduction ** (rungs + 1) >= first_epochs:
        rungs += 1
    return [(settings // reduction**i, epochs // reduction ** (rungs - i)) for i in range(rungs + 1)]


def _continued(before: History, kept: np.ndarray, after: History) -> History:
    """The history of the settings kept, from their start."""

    def joined(a: Any, b: Any) -> Any:
        return None if b is None else np.concatenate([a[kept], b], axis=-1)

    return dataclasses.replace(
        after,
        loss=joined(before.loss, after.loss),
        step_loss=joined(before.step_loss, after.step_loss),
        learning_rate=joined(before.learning_rate, after.learning_rate),
        validation_loss=joined(before.validation_loss, after.validation_loss),
        metrics={name: joined(before.metrics[name], values) for name, values in after.metrics.items()},
    )
