"""The fair comparison: which regime, optimizer and schedule suit this data?

Every cell (optimizer × regime) gets its own grid of learning rates, widened where the best lies at an edge,
the same budget and the same seeds. Rates are chosen and rows are ranked on validation data; test data only
reports. What the seeds cannot tell apart is marked as tied, and diverged runs are counted.
"""

import contextlib
import dataclasses
import functools
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import checks
from gdjax import optimizers as family
from gdjax.data.placement import placed
from gdjax.data.regimes import Regime, run_keys
from gdjax.engine.checkpoint import Checkpoint, Parts, settings_of
from gdjax.engine.evaluation import evaluate, judges_of
from gdjax.engine.interrupt import interruptible
from gdjax.engine.loss import Callee, callee
from gdjax.engine.parameters import split
from gdjax.engine.progress import progress_bar
from gdjax.report.rows import Budget, Comparison, Curves, Row
from gdjax.report.schedules import CONSTANT
from gdjax.report.statistics import tied
from gdjax.sweeps.plan import Plan, fingerprint_of, plans
from gdjax.types import Batch, LossFn, Params

CUSTOMARY = {
    family.gd: 0.1,
    family.momentum: 0.1,
    family.heavy_ball: 0.01,
    family.adagrad: 0.1,
    family.rmsprop: 1e-3,
    family.adam: 1e-3,
    family.adamw: 1e-3,
    family.amsgrad: 1e-3,
    family.adamax: 2e-3,
    family.nadam: 2e-3,
    family.radam: 1e-3,
    family.adabelief: 1e-3,
    family.yogi: 1e-2,
    family.adadelta: 1.0,
    family.lion: 1e-4,
    family.lamb: 1e-3,
}
"""The learning rate that each optimizer is usually given: its paper's, or PyTorch's default."""

GRID_STEPS = 3
"""Half-decade steps of a grid on each side of the customary rate."""

WIDENINGS = 2
"""How often a grid may be moved beyond its edge."""

TARGET = 0.1
"""The target loss lies this share above the best validation loss."""

RECORD_STEPS = 4096
"""Updates between two looks, at most, in a budget of updates or seconds; or those of an epoch."""

MEASURED_SECONDS = 0.2
"""An update is measured over so long."""


