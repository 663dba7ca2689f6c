"""A comparison in words: the verdict, the table, and the lines that reproduce the best row."""

import math
from collections.abc import Sequence

import numpy as np

from gdjax.report.rows import Comparison, Row
from gdjax.report.schedules import Choice
from gdjax.report.statistics import Interval


def verdict(comparison: Comparison, name: str) -> str:
    """One sentence: what is best, what is as good, and what a good loss costs."""
    best = comparison.best
    if not math.isfinite(best.interval(best.test_loss).mean):
        return f"On {name}, every run diverged: no learning rate that was tried works."
    others = [row for row in comparison.rows[1:] if row.tied]
    metric, values = next(iter(best.metrics.items()), ("test loss", best.test_loss))
    cheapest = min(comparison.reached, key=lambda row: _cheapness(row, comparison), default=None)
    ties = f"tied with {len(others)} of the other {len(comparison.rows) - 1} rows"
    if comparison.seeds == 1:
        ties = "one seed, so nothing can be said of ties"
    elif not others:
        ties = "and no other row is as good" if len(comparison.rows) > 1 else "the only row"
    elif len(others) == len(comparison.rows) - 1 > 2:
        ties = f"tied with all {len(others)} other rows: these seeds tell nothing apart"
    elif len(others) <= 2:
        ties = "tied with " + " and ".join(row.name for row in others)
    sentence = (
        f"On {name}, {best.name} at rate {best.learning_rate:g} is best, with a test loss of "
        f"{number(best.interval(best.test_loss))} and {metric} {number(best.interval(values))} ({ties})"
    )
    better = [
        name for name, scores in comparison.baselines.items() if scores["loss"] <= best.interval(best.test_loss).mean
    ]
    if better:
        sentence += f", but no better than the baseline {' and '.join(better)}"
    if cheapest is None:
        return f"{sentence}."
    cost = cheapest.cost(comparison.target)
    who = "it is also the cheapest" if cheapest is best else f"{cheapest.name} is the cheapest"
    return (
        f"{sentence}; {who} way to a validation loss of {comparison.target:.3g}, after {cost['examples']:,} examples "
        f"({cost['updates']:,} updates, {seconds(cost['seconds'])} s)."
    )


def _cheapness(row: Row, comparison: Comparison) -> tuple[float, float]:
    cost = row.cost(comparison.target)
    return cost["examples"], cost["seconds"]


def table(comparison: Comparison) -> str:
    """All rows, the best first, then the baselines; `=` marks what is tied with the best."""
    metrics = list(comparison.best.metrics)[:1]
    header = (
        "", "optimizer", "schedule", "regime", "rate", "test loss", *metrics, "at customary", "diverged", "updates",
        "examples", "seconds", "compile", "to target",
    )  # fmt: skip
    lines = [header, *(_cells(row, comparison, metrics) for row in comparison.rows)]
    for name, scores in comparison.baselines.items():
        values = (f"{scores['loss']:.4g}", *(f"{scores[metric]:.4g}" for metric in metrics))
        lines.append(("", f"({name})", "", "", "", *values, *[""] * 7))
    if all(row.schedule is None for row in comparison.rows):
        lines = [line[:2] + line[3:] for line in lines]
    return aligned(lines) + "\n" + legend(comparison)


def _cells(row: Row, comparison: Comparison, metrics: Sequence[str]) -> tuple[str, ...]:
    cost = row.cost(comparison.target)["examples"]
    customary = row.customary_loss()
    shown = "diverged" if math.isinf(customary) else f"{customary:.4g} at {row.customary_rate:g}"
    return (
        {True: "=", False: "", None: "?"}[row.tied],
        row.optimizer,
        row.schedule or "constant",
        str(row.regime),
        f"{row.learning_rate:g}{' (edge)' if row.at_edge else ''}",
        number(row.interval(row.test_loss)),
        *(number(row.interval(row.metrics[metric])) for metric in metrics),
        "-" if math.isnan(customary) else shown,
        f"{row.diverged_runs} of {row.seeds}",
        f"{int(row.curves.updates[-1]):,}",
        f"{int(row.examples[-1]):,}",
        seconds(row.seconds),
        f"{row.compile_seconds:.1f}",
        "-" if math.isinf(cost) else f"{cost:,}",
    )


def legend(comparison: Comparison) -> str:
    """What the signs and columns of the table mean."""
    intervals = (
        "= tied with the best: no worse, or by less than the 95 % interval of the paired difference over "
        f"{comparison.seeds} seeds. "
        f"± is a 95 % interval over the seeds (initialization and order; one split)."
    )
    return (
        f"Rows by validation loss. {intervals if comparison.seeds > 1 else ''}\n"
        "seconds: one run's share of its cell, whose rates and seeds train together; compile: of the whole cell. "
        f"to target: examples until a validation loss of {comparison.target:.3g}, a tenth above the best."
        f"{' (edge): no rate beyond was tried.' if any(row.at_edge for row in comparison.rows) else ''}"
    )


def reproduce(row: Row, comparison: Comparison, load: str, choice: Choice) -> str:
    """Python that trains the row again and prints its metric; `load` is the call that makes the task."""
    metric = next(iter(row.metrics))
    regime = str(row.regime) if "(" in str(row.regime) else f"{row.regime}()"
    optimizer = choice.source.format(optimizer=row.optimizer, rate=repr(row.learning_rate))
    if comparison.budget.unit == "epochs":
        train = [
            "result = gdjax.fit(task.loss, task.init, task.train, optimizer=optimizer,",
            f"                   regime=gdjax.{regime}, epochs={int(comparison.budget.amount)}, seed=seed)",
        ]
        params = "result.params"
    else:
        updates = int(row.curves.updates[-1])
        train = [
            f"run = gdjax.training(task.loss, optimizer=optimizer, regime=gdjax.{regime})",
            'steps = jax.jit(run.steps, static_argnames="capacity")',
            f"state, _ = steps(run.init(task.init, seed), task.train, {updates}, capacity={updates})",
        ]
        params = "state.params"
    lines = [
        *(["import jax"] if comparison.budget.unit != "epochs" else []),
        "import gdjax",
        "from gdjax import tasks",
        "",
        f"task = {load}",
        f"optimizer = {optimizer}",
        "scores = []",
        f"for seed in {_seeds(row)}:",
        *(f"    {line}" for line in train),
        f'    scores.append(float(task.metrics["{metric}"]({params}, task.test)))',
        f'print("{metric}", sum(scores) / len(scores))',
    ]
    return "\n".join(lines)


def _seeds(row: Row) -> str:
    """The seeds that the row's metric is the mean over: all, or those that did not diverge."""
    kept = np.flatnonzero(~row.diverged[row.chosen]).tolist()
    return f"range({row.seeds})" if len(kept) == row.seeds else repr(kept)


def number(interval: Interval) -> str:
    """A mean and half its interval, to the digits that the interval leaves."""
    if math.isnan(interval.mean):
        return "-"
    if math.isnan(interval.low):
        return f"{interval.mean:.4g}"
    if interval.half == 0:
        return f"{interval.mean:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(interval.half)))
    return f"{interval.mean:.{digits}f} ± {interval.half:.{digits}f}"


def seconds(value: float) -> str:
    """Seconds to two digits."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as one text, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
