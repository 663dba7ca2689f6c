"""The options that name data, the same for all commands."""

import dataclasses
from typing import Any

from gdjax import tasks
from gdjax.cli.words import integer, words


@dataclasses.dataclass(frozen=True)
class OnData:
    """What is learned, and by which network."""

    data: str = "digits"
    """digits, moons, breast_cancer, diabetes, fashion-mnist; or the path of a CSV, an NPZ, or a folder of idx files."""
    target: str | None = None
    """The column (or array) to predict, for a CSV or NPZ."""
    task: str | None = None
    """classification or regression; by default as the target looks."""
    rows: int | None = None
    """Take only so many rows, drawn by the seed."""
    hidden: str = "32"
    """Sizes of the hidden layers, comma-separated; 0 for a linear model."""
    seed: int = 0
    """What the split into training, validation and test follows from."""

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `tasks.load`, those that were given.

        Raises:
          ValueError: if the hidden layers are no numbers.
        """
        hidden = tuple(size for size in (integer("hidden", word) for word in words(self.hidden)) if size)
        asked = {"target": self.target, "task": self.task, "hidden": hidden, "rows": self.rows, "seed": self.seed}
        return {name: value for name, value in asked.items() if value is not None}

    def loading(self) -> str:
        """The Python that loads the task."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.options().items())
        return f"tasks.load({self.data!r}{arguments})"


def describe(task: tasks.Task) -> None:
    """Print what the data are."""
    parts = {"training": task.train, "validation": task.validation, "test": task.test}
    sizes = ", ".join(f"{len(part[1]):,} {name}" for name, part in parts.items())
    what = f"{len(task.classes)} classes" if task.classes else "regression"
    print(f"{task.name}: {what}, {task.train[0].shape[1]} features; rows: {sizes}.", *task.notes, sep="\n  ")
    print(flush=True)
