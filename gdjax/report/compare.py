"""The fair comparison: which regime, optimizer and schedule suit this data?

Every cell (optimizer × regime) gets its own grid of learning rates, widened where the best lies at an edge,
the same budget and the same seeds. The rate is chosen on validation data; test data only reports. What the
seeds cannot tell apart is marked as tied, and diverged runs are counted.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.data.regimes import Regime, run_keys
from gdjax.engine.loss import callee
from gdjax.engine.progress import progress_bar
from gdjax.optimizers import adagrad, adam, gd, heavy_ball, momentum, rmsprop
from gdjax.report.cells import Cell, Curves
from gdjax.report.statistics import Interval, mean_interval, tied
from gdjax.types import Batch, LossFn, Params

CUSTOMARY = {gd: 0.1, momentum: 0.1, heavy_ball: 0.01, adagrad: 0.1, rmsprop: 1e-3, adam: 1e-3}
"""The learning rate that each optimizer is usually given."""

GRID_STEPS = 3
"""Half-decade steps of a grid on each side of the customary rate."""

WIDENINGS = 2
"""How often a grid may be moved beyond its edge."""

TARGET = 1.1
"""The target loss is this many times the best validation loss."""

ROUNDING = 1.001
"""A run that does not move ends this much above its start at most."""

UPDATES, SECONDS = 1000, 1.0
"""A budget in updates or seconds, where no amount is named."""

POINTS = 15
"""Looks at the validation loss in a budget of updates or seconds."""


Unit = Literal["examples", "updates", "seconds"]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every run may spend."""

    unit: Unit
    amount: float
    """Epochs (for examples), updates, or seconds of one run."""

    def stops(self, cell: Cell, rates: np.ndarray) -> list[int]:
        """The numbers of updates after which a cell is looked at."""
        if self.unit == "examples":
            return [cell.per_epoch * epoch for epoch in range(1, int(self.amount) + 1)]
        total = self.amount
        if self.unit == "seconds":
            total /= cell.seconds_per_update(rates) / (len(rates) * len(cell.seeds))
        stops = np.linspace(0, max(1, int(total)), POINTS + 1)[1:]
        return sorted({max(1, round(stop)) for stop in stops})


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell, at its chosen learning rate."""

    optimizer: str
    regime: Regime
    schedule: str
    learning_rate: float
    customary_rate: float
    curves: Curves
    chosen: int
    """Place of the chosen rate in the curves."""
    diverged: np.ndarray
    """Runs that ended above their start or without a number, bool [rates, seeds]."""
    test_loss: np.ndarray
    """[rates, seeds]"""
    metrics: dict[str, np.ndarray]
    """On test data, each [rates, seeds]."""
    examples: np.ndarray
    """Examples seen at each point [points]."""
    tied: bool | None = None
    """Whether it is no worse than the best; None where one seed cannot tell."""

    @property
    def name(self) -> str:
        """What the row compares."""
        schedule = "" if self.schedule == "constant" else f" with {self.schedule}"
        return f"{self.optimizer}{schedule}, {self.regime}"

    @property
    def diverged_runs(self) -> int:
        """Diverged runs at the chosen rate."""
        return int(self.diverged[self.chosen].sum())

    @property
    def seeds(self) -> int:
        """Runs at each rate."""
        return self.diverged.shape[1]

    @property
    def runs(self) -> int:
        """Runs that were trained together."""
        return self.diverged.size

    @property
    def seconds(self) -> float:
        """Wall time of one run: its share of the cell's."""
        return self.curves.seconds / self.runs

    def losses(self) -> np.ndarray:
        """Test losses at the chosen rate, NaN where a run diverged [seeds]."""
        return np.where(self.diverged[self.chosen], np.nan, self.test_loss[self.chosen])

    def interval(self, values: np.ndarray) -> Interval:
        """Mean and interval over the seeds at the chosen rate, diverged runs left out (they are counted)."""
        return mean_interval(values[self.chosen][~self.diverged[self.chosen]])

    def validation(self) -> np.ndarray:
        """Mean validation loss at the chosen rate over the runs that did not diverge [points]."""
        kept = self.curves.validation_loss[self.chosen][~self.diverged[self.chosen]]
        return kept.mean(axis=0) if len(kept) else np.full(self.examples.shape, np.nan)

    def customary_loss(self) -> float:
        """Mean test loss at the customary rate: NaN where it was not tried, infinite where a run diverged."""
        place = np.flatnonzero(np.isclose(self.curves.rates, self.customary_rate, rtol=1e-6))
        if not place.size:
            return math.nan
        return math.inf if self.diverged[place[0]].any() else float(self.test_loss[place[0]].mean())

    def point_of(self, target: float) -> int | None:
        """The first point at which the mean validation loss is at most the target."""
        reached = np.flatnonzero(self.validation() <= target)
        return int(reached[0]) if reached.size else None

    def cost(self, target: float) -> dict[str, float]:
        """Updates, examples and seconds until the target; infinite where it was not reached."""
        point = self.point_of(target)
        if point is None:
            return dict.fromkeys(("updates", "examples", "seconds"), math.inf)
        updates = int(self.curves.updates[point])
        seconds = self.seconds * updates / int(self.curves.updates[-1])
        return {"updates": updates, "examples": int(self.examples[point]), "seconds": seconds}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows by test loss, the best first, and what they are measured against."""

    rows: tuple[Row, ...]
    baselines: dict[str, dict[str, float]]
    """Name to {"loss": …, metric: …} on test data."""
    budget: Budget
    target: float
    """The validation loss that costs are counted to."""
    seeds: int
    wall_seconds: float

    @property
    def best(self) -> Row:
        """The row of the lowest mean test loss."""
        return self.rows[0]


def constant(factory: Callable, learning_rate: Any) -> Any:
    """No schedule."""
    return factory(learning_rate)


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
    progress: bool = False,
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
      progress: show a bar (needs tqdm).

    Returns:
      A `Comparison`.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong.
    """
    started = time.perf_counter()
    seeds = checks.integer("seeds", seeds, least=1)
    budget = budget or Budget("examples", checks.integer("epochs", epochs, least=1))
    if not budget.amount > 0 or not math.isfinite(budget.amount):
        raise ValueError(f"`budget` must be a finite amount above 0, got {budget.amount!r}.")
    if not optimizers or not regimes:
        raise ValueError(f"`optimizers` and `regimes` must not be empty, got {optimizers!r} and {regimes!r}.")
    factories = {name: _factory(name, choice, learning_rates) for name, choice in optimizers.items()}
    for name, part in {"data": data, "validation": validation, "test": test}.items():
        checks.rows(name, part)
        checks.finite(name, part)
    data, validation, test = (jax.tree.map(jnp.asarray, part) for part in (data, validation, test))
    rows = len(jax.tree.leaves(data)[0])

    judges = {"loss": callee("loss_fn", loss_fn)} | {n: callee(n, f) for n, f in (metrics or {}).items()}
    evaluate = _evaluator(judges["loss"], {})
    report = _evaluator(judges["loss"], {name: judge for name, judge in judges.items() if name != "loss"})
    starts = jax.jit(jax.vmap(lambda seed: init_fn(run_keys(seed).init)))(jnp.arange(seeds))
    start_loss = np.asarray(evaluate(jax.tree.map(lambda x: x[None], starts), data)["loss"][0])

    def run(optimizer: str, schedule: str, wrap: Callable, regime: Regime, bar: Any, done: float) -> Row:
        factory, customary = factories[optimizer]
        label = f"{optimizer} {'' if schedule == 'constant' else schedule + ' '}× {regime}"
        bar.say(f"{label}: compiling")
        grid = _grid(customary) if learning_rates is None else np.asarray(sorted(learning_rates), float)
        cell = Cell(
            loss_fn, data, lambda rate: wrap(factory, rate), regime, starts, start_loss,
            lambda params: evaluate(params, validation)["loss"],
        )  # fmt: skip
        cell.compile(grid)
        stops = budget.stops(cell, grid)
        bar.say(f"{label}: {grid.size * seeds} runs")
        curves = cell.run(grid, stops, lambda share: bar.reach(done + share))
        lowest = highest = 0
        for _ in range(WIDENINGS if learning_rates is None else 0):
            chosen = _choose(curves)
            if 0 < chosen < len(curves.rates) - 1:
                break
            bar.say(f"{label}: the best rate is at the edge, {grid.size * seeds} runs more")
            lowest, highest = (lowest - 1, highest) if chosen == 0 else (lowest, highest + 1)
            wider = _grid(customary, lowest if chosen == 0 else highest)
            curves = curves.joined(cell.run(wider, stops, lambda share: None))
        tests = jax.tree.map(np.asarray, report(curves.params, test))
        slices = regime.slices(rows)
        whole, rest = np.divmod(curves.updates, slices.steps)
        chosen = _choose(curves)
        return Row(
            optimizer=optimizer, regime=regime, schedule=schedule, customary_rate=customary, curves=curves,
            learning_rate=float(curves.rates[chosen]), chosen=chosen, diverged=_diverged(curves),
            test_loss=tests["loss"], metrics={name: tests[name] for name in metrics or {}},
            examples=whole * slices.seen + rest * slices.rows,
        )  # fmt: skip

    made: list[Row] = []
    extra = len(schedules or {}) * len(factories)
    with progress_bar(len(factories) * len(regimes) + extra, 0, unit="cells", shown=progress) as bar:
        for regime in regimes:
            for optimizer in factories:
                made.append(run(optimizer, "constant", constant, regime, bar, len(made)))
        for optimizer in factories if schedules else ():
            own = min((row for row in made if row.optimizer == optimizer), key=_validation_rank)
            for schedule, wrap in (schedules or {}).items():
                made.append(run(optimizer, schedule, wrap, own.regime, bar, len(made)))
    ranked = sorted(made, key=_test_rank)
    best = ranked[0].losses()
    marked = tuple(dataclasses.replace(row, tied=tied(row.losses(), best)) for row in ranked)
    target = TARGET * float(np.nanmin([row.validation()[-1] for row in marked] + [math.inf]))
    return Comparison(marked, baselines or {}, budget, target, seeds, time.perf_counter() - started)


