"""What a reader wants to know of a comparison, each question with its answer."""

import math

import numpy as np

from gdjax.report.rows import Comparison, Row
from gdjax.report.text import number, seconds

SHOWN = 3
"""Rows that are named; more are counted."""


def answers(comparison: Comparison) -> dict[str, str]:
    """{question: answer in a sentence or two}; of a comparison in which every run diverged, that."""
    best = comparison.best
    if best.diverged_runs == best.seeds:
        return {"Which is best?": "None: every run diverged, at every learning rate that was tried."}
    return {
        "Which is best?": _best(best),
        "By how much?": _by_how_much(comparison),
        "Is it a real difference?": _real(comparison),
        "What did it cost?": _cost(comparison),
        "What would another learning rate have done?": _other_rates(best),
    }


def _best(best: Row) -> str:
    metric, values = next(iter(best.metrics.items()), ("", None))
    score = "" if values is None else f", {metric} {number(best.interval(values))}"
    lost = f"; {best.diverged_runs} of its {best.seeds} runs diverged" if best.diverged_runs else ""
    return (
        f"{best.name}, at a learning rate of {best.learning_rate:g}: a test loss of "
        f"{number(best.interval(best.test_loss))}{score}{lost}."
    )


def _by_how_much(comparison: Comparison) -> str:
    best = comparison.best
    others = [row for row in comparison.rows[1:] if row.diverged_runs < row.seeds]
    named = dict(zip(("the next row", "the last"), others[:1] + others[1:][-1:], strict=False))
    told = [f"{which}, {row.name}, has {_validation(row)} and {_test(row)}" for which, row in named.items()]
    told += [f"on test data the baseline {name} has {s['loss']:.4g}" for name, s in comparison.baselines.items()]
    return (
        f"Its validation loss, which ranks the rows, is {_validation(best)}, and its test loss, which need not agree, "
        f"{_test(best)}; {'; '.join(told) or 'there is nothing beside it'}."
    )


def _validation(row: Row) -> str:
    return f"{row.validation()[-1]:.4g}"


def _test(row: Row) -> str:
    return f"{row.interval(row.test_loss).mean:.4g}"


def _real(comparison: Comparison) -> str:
    others = comparison.rows[1:]
    if comparison.seeds == 1:
        return "One seed cannot tell: ask for more (--seeds)."
    if not others:
        return "There is nothing to tell it from."
    good = [row for row in others if row.tied is not False]  # None: too few runs were left to tell
    over = f"on test data, over {comparison.seeds} seeds"
    if not good:
        return f"Yes: every other row is worse by more than chance explains, {over}."
    if len(good) == len(others):
        return f"No: none of the other {len(others)} rows is worse by more than chance explains, {over}."
    named = ", ".join(row.name for row in good) if len(good) <= SHOWN else f"{len(good)} rows marked ="
    return (
        f"In part: {named} {'is' if len(good) == 1 else 'are'} no worse than chance explains, the other "
        f"{len(others) - len(good)} worse, {over}."
    )


def _cost(comparison: Comparison) -> str:
    best = comparison.best
    spent = (
        f"{int(best.examples[-1]):,} examples in {int(best.curves.updates[-1]):,} updates, {seconds(best.seconds)} s "
        f"for a run, once compiled ({best.compile_seconds:.1f} s); the whole comparison took "
        f"{seconds(comparison.wall_seconds)} s."
    )
    if not comparison.reached:
        return spent
    quickest = min(comparison.reached, key=lambda row: row.cost(comparison.target)["seconds"])
    cost = quickest.cost(comparison.target)
    return (
        f"{spent} To a validation loss of {comparison.target:.3g}, a tenth above the best, the quickest in seconds is "
        f"{quickest.name}: {seconds(cost['seconds'])} s, {cost['updates']:,} updates, {cost['examples']:,} examples."
    )


def _other_rates(best: Row) -> str:
    rates = best.curves.rates
    if len(rates) == 1:
        return "Only one was tried."
    lost: np.ndarray = np.any(best.diverged, axis=1)
    loss = best.curves.validation_loss[..., -1].mean(axis=1)

    def at(place: int) -> str:
        return "a diverged run" if lost[place] else f"{loss[place]:.4g}"

    told = [f"{rates[i]:g} gives {at(i)}" for i in (best.chosen - 1, best.chosen + 1) if 0 <= i < len(rates)]
    customary = np.flatnonzero(np.isclose(rates, best.customary_rate, rtol=1e-6))
    if customary.size and abs(int(customary[0]) - best.chosen) > 1:
        told.append(f"the customary {best.customary_rate:g} {at(int(customary[0]))}")
    worst = np.where(lost, -math.inf, loss).argmax()
    if not lost[worst] and abs(int(worst) - best.chosen) > 1 and worst not in customary:
        told.append(f"the worst of those that stayed finite, {rates[worst]:g}, {at(int(worst))}")
    end = f" Of {len(rates)} rates, {int(lost.sum())} made a run diverge." if lost.any() else ""
    return f"At {best.learning_rate:g} its validation loss is {_validation(best)}; {'; '.join(told)}.{end}"