def compare(
    loss_fn: LossFn,
    init_fn: Callable[[jax.Array], Params],
    data: Batch,
    *,
    optimizers: dict[str, Any],
    regimes: Sequence[Regime],
    validation: Batch,
    test: Batch,
    epochs: int = 15,
    budget: Budget | None = None,
    schedules: Mapping[str, Callable[[Callable, Any], Any]] | None = None,
    learning_rates: Sequence[float] | None = None,
    seeds: int = 5,
    metrics: dict[str, Callable] | None = None,
    baselines: dict[str, dict[str, float]] | None = None,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    progress: bool = False,
    check_finite: bool = True,
) -> Comparison:
    """Compare optimizers and regimes on one dataset, fairly.

    Args:
      loss_fn: `loss_fn(params, batch) -> scalar`; see `gdjax.training`. It may take `key` and `training`.
      init_fn: key to initial parameters.
      data: the training data.
      optimizers: name to factory, `factory(learning_rate) -> optimizer`, or to (factory, customary rate);
        gdjax's own factories know theirs.
      regimes: `full_batch()`, `stochastic()`, `mini_batch(...)`, any number.
      validation: data that chooses the learning rates.
      test: data that reports.
      epochs: the budget of every run, unless `budget` names another.
      budget: `Budget("updates", 1000)` or `Budget("seconds", 1.0)`: what every run may spend instead.
      schedules: name to function `(factory, learning_rate) -> optimizer`, each tried on each optimizer's
        best cell; see `gdjax.report.schedules`.
      learning_rates: rates to try instead of the grids of seven around the customary ones.
      seeds: runs a cell and rate; they differ in initialization and order.
      metrics: name to function of (params, batch), reported on test data.
      baselines: name to {"loss": …, metric: …}, carried into the result.
      checkpoint: as in `sweep`: an interrupted comparison goes on where it stood.
      progress: show a bar (needs tqdm).
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `Comparison`.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong.
    """
    started = time.perf_counter()
    seeds = checks.integer("seeds", seeds, least=1)
    budget = budget or Budget("epochs", checks.integer("epochs", epochs, least=1))
    if not isinstance(optimizers, dict) or not isinstance(regimes, list | tuple):
        raise TypeError(
            f"`optimizers` must be a dict of factories and `regimes` a list, got {optimizers!r} and {regimes!r}."
        )
    if not optimizers or not regimes:
        raise ValueError(f"`optimizers` and `regimes` must not be empty, got {optimizers!r} and {regimes!r}.")
    for place, regime in enumerate(regimes):
        if not isinstance(regime, Regime):
            raise TypeError(f"`regimes[{place}]` must be made by full_batch, stochastic or mini_batch, got {regime!r}.")
    given = None if learning_rates is None else _given(learning_rates)
    factories = {name: _factory(name, choice, given is not None) for name, choice in optimizers.items()}
    loss, judges = callee("loss_fn", loss_fn), judges_of(metrics)
    if loss.has_model_state:
        raise TypeError("`loss_fn` must not take `model_state` in a comparison, got one that does.")
    for name, part in {"validation": validation, "test": test}.items():
        checks.rows(name, part)
    data, validation, test = placed(data, validation=validation, test=test, check_finite=check_finite)
    rows = checks.rows("data", data)

    per_seed = jax.jit(jax.vmap(lambda seed: split(init_fn(run_keys(seed).init))))(jnp.arange(seeds))
    at_start = np.asarray(_evaluated(per_seed, validation, loss=loss, metrics=())["loss"])

    settings = settings_of(checkpoint)

    def run(
        optimizer: str, schedule: str | None, wrap: Callable, regime: Regime, bar: Any, done: float,
        was_interrupted: Callable[[], bool],
    ) -> Row:  # fmt: skip
        factory, customary = factories[optimizer]
        label = f"{optimizer} {f'{schedule} ' if schedule else ''}× {regime}"
        bar.say(f"{label}: compiling")
        grid = _grid(customary) if given is None else given
        per_epoch = regime.steps_per_epoch(rows)

        def planned(rates: np.ndarray, updates: int) -> Plan:
            epochs = math.ceil(updates / per_epoch)
            (plan,) = plans(
                loss_fn, init_fn, data, optimizer=_Scheduled(wrap, factory),
                regimes=[regime], epochs=epochs, grid={"learning_rate": rates}, points=None, seeds=range(seeds),
                model_state=None, validation=validation, metrics=None, memory=None, mesh=None, check_finite=False,
                longest=per_epoch if budget.unit == "epochs" else max(per_epoch, RECORD_STEPS),
                validation_to_plateaus=False, record=_gradient_norm,
            )  # fmt: skip
            return plan

        def parts_of(plan: Plan | None, name: str = "") -> Parts | None:
            if settings is None:
                return None
            words = {"budget": str(budget), "data": str(rows)} | ({} if plan is None else fingerprint_of([plan]))
            place = re.sub(r"\W+", "-", f"{done} {label}")
            return Parts(settings, words, was_interrupted).part(place).part(name)

        def measured() -> list[int]:
            return budget.stops(per_epoch, lambda: seconds_per_update(lambda updates: planned(grid, updates)))

        cell_parts = parts_of(None)
        stops = measured() if cell_parts is None else cell_parts.remembered("stops", measured)

        def cell(rates: np.ndarray, told: Callable[[float], None], name: str) -> tuple[Curves, float]:
            plan = planned(rates, stops[-1])
            found, _ = plan.train(stops, told, parts=parts_of(plan, name))
            first = np.broadcast_to(at_start, found.diverged.shape)[..., None]
            losses = np.concatenate([first, np.asarray(found.history.validation_loss)], axis=-1)
            updates = np.asarray([0, *stops])
            history = found.history
            nothing = np.full_like(first, np.nan)
            rate = np.concatenate([nothing, history.learning_rate[..., updates[1:] - 1]], axis=-1)
            norms = np.add.reduceat(history.recorded["gradient_norm"], updates[:-1], axis=-1) / np.diff(updates)
            norm = np.concatenate([nothing, norms], axis=-1)
            curves = Curves(rates, updates, losses, rate, norm, found.params, found.diverged, found.seconds)
            return curves, found.compile_seconds

        def told(share: float) -> None:
            bar.say(f"{label}: {grid.size * seeds} runs")
            bar.reach(done + share)

        curves, compile_seconds = cell(grid, told, "grid")
        lowest = highest = 0
        for _ in range(WIDENINGS if given is None else 0):
            chosen = _choose(curves)
            if 0 < chosen < len(curves.rates) - 1:
                break
            bar.say(f"{label}: the best rate is at the edge, {grid.size * seeds} runs more")
            lowest, highest = (lowest - 1, highest) if chosen == 0 else (lowest, highest + 1)
            shift = lowest if chosen == 0 else highest
            curves = curves.joined(cell(_grid(customary, shift), lambda share: None, f"grid{shift:+}")[0])
        chosen = _choose(curves)
        tests = jax.tree.map(np.asarray, _evaluated_by_rate(split(curves.params), test, loss=loss, metrics=judges))
        slices = regime.slices(rows)
        whole, rest = np.divmod(curves.updates, slices.steps)
        return Row(
            optimizer=optimizer, regime=regime, schedule=schedule, customary_rate=customary, curves=curves,
            learning_rate=float(curves.rates[chosen]), chosen=chosen,
            at_edge=len(curves.rates) > 1 and chosen in (0, len(curves.rates) - 1),
            compile_seconds=compile_seconds,
            test_loss=tests["loss"], metrics={name: tests[name] for name in metrics or {}},
            examples=whole * slices.seen + rest * slices.rows,
        )  # fmt: skip

    made: list[Row] = []
    extra = len(schedules or {}) * len(factories)
    with (
        contextlib.nullcontext(lambda: False) if settings is None else interruptible() as was_interrupted,
        progress_bar(len(factories) * len(regimes) + extra, 0, unit="cells", shown=progress) as bar,
    ):
        for regime in regimes:
            for optimizer in factories:
                made.append(run(optimizer, None, CONSTANT, regime, bar, len(made), was_interrupted))
        for optimizer in factories if schedules else ():
            own = min((row for row in made if row.optimizer == optimizer), key=_validation_rank)
            for schedule, wrap in (schedules or {}).items():
                made.append(run(optimizer, schedule, wrap, own.regime, bar, len(made), was_interrupted))
    ranked = sorted(made, key=_validation_rank)
    best = ranked[0].losses()
    marked = tuple(dataclasses.replace(row, tied=tied(row.losses(), best)) for row in ranked)
    least = float(ranked[0].validation()[-1])
    target = math.inf if math.isnan(least) else least + TARGET * abs(least)
    return Comparison(marked, baselines or {}, budget, target, seeds, time.perf_counter() - started)


