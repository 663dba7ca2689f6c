"""A comparison as plain numbers and words, for tables and pages."""

import math
from typing import Any

from gdjax.report.rows import Comparison, Row


def record_of(row: Row, comparison: Comparison) -> dict[str, Any]:
    """A row as plain numbers and words; None for what is no number."""
    loss, cost = row.interval(row.test_loss), row.cost(comparison.target)
    record = {
        "optimizer": row.optimizer,
        "schedule": row.schedule or "constant",
        "regime": str(row.regime),
        "learning_rate": row.learning_rate,
        "rate_at_edge": row.at_edge,
        "validation_loss": row.validation()[-1],
        "test_loss": loss.mean,
        "test_loss_low": loss.low,
        "test_loss_high": loss.high,
    }
    for name, values in row.metrics.items():
        metric = row.interval(values)
        record |= {name: metric.mean, f"{name}_low": metric.low, f"{name}_high": metric.high}
    record |= {
        "tied_with_best": row.tied,
        "customary_rate": row.customary_rate,
        "test_loss_at_customary": row.customary_loss(),
        "diverged_runs": row.diverged_runs,
        "seeds": row.seeds,
        "updates": int(row.curves.updates[-1]),
        "examples": int(row.examples[-1]),
        "seconds": row.seconds,
        "compile_seconds": row.compile_seconds,
        "updates_to_target": cost["updates"],
        "examples_to_target": cost["examples"],
        "seconds_to_target": cost["seconds"],
    }
    return {name: plain(value) for name, value in record.items()}


def baselines_of(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """{baseline: {score: number}}."""
    return {name: {key: plain(value) for key, value in scores.items()} for name, scores in comparison.baselines.items()}


def plain(value: Any) -> Any:
    """A value as JSON has it; None for a number that is none."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    return float(value) if math.isfinite(value) else None
