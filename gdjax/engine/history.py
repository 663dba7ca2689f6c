"""The history of a run: NumPy arrays, by step and by epoch."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class History:
    """What a call of `fit` recorded."""

    loss: np.ndarray
    """Training loss of each epoch finished in the call, every batch weighed by its rows [epochs]."""
    step_loss: np.ndarray
    """Loss of each batch, before its update [steps]."""
    learning_rate: np.ndarray
    """The learning rate that acted in each update [steps]; NaN where the optimizer does not tell."""
    validation_loss: np.ndarray | None
    """Loss on the validation data after each epoch [epochs]; None without validation data."""
    metrics: dict[str, np.ndarray]
    """Each metric after each epoch, on the validation data where there is some [epochs]."""
    recorded: dict[str, np.ndarray]
    """What `record=` returned in each step [steps, ...]; with `non_finite=` also "skipped", how many steps of the run
    had not been made after each."""
    average_validation_loss: np.ndarray | None = None
    """As `validation_loss`, of the averaged parameters; None without an average or validation data."""
    average_metrics: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """As `metrics`, of the averaged parameters; empty without an average."""


def _filled(column: Any, count: int) -> np.ndarray:
    """The filled rows; copied, since a view would keep the whole buffer."""
    return np.asarray(column)[:count].copy()


class Recorder:
    """Gathers the records of a run's chunks."""

    def __init__(self) -> None:
        self.chunks: list = []
        self.epoch_losses: list = []
        self.evaluations: list[dict[str, np.ndarray]] = []
        self.averages: list[dict[str, np.ndarray]] = []
        self.lost_loss = np.nan

    def add(self, record: Any, step: int, steps_per_epoch: int) -> None:
        """A chunk's record, that began after `step` steps of the run."""
        count = int(record.count)
        columns = {
            "step_loss": _filled(record.step_loss, count),
            "learning_rate": _filled(record.learning_rate, count),
            **{f"recorded.{name}": _filled(column, count) for name, column in record.recorded.items()},
        }
        self.chunks.append(columns)
        self.ends = np.arange(steps_per_epoch - 1 - step % steps_per_epoch, count, steps_per_epoch)
        self.epoch_losses.append(np.asarray(record.loss)[self.ends])

    def drop_from(self, row: int) -> None:
        """Forget the last chunk's steps from `row` on, and keep the loss of the first of them."""
        chunk = self.chunks[-1]
        self.lost_loss = float(chunk["step_loss"][row])
        self.chunks[-1] = {name: column[:row] for name, column in chunk.items()}
        self.epoch_losses[-1] = self.epoch_losses[-1][self.ends < row]

    @property
    def last_loss(self) -> float:
        """The latest batch's loss."""
        return float(self.chunks[-1]["step_loss"][-1])

    def history(self, metric_names: tuple[str, ...], *, validated: bool, averaged: bool) -> History:
        """All chunks, put together."""

        def column(name: str) -> np.ndarray:
            return np.concatenate([chunk[name] for chunk in self.chunks]) if self.chunks else np.zeros(0, np.float32)

        def evaluated(name: str, rows: list) -> np.ndarray:
            return np.asarray([row[name] for row in rows], np.float32 if not rows else None)

        names = [name for name in (self.chunks[0] if self.chunks else ()) if name.startswith("recorded.")]
        return History(
            loss=np.concatenate(self.epoch_losses) if self.epoch_losses else np.zeros(0, np.float32),
            step_loss=column("step_loss"),
            learning_rate=column("learning_rate"),
            validation_loss=evaluated("loss", self.evaluations) if validated else None,
            metrics={name: evaluated(name, self.evaluations) for name in metric_names},
            recorded={name.removeprefix("recorded."): column(name) for name in names},
            average_validation_loss=evaluated("loss", self.averages) if validated and averaged else None,
            average_metrics={name: evaluated(name, self.averages) for name in metric_names if averaged},
        )