def _factory(name: str, choice: Any, learning_rates: Sequence[float] | None) -> tuple[Callable, float]:
    factory, rate = choice if isinstance(choice, tuple) and len(choice) == 2 else (choice, None)
    if not callable(factory) or isinstance(factory, tuple):
        raise TypeError(f"`optimizers[{name!r}]` must be a factory `learning_rate -> optimizer`, got {factory!r}.")
    if rate is None:
        rate = CUSTOMARY.get(factory)
    if rate is None and learning_rates is None:
        raise ValueError(
            f"`optimizers[{name!r}]` must come with its customary learning rate, as (factory, rate), "
            f"got only {factory!r}."
        )
    for given in learning_rates or ():
        checks.positive("learning_rates", given)
    return factory, math.nan if rate is None else float(checks.positive(f"optimizers[{name!r}]", rate))


def _grid(customary: float, shift: int = 0) -> np.ndarray:
    """Half-decade steps around the customary rate, or `shift` whole grids beyond it; to the digits printed."""
    steps = np.arange(-GRID_STEPS, GRID_STEPS + 1) + shift * (2 * GRID_STEPS + 1)
    return np.asarray([float(f"{customary * 10.0 ** (step / 2):.4g}") for step in steps])


def _diverged(curves: Curves) -> np.ndarray:
    """Runs whose losses are no numbers at the end, or whose training loss ends above its start [rates, seeds]."""
    first, last = curves.train_loss[..., 0], curves.train_loss[..., -1]
    finite = np.isfinite(last) & np.isfinite(curves.validation_loss[..., -1])
    return ~finite | (np.nan_to_num(last, nan=np.inf) > ROUNDING * first)


