"""A comparison as one page of HTML that needs nothing outside itself: verdict, answers, table, curves, explorer."""

import html
import importlib.resources
import json
import math
from typing import Any

import numpy as np

import gdjax
from gdjax.report import explorer
from gdjax.report.answers import answers
from gdjax.report.colors import COLORS
from gdjax.report.records import baselines_of, plain, record_of
from gdjax.report.rows import Comparison, Row
from gdjax.report.text import legend, number

DIGITS = 5
"""Significant digits of a curve's numbers."""

STROKES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "1 5")
"""Strokes of the regimes, so that a page in black and white can be read."""


def page(comparison: Comparison, sentence: str, name: str, code: str = "") -> str:
    """The page.

    Args:
      comparison: what `gdjax.compare` found.
      sentence: the verdict, as `gdjax.report.text.verdict` says it.
      name: what the data are called.
      code: Python lines that train the best row again; none if empty.
    """
    told = {
        "title": html.escape(name),
        "verdict": html.escape(sentence),
        "answers": "".join(
            f"<div><dt>{html.escape(question)}</dt><dd>{html.escape(answer)}</dd></div>"
            for question, answer in answers(comparison).items()
        ),
        "legend": html.escape(legend(comparison)),
        "code": f"<h2>The best row again</h2><pre><code>{html.escape(code)}</code></pre>" if code else "",
        "explorer": explorer.section(),
        "version": gdjax.__version__,
        "style": _part("report.css"),
        "script": _part("charts.js") + _part("report.js"),
        # "<" could end the script that the numbers stand in
        "data": json.dumps(numbers(comparison), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    }
    text = _part("report.html")
    for place, words in told.items():
        before, mark, after = text.partition(f"<!--{place}-->")
        assert mark, place
        text = before + words + after
    return text


def numbers(comparison: Comparison) -> dict[str, Any]:
    """What the page draws, as JSON has it."""
    optimizers = sorted({row.optimizer for row in comparison.rows})
    regimes = sorted({str(row.regime) for row in comparison.rows})
    return {
        "optimizers": {each: _inked(COLORS[place % len(COLORS)]) for place, each in enumerate(optimizers)},
        "regimes": {each: STROKES[place % len(STROKES)] for place, each in enumerate(regimes)},
        "schedules": list(dict.fromkeys(row.schedule or "constant" for row in comparison.rows)),
        "metric": next(iter(comparison.best.metrics), None),
        "target": plain(comparison.target),
        "seeds": comparison.seeds,
        "baselines": baselines_of(comparison),
        "rows": [_row(row, comparison) for row in comparison.rows],
    }


def _row(row: Row, comparison: Comparison) -> dict[str, Any]:
    """A row's record, the numbers as the table prints them, and its curves."""
    curves, kept = row.curves, ~row.diverged[row.chosen]
    share = curves.updates / curves.updates[-1]
    return record_of(row, comparison) | {
        "name": row.name,
        "diverged_at_customary": math.isinf(row.customary_loss()),
        "shown": {
            "test_loss": number(row.interval(row.test_loss)),
            **{name: number(row.interval(values)) for name, values in row.metrics.items()},
        },
        "at": {
            "examples": row.examples.tolist(),
            "updates": curves.updates.tolist(),
            "seconds": _short(share * row.seconds),
        },
        "loss": _band(curves.validation_loss[row.chosen][kept]),
        "rate": _band(curves.learning_rate[row.chosen][kept]),
        "gradient": _band(curves.gradient_norm[row.chosen][kept]),
        "by_rate": {
            "rates": curves.rates.tolist(),
            "loss": _short(_mean_where(curves.validation_loss[..., -1], ~row.diverged)),
            "diverged": row.diverged.sum(axis=1).tolist(),
            "chosen": row.chosen,
        },
    }


def _band(runs: np.ndarray) -> dict[str, list]:
    """Mean, lowest and highest over the runs [runs, points]; nothing where there is none."""
    if not len(runs):
        return {"mean": [], "low": [], "high": []}
    return {"mean": _short(runs.mean(axis=0)), "low": _short(runs.min(axis=0)), "high": _short(runs.max(axis=0))}


def _mean_where(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Over the last axis; NaN where nothing is kept."""
    count = kept.sum(axis=-1)
    return np.where(count, np.where(kept, values, 0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def _inked(color: str) -> str:
    """Black is the ink's color, on dark paper too."""
    return "currentColor" if color == "#000000" else color


def _short(values: np.ndarray) -> list:
    return [plain(float(f"{value:.{DIGITS}g}")) for value in values.tolist()]


def _part(name: str) -> str:
    return importlib.resources.files(__name__).joinpath(name).read_text("utf-8")
