"""A task: a table made into something to fit. Everything is learned from the training rows alone."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gdjax import checks
from gdjax.tasks.datasets import NAMES, built_in, idx_folder
from gdjax.tasks.networks import apply_network, init_network, softmax_loss
from gdjax.tasks.tables import CLASS_VALUES, Table, droppable, is_text, kind_of_target, read_table

FEWEST_ROWS = 10

LARGEST = 1e18
"""Beyond it a square is no float32."""

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Data in three parts, a loss, an initialization and metrics, ready for `gdjax.fit`."""

    name: str
    kind: str
    """"classification" or "regression"."""
    train: tuple[jax.Array, jax.Array]
    """(inputs [rows, features] float32, targets [rows]: int32 classes, or standardized floats)."""
    validation: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]
    classes: tuple[str, ...]
    """Names of the classes; empty in a regression."""
    target_mean: float
    """Of the training targets, in their own units; 0 in a classification."""
    target_scale: float
    """Likewise their standard deviation; 1 in a classification."""
    hidden: tuple[int, ...]
    """Sizes of the network's hidden layers."""
    notes: tuple[str, ...]
    """What was decided about the data, in sentences."""

    def init(self, key: jax.Array) -> Any:
        """The network's parameters."""
        outputs = len(self.classes) or 1
        return init_network(key, (self.train[0].shape[1], *self.hidden, outputs))

    def loss(self, params: Any, batch: tuple) -> jax.Array:
        """Mean cross entropy, or mean squared error of the standardized target."""
        x, y = batch
        out = apply_network(params, x)
        return softmax_loss(out, y) if self.classes else jnp.mean((out[:, 0] - y) ** 2)

    @property
    def metrics(self) -> dict:
        """What `compare` reports beside the loss; the first is the headline."""
        if self.classes:
            return {"balanced accuracy": self.balanced_accuracy, "accuracy": self.accuracy}
        return {"RMSE": self.rmse, "R²": self.r_squared}

    def accuracy(self, params: Any, batch: tuple) -> jax.Array:
        """Share of rows classified right."""
        return jnp.mean(self._right(params, batch))

    def balanced_accuracy(self, params: Any, batch: tuple) -> jax.Array:
        """Mean over the classes present of the share of their rows classified right."""
        member = jax.nn.one_hot(batch[1], len(self.classes))
        counts = jnp.sum(member, axis=0)
        recall = jnp.sum(member * self._right(params, batch)[:, None], axis=0) / jnp.maximum(counts, 1)
        return jnp.sum(recall) / jnp.sum((counts > 0).astype(recall.dtype))

    def _right(self, params: Any, batch: tuple) -> jax.Array:
        x, y = batch
        return (jnp.argmax(apply_network(params, x), axis=1).astype(y.dtype) == y).astype(jnp.float32)

    def rmse(self, params: Any, batch: tuple) -> jax.Array:
        """Root of the mean squared error, in the target's own units."""
        return self.target_scale * jnp.sqrt(self.loss(params, batch))

    def r_squared(self, params: Any, batch: tuple) -> jax.Array:
        """Share of the target's variance that is explained, at most 1."""
        return 1 - self.loss(params, batch) / jnp.var(batch[1])


def load(
    data: str,
    *,
    target: str | None = None,
    task: str | None = None,
    hidden: tuple[int, ...] = (32,),
    rows: int | None = None,
    seed: int = 0,
) -> Task:
    """A built-in dataset, a CSV, an NPZ or a folder of idx files as a task.

    Rows are split 60 : 20 : 20 into training, validation and test by the seed, stratified where there are
    classes. Text columns of at most 50 values become one column a value; missing numbers are filled with
    the median and marked; numbers are standardized: all as the training rows say. Columns that look like
    identifiers, and text of more values, are left out, which the notes say.

    Args:
      data: digits, moons, breast_cancer, diabetes, fashion-mnist, or a path.
      target: the column (or array) to predict, for a CSV or NPZ.
      task: "classification" or "regression"; by default as the target looks.
      hidden: sizes of the hidden layers of the network.
      rows: take only so many rows, drawn by the seed.
      seed: what the split and the draw follow from.

    Raises:
      ValueError, TypeError: if the data cannot be used.
    """
    seed = checks.integer("seed", seed, least=0, most=2**32 - 1)
    hidden = tuple(checks.integer("hidden", size, least=1) for size in hidden)
    if task is not None:
        checks.choice("task", task, ("classification", "regression"))
    table = _table(data, target, seed)
    if rows is not None and checks.integer("rows", rows, least=FEWEST_ROWS) < len(table.target):
        keep = np.random.default_rng(seed).choice(len(table.target), rows, replace=False)
        table = Table(table.features.iloc[keep], table.target.iloc[keep], table.notes)
    return _task(pathlib.Path(data).stem, table, task, hidden, seed)


def _table(data: str, target: str | None, seed: int) -> Table:
    table = built_in(data, seed)
    if table is not None:
        if target is not None:
            raise ValueError(f"`target` must be left out for the built-in '{data}', got '{target}'.")
        return table
    path = pathlib.Path(data)
    if path.is_dir():
        return idx_folder(path)
    if not path.exists():
        raise ValueError(f"`data` must be one of {', '.join(NAMES)}, or the path of a file or folder, got '{data}'.")
    return read_table(path, target)


