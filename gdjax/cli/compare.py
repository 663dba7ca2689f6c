"""`gdjax compare`."""

import dataclasses
import pathlib
from typing import Annotated, get_args

import tyro

from gdjax import checks, tasks
from gdjax.cli.on_data import OnData, describe, resumable
from gdjax.cli.words import OPTIMIZERS, names, number, words
from gdjax.cli.words import regimes as regimes_of
from gdjax.report.baselines import baselines
from gdjax.report.compare import compare
from gdjax.report.files import FILES, prepare_folder, write_comparison
from gdjax.report.rows import SECONDS, UPDATES, Budget, Unit
from gdjax.report.schedules import CONSTANT, schedules_for
from gdjax.report.text import reproduce, table, verdict


@dataclasses.dataclass(frozen=True)
class Compare(OnData):
    """Which regime, optimizer and schedule suit this data?

    Trains a small network on the data with every optimizer in every regime. Each of these cells gets its own
    learning rates (seven, half a decade apart around the customary one, more where the best is at an edge),
    the same budget and the same seeds. Validation data chooses rates and ranks rows, test data only reports, and
    what the seeds cannot tell apart is marked as tied. Prints a verdict, a table, and the Python lines that
    reproduce the best row; writes a report for the browser, the table (CSV, JSON) and pictures. Interrupted, the same
    command goes on.

    In the shell:
      gdjax compare
      gdjax compare --data moons --optimizers gd,adam --regimes full,16,stochastic
      gdjax compare --data titanic.csv --target Survived --schedules step,plateau
    """

    regimes: str = "full,64,stochastic"
    """Comma-separated: full, stochastic, or the size of a mini-batch."""
    optimizers: str = "gd,momentum,rmsprop,adam"
    """Comma-separated: any of gdjax's optimizers, by their names in Python."""
    schedules: str = ""
    """Comma-separated, of inverse_time, step, exponential, plateau; each is tried on each optimizer's best cell."""
    epochs: int = 15
    """What every run may spend, in passes over the training data; schedules are laid out over as many."""
    budget: str = "epochs"
    """What every run may spend instead: updates or seconds, with an amount as in updates=2000 or seconds=0.5."""
    learning_rate: Annotated[str, tyro.conf.arg(metavar="RATE[,RATE...]")] = ""
    """Rates to try instead of the grids."""
    seeds: int = 5
    """Runs of each cell and rate; they differ in initialization and order."""
    out: pathlib.Path = pathlib.Path("gdjax-compare")
    """The folder for the report, tables and pictures."""

    def run(self) -> None:
        """Check, load, compare, show and write."""
        epochs = checks.integer("epochs", self.epochs, least=1)
        seeds = checks.integer("seeds", self.seeds, least=1)
        chosen = {name: OPTIMIZERS[name] for name in names("optimizers", self.optimizers, tuple(OPTIMIZERS))}
        known = schedules_for(epochs)
        schedules = {name: known[name] for name in names("schedules", self.schedules, tuple(known))}
        regimes = regimes_of(self.regimes)
        given_rates = (number("learning_rate", word) for word in dict.fromkeys(words(self.learning_rate)))
        rates = [float(checks.positive("learning_rate", rate)) for rate in given_rates] or None
        if not chosen or not regimes:
            raise ValueError(
                f"`optimizers` and `regimes` must not be empty, got '{self.optimizers}' and '{self.regimes}'."
            )
        budget = _budget(self.budget, epochs)
        given = self.options()

        task = tasks.load(self.data, **given)
        prepare_folder(self.out, FILES, pathlib.Path(self.data))
        describe(task)
        with resumable(self, self.out) as checkpoint:
            comparison = compare(
                task.loss, task.init, task.train, optimizers=chosen, regimes=regimes, schedules=schedules,
                validation=task.validation, test=task.test, metrics=task.metrics, budget=budget, seeds=seeds,
                learning_rates=rates, baselines=baselines(task), checkpoint=checkpoint, progress=True,
            )  # fmt: skip
            sentence = verdict(comparison, task.name)
            print(f"\n{sentence}\n\n{table(comparison)}\n")
            best, code = comparison.best, ""
            if best.diverged_runs < best.seeds:
                code = reproduce(best, comparison, self.loading(), known.get(best.schedule or "", CONSTANT))
            report, *others = write_comparison(comparison, sentence, task.name, self.out, code)
        print(f"The report, for a browser: {report}")
        print("Beside it:", *(path.name for path in others))
        print("(paths.png is the same for all data: the three regimes on one small regression.)")
        if code:
            print(f"\nThe best row again ({best.name}):\n\n{code}")


def _budget(text: str, epochs: int) -> Budget:
    word, _, amount = text.partition("=")
    unit: Unit = checks.choice("budget", word, get_args(Unit))
    if unit == "epochs":
        if amount:
            raise ValueError(f"`budget` in epochs must be given by --epochs, got '{text}'.")
        return Budget(unit, epochs)
    try:
        value = float(amount) if amount else {"updates": UPDATES, "seconds": SECONDS}[unit]
    except ValueError:
        raise ValueError(f"`budget` must name a number of {unit}, got '{text}'.") from None
    return Budget(unit, value)