def _choose(curves: Curves) -> int:
    """The place of the rate with the fewest diverged runs and among those the lowest validation loss."""
    diverged = _diverged(curves)
    final = np.where(diverged, 0.0, np.nan_to_num(curves.validation_loss[..., -1], posinf=0.0))
    kept = (~diverged).sum(axis=1)
    mean = np.where(kept > 0, final.sum(axis=1) / np.maximum(kept, 1), np.inf)
    return int(np.lexsort((mean, diverged.sum(axis=1)))[0])


def _validation_rank(row: Row) -> tuple[int, float]:
    last = row.validation()[-1]
    return row.diverged_runs, float("inf") if np.isnan(last) else float(last)


def _test_rank(row: Row) -> tuple[int, float]:
    mean = row.interval(row.test_loss).mean
    return row.diverged_runs, float("inf") if np.isnan(mean) else mean


def _evaluator(loss: Any, metrics: dict[str, Any]) -> Callable[[Params, Batch], dict[str, jax.Array]]:
    """Compiled once for all cells: parameters [rates, seeds, ...] to {name: [rates, seeds]}."""

    def one(params: Params, rows: Batch) -> dict[str, jax.Array]:
        offered = {"key": jax.random.key(0), "training": False, "model_state": None}
        values = {"loss": loss.loss(params, rows, **offered)[0]}
        return values | {name: metric.metric(params, rows, **offered) for name, metric in metrics.items()}

    return jax.jit(jax.vmap(jax.vmap(one, (0, None)), (0, None)))
