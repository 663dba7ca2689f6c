"""Results on disk: tables and pictures, written whole or not at all."""

import csv
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from gdjax.report.plots import plot_learning_rates, plot_losses, plot_paths, save
from gdjax.report.rows import Comparison, Row

FILES = ("comparison.csv", "comparison.json", "losses.png", "learning_rates.png", "paths.png")
"""What a comparison writes."""

Writers = dict[str, Callable[[pathlib.Path], Any]]
"""Files by their names, and what writes each to a path."""


def prepare_folder(folder: pathlib.Path, files: Iterable[str], source: pathlib.Path) -> None:
    """Make the folder, or say at once that nothing can be written there.

    Raises:
      ValueError: if it cannot be made or written to, or one of the files would replace the `source`.
    """
    for name in files:
        if (folder / name).resolve() == source.resolve():
            raise ValueError(f"`out` must be a folder where '{name}' is not the data itself, got '{folder}'.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"`out` must be a folder that can be written to, got '{folder}' ({error.strerror})."
        ) from error


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
    return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int) or value is None:
        return value
    return float(value) if math.isfinite(value) else None


def write_comparison(comparison: Comparison, sentence: str, name: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write comparison.csv, comparison.json and the pictures into a folder.

    Returns:
      The files.
    """
    records = [record_of(row, comparison) for row in comparison.rows]
    whole = {
        "data": name,
        "verdict": sentence,
        "budget": {"unit": comparison.budget.unit, "amount": comparison.budget.amount},
        "target_validation_loss": _plain(comparison.target),
        "seeds": comparison.seeds,
        "wall_seconds": comparison.wall_seconds,
        "baselines": {name: {k: _plain(v) for k, v in s.items()} for name, s in comparison.baselines.items()},
        "rows": records,
    }

    def write_csv(path: pathlib.Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, records[0])
            writer.writeheader()
            writer.writerows(records)

    writers: Writers = {
        "comparison.csv": write_csv,
        "comparison.json": lambda path: path.write_text(
            json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
        ),
        "losses.png": lambda path: save(plot_losses(comparison), path),
        "learning_rates.png": lambda path: save(plot_learning_rates(comparison), path),
        "paths.png": lambda path: save(plot_paths(), path),
    }
    return write_whole(writers, folder)


def write_whole(writers: Writers, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write files, {name: function of a path}; each is made aside and moved into place, so that none is half-written.

    Returns:
      The files.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as aside:
        for file, write in writers.items():
            write(pathlib.Path(aside) / file)
        for file in writers:
            os.replace(pathlib.Path(aside) / file, folder / file)
    return [folder / file for file in writers]