def _gradient_norm(params: Params, gradients: Params, updates: Params, state: Any) -> dict[str, jax.Array]:
    """What every step records beside its loss and its rate."""
    return {"gradient_norm": optax.tree.norm(gradients)}


def _given(learning_rates: Sequence[float]) -> np.ndarray:
    rates = np.asarray(sorted(float(checks.positive("learning_rates", rate)) for rate in learning_rates))
    if not rates.size:
        raise ValueError(f"`learning_rates` must hold at least one rate, got {learning_rates!r}.")
    return rates


def _factory(name: str, choice: Any, rates_given: bool) -> tuple[Callable, float]:
    pair = isinstance(choice, tuple) and len(choice) == 2 and not isinstance(choice, optax.GradientTransformation)
    factory, rate = choice if pair else (choice, None)
    if not callable(factory) or isinstance(factory, tuple):
        raise TypeError(f"`optimizers[{name!r}]` must be a factory `learning_rate -> optimizer`, got {factory!r}.")
    if rate is None:
        rate = CUSTOMARY.get(factory)
    if rate is None and not rates_given:
        raise ValueError(
            f"`optimizers[{name!r}]` must come with its customary learning rate, as (factory, rate), "
            f"got only {factory!r}."
        )
    return factory, math.nan if rate is None else float(checks.positive(f"optimizers[{name!r}]", rate))


@dataclasses.dataclass(frozen=True)
class _Scheduled:
    """A factory that follows a schedule; two of the same are equal, so that the second compiles nothing."""

    wrap: Callable[[Callable, Any], Any]
    factory: Callable

    def __call__(self, learning_rate: Any) -> Any:
        return self.wrap(self.factory, learning_rate)


def _grid(customary: float, shift: int = 0) -> np.ndarray:
    """Half-decade steps around the customary rate, or `shift` whole grids beyond it; to the digits printed."""
    steps = np.arange(-GRID_STEPS, GRID_STEPS + 1) + shift * (2 * GRID_STEPS + 1)
    return np.asarray([float(f"{customary * 10.0 ** (step / 2):.4g}") if step else customary for step in steps])


def _choose(curves: Curves) -> int:
    """The place of the rate with the fewest diverged runs and among those the lowest validation loss."""
    final = np.where(curves.diverged, 0.0, curves.validation_loss[..., -1])
    kept = (~curves.diverged).sum(axis=1)
    mean = np.where(kept > 0, final.sum(axis=1) / np.maximum(kept, 1), np.inf)
    return int(np.lexsort((mean, curves.diverged.sum(axis=1)))[0])


def seconds_per_update(planned: Callable[[int], Plan]) -> float:
    """Measured wall time of an update of one run, its share of what all take together.

    Args:
      planned: number of updates to a plan of so many.
    """
    updates, plan = 2, planned(2)
    while True:
        seconds = plan.train([updates], lambda share: None)[0].seconds
        if seconds > MEASURED_SECONDS or updates >= RECORD_STEPS:
            return seconds / (updates * plan.size)
        updates *= 2
        plan = planned(updates)


def _validation_rank(row: Row) -> tuple[int, float]:
    last = row.validation()[-1]
    return row.diverged_runs, math.inf if np.isnan(last) else float(last)


@functools.partial(jax.jit, static_argnames=("loss", "metrics"))
def _evaluated(params: Any, rows: Batch, *, loss: Callee, metrics: tuple[Callee, ...]) -> dict[str, jax.Array]:
    """Compiled once for all cells: split parameters [seeds, ...] to {name: [seeds]}."""
    return jax.vmap(lambda params: evaluate(params, None, rows, loss=loss, metrics=metrics))(params)


@functools.partial(jax.jit, static_argnames=("loss", "metrics"))
def _evaluated_by_rate(params: Any, rows: Batch, *, loss: Callee, metrics: tuple[Callee, ...]) -> dict[str, jax.Array]:
    """Likewise split parameters [rates, seeds, ...] to {name: [rates, seeds]}."""
    return jax.vmap(lambda params: _evaluated(params, rows, loss=loss, metrics=metrics))(params)
