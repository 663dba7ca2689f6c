"""Results on disk: report, tables and pictures, written whole or not at all."""

import csv
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from gdjax.report.page import page
from gdjax.report.plots import plot_learning_rates, plot_losses, plot_paths, save
from gdjax.report.records import baselines_of, plain, record_of
from gdjax.report.rows import Comparison

FILES = ("report.html", "comparison.csv", "comparison.json", "losses.png", "learning_rates.png", "paths.png")
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


def write_comparison(
    comparison: Comparison, sentence: str, name: str, folder: pathlib.Path, code: str = ""
) -> list[pathlib.Path]:
    """Write report.html, comparison.csv, comparison.json and the pictures into a folder.

    Args:
      comparison: what was found.
      sentence: its verdict.
      name: what the data are called.
      folder: where the files go.
      code: Python lines that train the best row again, for the page.

    Returns:
      The files.
    """
    records = [record_of(row, comparison) for row in comparison.rows]
    whole = {
        "data": name,
        "verdict": sentence,
        "budget": {"unit": comparison.budget.unit, "amount": comparison.budget.amount},
        "target_validation_loss": plain(comparison.target),
        "seeds": comparison.seeds,
        "wall_seconds": comparison.wall_seconds,
        "baselines": baselines_of(comparison),
        "rows": records,
    }

    def write_csv(path: pathlib.Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, records[0])
            writer.writeheader()
            writer.writerows(records)

    writers: Writers = {
        "report.html": lambda path: path.write_text(page(comparison, sentence, name, code), "utf-8"),
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
