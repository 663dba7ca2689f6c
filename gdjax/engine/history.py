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
    """What `record=` returned in each step [steps, ...]."""


def _filled(column: Any, count: int) -> np.ndarray:
    """The filled rows; copied, since a view would keep the whole buffer."""
    return np.asarray(column)[:count].copy()


class Recorder:
    """Gathers the records of a run's chunks."""

    def __init__(self) -> None:
        self.chunks: list = []
        self.epoch_losses: list = []
        self.evaluations: list[dict[str, np.ndarray]] = []

    def add(self, record: Any, step: int, steps_per_epoch: int) -> None:
        """A chunk's record, that began after `step` steps of the run."""
        count = int(record.count)
        columns = {
            "step_loss": _filled(record.step_loss, count),
            "learning_rate": _filled(record.learning_rate, count),
            **{f"recorded.{name}": _filled(column, count) for name, column in record.recorded.items()},
        }
        self.chunks.append(columns)
        ends = np.arange(step + 1, step + count + 1) % steps_per_epoch == 0
        self.epoch_losses.append(_filled(record.loss, count)[ends])

    @property
    def last_loss(self) -> float:
        """The latest batch's loss."""
        return float(self.chunks[-1]["step_loss"][-1])

    def history(self, metric_names: tuple[str, ...], *, validated: bool) -> History:
        """All chunks, put together."""

        def column(name: str) -> np.ndarray:
            return np.concatenate([chunk[name] for chunk in self.chunks]) if self.chunks else np.zeros(0, np.float32)

        def evaluated(name: str) -> np.ndarray:
            return np.asarray([row[name] for row in self.evaluations], np.float32 if not self.evaluations else None)

        names = [name for name in (self.chunks[0] if self.chunks else ()) if name.startswith("recorded.")]
        return History(
            loss=np.concatenate(self.epoch_losses) if self.epoch_losses else np.zeros(0, np.float32),
            step_loss=column("step_loss"),
            learning_rate=column("learning_rate"),
            validation_loss=evaluated("loss") if validated else None,
            metrics={name: evaluated(name) for name in metric_names},
            recorded={name.removeprefix("recorded."): column(name) for name in names},
        )
