"""Reading a user's table: any ordinary CSV, or an NPZ of arrays, into columns and a target."""

import csv
import io
import pathlib
import re
import warnings
import zipfile
import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

DELIMITERS = ",;\t|"

CLASS_VALUES = 20
"""Integers with at most this many values are classes."""

CATEGORY_VALUES = 50
"""Text with at most this many values becomes one column a value."""

IDENTIFIER_NAME = re.compile(r"(^|[^a-z])(id|ids|key|uuid|guid|index|number|no|nr|row)$|[a-z](Id|ID)$|^unnamed")


class Table(NamedTuple):
    """Columns to learn from, a target, and what was decided on the way."""

    features: pd.DataFrame
    target: pd.Series
    notes: tuple[str, ...]
    """Sentences for the user."""


def read_table(path: pathlib.Path, target: str | None) -> Table:
    """A CSV or NPZ file as a table; rows without a target are left out, out loud.

    Raises:
      ValueError: if the file cannot be read as a table, or has no such target.
    """
    if not path.is_file():
        raise ValueError(f"`data` must name a built-in dataset or an existing file, got '{path}'.")
    frame = _read_npz(path, target) if path.suffix.lower() == ".npz" else _read_csv(path)
    columns = ", ".join(map(str, frame.columns))
    if target is None:
        raise ValueError(f"`target` must name the column to predict, one of {columns}, got none.")
    if target not in frame.columns:
        raise ValueError(f"`target` must be one of the columns {columns}, got '{target}'.")
    notes = []
    missing = frame[target].isna()
    if missing.any():
        notes.append(f"{missing.sum()} rows without a value of '{target}' are left out.")
        frame = frame[~missing].reset_index(drop=True)
        frame[target] = _whole_numbers(frame[target])
    if len(frame) == 0:
        raise ValueError(f"`data` must have rows with a value of '{target}', got none in '{path}'.")
    if frame.shape[1] < 2:
        raise ValueError(f"`data` must have columns besides the target '{target}', got none in '{path}'.")
    return Table(frame.drop(columns=[target]), frame[target], tuple(notes))


def _read_csv(path: pathlib.Path) -> pd.DataFrame:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            sample = file.read(65536)
        try:
            delimiter = csv.Sniffer().sniff(sample, DELIMITERS).delimiter
        except csv.Error:  # one column, or nothing that repeats
            delimiter = ","
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header lose columns
            frame = pd.read_csv(
                path, sep=delimiter, encoding="utf-8-sig", skipinitialspace=True, index_col=False, low_memory=False
            )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"`data` must be a CSV file in UTF-8 with a header line, got '{path}' ({reason}).") from error
    frame.columns = [str(column).strip() for column in frame.columns]
    # pandas has renamed a doubled name by now, and a copy of the target would be a feature: so the header itself.
    lines = csv.reader(io.StringIO(sample.replace("\0", ""), newline=None), delimiter=delimiter)
    names = [name.strip() for name in next((row for row in lines if any(row)), []) if name.strip()]
    doubled = [name for i, name in enumerate(names) if name in names[:i]]
    if doubled:
        raise ValueError(f"`data` must name every column differently, got '{doubled[0]}' twice in '{path}'.")
    return frame


def _read_npz(path: pathlib.Path, target: str | None) -> pd.DataFrame:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"`data` must be an NPZ file of plain arrays, got '{path}' ({error}).") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind == "c":
            kind = getattr(array, "dtype", "another file")
            raise ValueError(f"`data` must hold arrays of real numbers or text, got '{name}' of {kind} in '{path}'.")
    if target is not None and target in arrays and arrays[target].ndim != 1:
        raise ValueError(f"`target` must be an array of shape (rows,), got '{target}' of {arrays[target].shape}.")
    lengths = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise ValueError(f"`data` must hold arrays with equally many rows, got {lengths} in '{path}'.")
    if 0 in lengths.values():
        raise ValueError(f"`data` must have rows, got none in '{path}'.")
    columns = {}
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        names = [name] if array.ndim == 1 else [f"{name}[{i}]" for i in range(flat.shape[1])]
        columns |= dict(zip(names, flat.T, strict=True))
    return pd.DataFrame(columns)


def _whole_numbers(column: pd.Series) -> pd.Series:
    """A column that is float only because it had gaps, as the integers it holds."""
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        return column.astype(np.int64)
    return column


def is_text(column: pd.Series) -> bool:
    """Whether a column holds words rather than numbers; booleans count as numbers."""
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def kind_of_target(target: pd.Series) -> tuple[str, str | None]:
    """("classification" or "regression", a sentence where that is a guess)."""
    if is_text(target) or pd.api.types.is_bool_dtype(target):
        return "classification", None
    if pd.api.types.is_integer_dtype(target):
        values = target.nunique()
        if values <= CLASS_VALUES:
            return "classification", (
                f"'{target.name}' holds integers of {values} values: taken as classes (--task regression overrides)."
            )
    return "regression", None


def droppable(column: pd.Series) -> str | None:
    """Why a column cannot help to predict, or None."""
    values = column.nunique()
    if values <= 1 and not (values == 1 and column.isna().any()):
        return "it has one value" if values else "it is empty"
    if is_text(column):
        if values > CATEGORY_VALUES:
            return f"it is text of {values} values"
        return "it is text that never repeats" if values == len(column) else None
    if pd.api.types.is_integer_dtype(column) and values == len(column):
        name = IDENTIFIER_NAME.search(str(column.name)) or IDENTIFIER_NAME.search(str(column.name).lower())
        counts = column.max() - column.min() + 1 == len(column)
        if name or (counts and len(column) > CATEGORY_VALUES):
            return "it looks like an identifier"
    return None
