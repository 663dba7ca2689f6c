"""What a comparison consists of: a budget, rows, and all of them together."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np

from gdjax import checks
from gdjax.data.regimes import Regime
from gdjax.engine.parameters import merge, split
from gdjax.report.statistics import Interval, mean_interval
from gdjax.sweeps.results import joined

UPDATES, SECONDS = 1000, 1.0
"""A budget in updates or seconds, where no amount is named."""

POINTS = 15
"""Looks at the validation loss in a budget of updates or seconds."""


Unit = Literal["epochs", "updates", "seconds"]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every run may spend."""

    unit: Unit
    amount: float
    """So many of the unit, for one run."""

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for another unit, or an amount that is none."""
        checks.choice("budget", self.unit, get_args(Unit))
        if self.unit == "epochs":
            checks.integer("budget", self.amount, least=1)
        checks.positive("budget", self.amount)

    def stops(self, per_epoch: int, seconds_per_update: Callable[[], float]) -> list[int]:
        """The numbers of updates after which a run is looked at.

        Args:
          per_epoch: updates an epoch.
          seconds_per_update: measures the wall time of an update of one run; asked where seconds are what is spent.

        Raises:
          ValueError: if a run would have 2³¹ updates or more.
        """
        if self.unit != "seconds" and self.amount * (per_epoch if self.unit == "epochs" else 1) >= 2**31:
            raise ValueError(f"`budget` must leave a run below 2**31 updates, got {self.amount} {self.unit}.")
        if self.unit == "epochs":
            return [per_epoch * epoch for epoch in range(1, int(self.amount) + 1)]
        total = self.amount / (seconds_per_update() if self.unit == "seconds" else 1)
        stops = np.linspace(0, max(1, int(total)), POINTS + 1)[1:]
        return sorted({max(1, round(stop)) for stop in stops})


class Curves(NamedTuple):
    """What the runs of a cell did; axes are [rates, seeds, points]."""

    rates: np.ndarray
    """Ascending [rates]."""
    updates: np.ndarray
    """Updates made at each point [points]; the first is 0."""
    validation_loss: np.ndarray
    learning_rate: np.ndarray
    """That acted in the last update before each point; NaN at the first."""
    gradient_norm: np.ndarray
    """Of the batches' gradients, their mean since the point before; NaN at the first."""
    params: Any
    """Final parameters, leading axes [rates, seeds]."""
    diverged: np.ndarray
    """Bool [rates, seeds]."""
    seconds: float
    """Wall time of the whole cell's steps, compilation and evaluation apart."""

    def joined(self, other: "Curves") -> "Curves":
        """Two cells that differ in their rates, as one."""
        order = np.argsort(np.concatenate([self.rates, other.rates]), kind="stable")

        parts, others = (
            (x.rates, x.validation_loss, x.learning_rate, x.gradient_norm, split(x.params), x.diverged)
            for x in (self, other)
        )
        rates, losses, acted, norms, params, diverged = jax.tree.map(lambda a, b: joined(a, b)[order], parts, others)
        seconds = self.seconds + other.seconds
        return Curves(rates, self.updates, losses, acted, norms, merge(*params), diverged, seconds)


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell, at its chosen learning rate."""

    optimizer: str
    regime: Regime
    schedule: str | None
    """Its name; None for a constant rate."""
    learning_rate: float
    customary_rate: float
    curves: Curves
    chosen: int
    """Place of the chosen rate in the curves."""
    at_edge: bool
    """Whether the chosen rate is the lowest or the highest that was tried."""
    compile_seconds: float
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
        schedule = "" if self.schedule is None else f" with {self.schedule}"
        return f"{self.optimizer}{schedule}, {self.regime}"

    @property
    def diverged(self) -> np.ndarray:
        """Runs that ended above their start or without a number, bool [rates, seeds]."""
        return self.curves.diverged

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
    """Rows by validation loss, the best first, and what they are measured against."""

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
        """The row of the lowest mean validation loss."""
        return self.rows[0]

    @property
    def reached(self) -> list[Row]:
        """Rows that came to the target with every seed."""
        return [row for row in self.rows if not row.diverged_runs and row.point_of(self.target) is not None]