def _task(name: str, table: Table, kind: str | None, hidden: tuple[int, ...], seed: int) -> Task:
    features, target, notes = table.features, table.target, list(table.notes)
    if len(target) < FEWEST_ROWS:
        raise ValueError(f"`data` must have at least {FEWEST_ROWS} rows to split, got {len(target)}.")
    if kind is None:
        kind, note = kind_of_target(target)
        notes += [note] if note else []
    classify = kind == "classification"
    if not classify and is_text(target):
        raise ValueError(f"`task` must be classification for the text target '{target.name}', got regression.")
    if not classify and not np.isfinite(target.astype(float)).all():
        raise ValueError(f"`target` must be finite for a regression, got infinite values in '{target.name}'.")
    if classify and is_text(target) and target.nunique() > max(CLASS_VALUES, len(target) // 10):
        raise ValueError(
            f"`target` must be numbers, or text of a few values, got {target.nunique()} values such as "
            f"{target.iloc[0]!r} in '{target.name}'."
        )
    if classify and target.nunique() > max(CLASS_VALUES, len(target) // 10):
        raise ValueError(
            f"`task` must be regression for a target of {target.nunique()} values in {len(target)} rows, "
            f"got classification of '{target.name}'."
        )
    if target.nunique() < 2:
        raise ValueError(f"`target` must have at least two values, got {target.nunique()} in '{target.name}'.")

    for column in (target, *(features[name] for name in features.columns)):
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if numeric and (column.abs().replace(np.inf, np.nan) > LARGEST).any():
            raise ValueError(f"`data` must hold numbers within ±{LARGEST:g}, got larger ones in '{column.name}'.")

    parts, split_notes = _split(target, classify, seed)
    train_rows = features.iloc[parts["train"]]
    dropped = {column: why for column in features.columns if (why := droppable(train_rows[column]))}
    features = features.drop(columns=list(dropped))
    notes += _left_out(dropped) + split_notes
    if features.shape[1] == 0:
        raise ValueError(f"`data` must have a column to learn from, got none: {' '.join(notes)}")
    notes += _doubts(features)
    encoder = _encoder(features.iloc[parts["train"]]).fit(_numbers(features.iloc[parts["train"]]))

    classes: tuple[str, ...] = ()
    mean, scale = 0.0, 1.0
    if classify:
        names, y = np.unique(target.astype(str), return_inverse=True)
        classes, y = tuple(map(str, names)), y.astype(np.int32)
    else:
        own = target.to_numpy(float)
        mean, scale = float(own[parts["train"]].mean()), float(own[parts["train"]].std()) or 1.0
        y = ((own - mean) / scale).astype(np.float32)
    sets = {
        part: (
            jnp.asarray(np.asarray(encoder.transform(_numbers(features.iloc[rows])), np.float32)),
            jnp.asarray(y[rows]),
        )
        for part, rows in parts.items()
    }
    return Task(
        name=name, kind=kind, **sets, classes=classes, target_mean=mean, target_scale=scale, hidden=hidden,
        notes=tuple(notes),
    )  # fmt: skip


def _doubts(features: pd.DataFrame) -> list[str]:
    """Sentences on columns whose text is nearly all numbers: probably they were meant as numbers."""
    notes = []
    for name, column in features.items():
        words = column.dropna().astype(str) if is_text(column) else pd.Series(dtype=str)
        parsed = pd.to_numeric(words.str.replace(r"[$€£%\s]", "", regex=True).str.replace(",", "."), errors="coerce")
        if len(words) and parsed.notna().mean() >= 0.9:
            notes.append(f"Column '{name}' is taken as text, though it looks like numbers ({words.iloc[0]!r}).")
    return notes


def _left_out(dropped: dict[str, str]) -> list[str]:
    """One sentence a reason; of many constant columns (pixels at the rim) only the number."""
    notes = []
    for why in dict.fromkeys(dropped.values()):
        names = [f"'{column}'" for column, reason in dropped.items() if reason == why]
        if len(names) > 5 and why == "it has one value":
            notes.append(f"{len(names)} columns are left out: each has one value.")
        else:
            notes += [f"Column {name} is left out: {why}." for name in names]
    return notes


def _split(target: pd.Series, classify: bool, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Row numbers of the three parts, and a note where classes are too small to be stratified."""
    everything, notes = np.arange(len(target)), []
    labels = target.astype(str).to_numpy() if classify else None
    # Every class needs a row in each part, and sklearn a place in each part for every class.
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 5 or len(counts) > SHARES["test"] * len(labels) - 1:
            notes.append(f"A class of '{target.name}' has {counts.min()} rows: the split is not stratified.")
            labels = None
    held_out = SHARES["validation"] + SHARES["test"]
    train, rest = train_test_split(everything, test_size=held_out, random_state=seed, stratify=labels)
    validation, test = train_test_split(
        rest, test_size=SHARES["test"] / held_out, random_state=seed, stratify=None if labels is None else labels[rest]
    )
    return {"train": train, "validation": validation, "test": test}, notes


def _numbers(features: pd.DataFrame) -> pd.DataFrame:
    """Columns as the encoder takes them: floats with NaN for what is missing or infinite, and words."""
    columns = {
        column: values.map(lambda x: x if pd.isna(x) else str(x)).astype(object).where(values.notna(), "(missing)")
        if is_text(values)
        else values.astype(float).replace([np.inf, -np.inf], np.nan)
        for column, values in features.items()
    }
    return pd.DataFrame(columns, index=features.index)


def _encoder(train_rows: pd.DataFrame) -> ColumnTransformer:
    words = [column for column in train_rows.columns if is_text(train_rows[column])]
    numbers = [column for column in train_rows.columns if column not in words]
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
        ]
    )
