"""`gdjax sweep`."""

import dataclasses
import pathlib
from typing import Annotated, Any

import numpy as np
import tyro

import gdjax
from gdjax import checks, tasks
from gdjax.cli.on_data import OnData, describe, resumable
from gdjax.cli.words import OPTIMIZERS, one_regime, varied
from gdjax.report.compare import CUSTOMARY
from gdjax.report.files import prepare_folder
from gdjax.report.sweeps import FILES, leaders, reproduce, write_sweep
from gdjax.sweeps.halving import Halving
from gdjax.sweeps.learning_rates import rate_test

AROUND = 2.0
"""Decades on each side of an optimizer's customary rate, which are swept where nothing is named."""


@dataclasses.dataclass(frozen=True)
class Sweep(OnData):
    """Which hyperparameters suit this data?

    Trains a small network on the data with every setting, all side by side in one program. Validation data ranks the
    settings, test data only reports on the best one. Prints the best settings and the Python lines that train the best
    one again; writes all of them (CSV) and a picture. Interrupted, the same command goes on.

    In the shell:
      gdjax sweep
      gdjax sweep --data moons --optimizer momentum --vary learning_rate=0.001:3:24 beta=0.5,0.9,0.99
      gdjax sweep --data titanic.csv --target Survived --vary learning_rate=1e-4:1 b1=0.5:0.99 --random 300 --halving
    """

    optimizer: str = "adam"
    """Any of gdjax's optimizers, by its name in Python."""
    vary: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUES ...")] = ()
    """What is varied: NAME=VALUE,VALUE,... or NAME=LOW:HIGH:COUNT, evenly in the logarithm; every combination is a
    setting. By default 64 learning rates around the customary one."""
    random: int | None = None
    """Draw so many settings at random instead: NAME=LOW:HIGH, evenly in the logarithm."""
    regime: str = "64"
    """full, stochastic, or the size of a mini-batch."""
    epochs: int = 30
    """Passes over the training data."""
    seeds: int = 5
    """Runs of each setting; they differ in initialization and order."""
    halving: bool = False
    """Judge all after a few epochs and train only the best third on, and again: much less work for many settings."""
    out: pathlib.Path = pathlib.Path("gdjax-sweep")
    """The folder for table and picture."""

    def run(self) -> None:
        """Check, load, sweep, show and write."""
        factory = OPTIMIZERS[checks.choice("optimizer", self.optimizer, tuple(OPTIMIZERS))]
        epochs = checks.integer("epochs", self.epochs, least=1)
        seeds = checks.integer("seeds", self.seeds, least=1)
        regime = one_regime(self.regime)
        space = self._space()

        task = tasks.load(self.data, **self.options())
        prepare_folder(self.out, FILES, pathlib.Path(self.data))
        describe(task)
        settings: dict[str, Any] = {
            "optimizer": factory, "regime": regime, "epochs": epochs, "seeds": range(seeds),
            "validation": task.validation, "metrics": task.metrics, "progress": True,
        } | space  # fmt: skip
        train = gdjax.successive_halving if self.halving else gdjax.sweep
        with resumable(self, self.out) as checkpoint:
            found = train(task.loss, task.init, task.train, checkpoint=checkpoint, **settings)
            written = write_sweep(found, f"{self.optimizer} on {task.name}", self.out)
        result = found.rungs[-1].sweep if isinstance(found, Halving) else found
        if isinstance(found, Halving):
            counts = ", ".join(f"{len(rung.settings):,} to epoch {rung.epochs}" for rung in found.rungs)
            share = found.epochs_spent / found.epochs_of_a_sweep
            print(f"\nSettings: {counts}; {share:.0%} of the epochs that all of them would have made.")
        print(f"\n{leaders(result, task)}\n")
        some = bool(np.isfinite(result.mean).any())
        if some and found is result and list(result.hyperparameters) == ["learning_rate"]:
            print(f"For the learning rate of {self.optimizer}, {rate_test(result).reason}\n")
        print("Written:", *(str(path) for path in written))
        if some:
            print("\nThe best setting again:\n")
            print(reproduce(result, task, self.optimizer, self.loading(), epochs))

    def _space(self) -> dict[str, Any]:
        """`grid` or `points` of a sweep."""
        given = dict(varied(text) for text in self.vary)
        if len(given) < len(self.vary):
            raise ValueError(f"`vary` must name each hyperparameter once, got {' '.join(self.vary)}.")
        ranges = {name: value for name, value in given.items() if isinstance(value, tuple)}
        if self.random is not None:
            if not given or len(ranges) < len(given) or any(count is not None for _, _, count in ranges.values()):
                raise ValueError(f"`vary` must be NAME=LOW:HIGH with `random`, got '{' '.join(self.vary)}'.")
            spaces = {name: gdjax.log_uniform(low, high) for name, (low, high, _) in ranges.items()}
            drawn = gdjax.random_points(self.random, spaces, seed=self.seed)
            return {"points": {name: _rounded(values) for name, values in drawn.items()}}
        if not given:
            customary = CUSTOMARY[OPTIMIZERS[self.optimizer]]
            given = ranges = {"learning_rate": (customary * 10**-AROUND, customary * 10**AROUND, 64)}
        grid: dict[str, Any] = {}
        for name, value in given.items():
            if name not in ranges:
                grid[name] = value
                continue
            low, high, count = ranges[name]
            if count is None:
                raise ValueError(f"`vary` must be NAME=LOW:HIGH:COUNT without `random`, got '{name}={low:g}:{high:g}'.")
            checks.positive("vary", low)
            checks.number("vary", high, f"be finite and above its low, {low:g}", lambda x, low=low: low < x < np.inf)
            checks.integer("vary", count, least=2)
            grid[name] = _rounded(np.geomspace(low, high, count))
        return {"grid": grid}


def _rounded(values: np.ndarray) -> list[float]:
    """To the digits that are printed, so that the lines printed train the same."""
    return [float(f"{value:.4g}") for value in values]
