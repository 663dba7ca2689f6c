"""The command line: `gdjax compare`."""

import contextlib
import dataclasses
import pathlib
import sys
from typing import Annotated, Any, get_args

import tyro

import gdjax
from gdjax import checks, tasks
from gdjax.data.regimes import Regime, full_batch, mini_batch, stochastic
from gdjax.engine.native import compile_small_loops
from gdjax.report.baselines import baselines
from gdjax.report.compare import CUSTOMARY, compare
from gdjax.report.files import prepare_folder, write_comparison
from gdjax.report.rows import SECONDS, UPDATES, Budget, Unit
from gdjax.report.schedules import CONSTANT, schedules_for
from gdjax.report.text import reproduce, table, verdict

OPTIMIZERS = {factory.__name__: factory for factory in CUSTOMARY}


@dataclasses.dataclass(frozen=True)
class Compare:
    """Which regime, optimizer and schedule suit this data?

    Trains a small network on the data with every optimizer in every regime. Each of these cells gets its own
    learning rates (seven, half a decade apart around the customary one, more where the best is at an edge),
    the same budget and the same seeds. Validation data chooses rates and ranks rows, test data only reports, and
    what the seeds cannot tell apart is marked as tied. Prints a verdict, a table, and the Python lines that
    reproduce the best row; writes the table (CSV, JSON) and pictures.

    In the shell:
      gdjax compare
      gdjax compare --data moons --optimizers gd,adam --regimes full,16,stochastic
      gdjax compare --data titanic.csv --target Survived --schedules step,plateau
    """

    data: str = "digits"
    """digits, moons, breast_cancer, diabetes, fashion-mnist; or the path of a CSV, an NPZ, or a folder of idx files."""
    target: str | None = None
    """The column (or array) to predict, for a CSV or NPZ."""
    task: str | None = None
    """classification or regression; by default as the target looks."""
    rows: int | None = None
    """Take only so many rows, drawn by the seed."""
    regimes: str = "full,64,stochastic"
    """Comma-separated: full, stochastic, or the size of a mini-batch."""
    optimizers: str = "gd,momentum,rmsprop,adam"
    """Comma-separated, of gd, momentum, heavy_ball, adagrad, rmsprop, adam."""
    schedules: str = ""
    """Comma-separated, of inverse_time, step, exponential, plateau; each is tried on each optimizer's best cell."""
    epochs: int = 15
    """What every run may spend, in passes over the training data; schedules are laid out over as many."""
    budget: str = "epochs"
    """What every run may spend instead: updates or seconds, with an amount as in updates=2000 or seconds=0.5."""
    hidden: str = "32"
    """Sizes of the hidden layers, comma-separated; 0 for a linear model."""
    learning_rate: Annotated[str, tyro.conf.arg(metavar="RATE[,RATE...]")] = ""
    """Rates to try instead of the grids."""
    seeds: int = 5
    """Runs of each cell and rate; they differ in initialization and order."""
    seed: int = 0
    """What the split into training, validation and test follows from."""
    out: pathlib.Path = pathlib.Path("gdjax-compare")
    """The folder for tables and pictures."""

    def run(self) -> None:
        """Check, load, compare, show and write."""
        epochs = checks.integer("epochs", self.epochs, least=1)
        seeds = checks.integer("seeds", self.seeds, least=1)
        chosen = {name: OPTIMIZERS[name] for name in _names("optimizers", self.optimizers, tuple(OPTIMIZERS))}
        known = schedules_for(epochs)
        schedules = {name: known[name] for name in _names("schedules", self.schedules, tuple(known))}
        regimes = [_regime(word) for word in dict.fromkeys(_words(self.regimes))]
        rates = [_rate(word) for word in dict.fromkeys(_words(self.learning_rate))] or None
        if not chosen or not regimes:
            raise ValueError(
                f"`optimizers` and `regimes` must not be empty, got '{self.optimizers}' and '{self.regimes}'."
            )
        budget = _budget(self.budget, epochs)
        hidden = tuple(size for size in (_integer("hidden", word) for word in _words(self.hidden)) if size)
        asked: dict[str, Any] = {
            "target": self.target,
            "task": self.task,
            "hidden": hidden,
            "rows": self.rows,
            "seed": self.seed,
        }
        given = {name: value for name, value in asked.items() if value is not None}

        task = tasks.load(self.data, **given)
        prepare_folder(self.out, pathlib.Path(self.data))
        sizes = ", ".join(f"{len(part[1]):,} {name}" for name, part in _parts(task).items())
        what = f"{len(task.classes)} classes" if task.classes else "regression"
        print(f"{task.name}: {what}, {task.train[0].shape[1]} features; rows: {sizes}.", *task.notes, sep="\n  ")
        print(flush=True)
        comparison = compare(
            task.loss, task.init, task.train, optimizers=chosen, regimes=regimes, schedules=schedules,
            validation=task.validation, test=task.test, metrics=task.metrics, budget=budget, seeds=seeds,
            learning_rates=rates, baselines=baselines(task), progress=True,
        )  # fmt: skip
        sentence = verdict(comparison, task.name)
        print(f"\n{sentence}\n\n{table(comparison)}\n")
        written = write_comparison(comparison, sentence, task.name, self.out)
        print("Written:", *(str(path) for path in written))
        print("(paths.png is the same for all data: the three regimes on one small regression.)")
        best = comparison.best
        if best.diverged_runs == best.seeds:
            return
        arguments = "".join(f", {name}={value!r}" for name, value in given.items())
        load = f"tasks.load({self.data!r}{arguments})"
        print(f"\nThe best row again ({best.name}):\n")
        print(reproduce(best, comparison, load, known.get(best.schedule or "", CONSTANT)))


def _parts(task: tasks.Task) -> dict[str, tuple]:
    return {"training": task.train, "validation": task.validation, "test": task.test}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _names(argument: str, text: str, known: tuple[str, ...]) -> list[str]:
    return [checks.choice(argument, word, known) for word in dict.fromkeys(_words(text))]


def _integer(argument: str, word: str) -> int:
    try:
        value = int(word)
    except ValueError:
        raise ValueError(f"`{argument}` must hold whole numbers, got '{word}'.") from None
    return checks.integer(argument, value, least=0)


def _rate(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"`learning_rate` must hold numbers, got '{word}'.") from None
    return float(checks.positive("learning_rate", value))


def _regime(word: str) -> Regime:
    if word in ("full", "full_batch"):
        return full_batch()
    if word == "stochastic":
        return stochastic()
    try:
        size = int(word)
    except ValueError:
        raise ValueError(f"`regimes` must hold full, stochastic or sizes of mini-batches, got '{word}'.") from None
    return mini_batch(checks.integer("regimes", size, least=1))


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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 2 for bad input."""
    app = tyro.extras.SubcommandApp()
    app.command(Compare, name="compare")  # pyrefly: ignore[no-matching-overload]: a dataclass is called like a function
    config = app.cli(args=arguments, prog="gdjax", description=f"{gdjax.__doc__}")
    try:
        config.run()
    except (ValueError, TypeError, OSError) as error:
        print(f"gdjax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            print("gdjax: interrupted, nothing was written.", file=sys.stderr)
        return 130
    return 0


def command() -> int:
    """The console script: `main` in a process of its own, so that XLA can still be told about small loops."""
    compile_small_loops()
    return main()
