"""The history of a run: NumPy arrays, by step and by epoch."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class History:
    """What a call of `fit` recorded; with `checkpoint=`, what the whole run did."""

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
    """What `record=` returned in each step [steps, ...]; with `non_finite="skip"` also "skipped", how many steps of the
    run had not been made after each."""
    average_validation_loss: np.ndarray | None = None
    """As `validation_loss`, of the averaged parameters; None without an average or validation data."""
    average_metrics: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """As `metrics`, of the averaged parameters; empty without an average."""
    notes: tuple[str, ...] = ()
    """What befell the run: where it was taken up again from a checkpoint, and what was changed there."""


class Recorder:
    """Gathers what a run's chunks and looks leave: columns by step, and by epoch.

    Args:
      per_epoch: steps of an epoch.
      begun: the step that the columns begin with.
      columns: what was gathered before.
    """

    def __init__(self, per_epoch: int, begun: int, columns: dict[str, np.ndarray] | None = None) -> None:
        self.per_epoch, self.begun = per_epoch, begun
        self.parts: dict[str, list[np.ndarray]] = {name: [column] for name, column in (columns or {}).items()}
        self.count = len(columns["step_loss"]) if columns else 0

    def add(self, record: Any, step: int) -> None:
        """A chunk's record, that began after `step` steps of the run."""
        count = int(record.count)
        ends = np.arange(self.per_epoch - 1 - step % self.per_epoch, count, self.per_epoch)
        self._append(
            {
                "step_loss": np.asarray(record.step_loss)[:count],
                "learning_rate": np.asarray(record.learning_rate)[:count],
                **{f"recorded.{name}": np.asarray(column)[:count] for name, column in record.recorded.items()},
                "loss": np.asarray(record.loss)[ends],
            }
        )
        self.count += count

    def look(self, kind: str, values: dict[str, Any]) -> None:
        """What was found after an epoch; of a kind, "evaluated" or "average"."""
        self._append({f"{kind}.{name}": np.asarray(value)[None] for name, value in values.items()})

    def keep_until(self, step: int) -> None:
        """Forget what came after a step of the run."""
        epochs = step // self.per_epoch - self.begun // self.per_epoch
        self.count = step - self.begun
        for name, column in self.columns().items():
            self.parts[name] = [column[: self.count if _by_step(name) else epochs]]

    def latest(self, steps: int) -> np.ndarray:
        """The losses of the last so many steps, all of one chunk."""
        return self.parts["step_loss"][-1][-steps:] if steps else np.zeros(0)

    @property
    def last_loss(self) -> float:
        """The latest batch's loss."""
        return float(self.parts["step_loss"][-1][-1])

    def columns(self) -> dict[str, np.ndarray]:
        """Each whole; they are put together once."""
        self.parts = {name: [np.concatenate(parts)] if len(parts) > 1 else parts for name, parts in self.parts.items()}
        return {name: parts[0] for name, parts in self.parts.items()}

    def history(
        self, metric_names: tuple[str, ...], *, validated: bool, averaged: bool, notes: tuple[str, ...] = ()
    ) -> History:
        """All columns; empty ones where nothing was made."""
        columns = self.columns()

        def column(name: str) -> np.ndarray:
            return columns.get(name, np.zeros(0, np.float32))

        return History(
            loss=column("loss"),
            step_loss=column("step_loss"),
            learning_rate=column("learning_rate"),
            validation_loss=column("evaluated.loss") if validated else None,
            metrics={name: column(f"evaluated.{name}") for name in metric_names},
            recorded={
                name.removeprefix("recorded."): whole for name, whole in columns.items() if name.startswith("recorded.")
            },
            average_validation_loss=column("average.loss") if validated and averaged else None,
            average_metrics={name: column(f"average.{name}") for name in metric_names if averaged},
            notes=notes,
        )

    def _append(self, columns: dict[str, np.ndarray]) -> None:
        for name, column in columns.items():
            self.parts.setdefault(name, []).append(column.copy())  # a view would keep the whole buffer


def _by_step(name: str) -> bool:
    return name in ("step_loss", "learning_rate") or name.startswith("recorded.")
