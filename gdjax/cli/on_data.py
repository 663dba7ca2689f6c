"""The options that name data, the same for all commands."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from gdjax import tasks
from gdjax.cli.words import integer, words
from gdjax.engine.checkpoint import Checkpoint, checkpoint
from gdjax.engine.fingerprint import versions

UNFINISHED = "unfinished"
"""The folder, among a command's results, of what it has not finished."""

SAVED_SECONDS = 10.0
"""How often that is saved."""


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


@contextlib.contextmanager
def resumable(command: OnData, out: pathlib.Path) -> Iterator[Checkpoint | None]:
    """Where a command saves what it has done, so that the same one, on the same data, goes on; gone when it is done.

    None where orbax, which writes it, is not installed.
    """
    if importlib.util.find_spec("orbax") is None or importlib.util.find_spec("orbax.checkpoint") is None:
        yield None
        return
    options = {name: str(value) for name, value in dataclasses.asdict(command).items() if name != "out"}
    words = json.dumps([type(command).__name__, options, versions(), _contents(pathlib.Path(command.data))])
    folder = out / UNFINISHED / hashlib.sha256(words.encode()).hexdigest()[:12]
    if folder.exists():
        print(f"Going on with what was interrupted, from {folder}.", flush=True)
    yield checkpoint(folder, every=SAVED_SECONDS, keep=2)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another command's work is in it
        folder.parent.rmdir()


def _contents(path: pathlib.Path) -> list:
    """What tells the data of a file or a folder from others; nothing for the name of a dataset."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]


def describe(task: tasks.Task) -> None:
    """Print what the data are."""
    parts = {"training": task.train, "validation": task.validation, "test": task.test}
    sizes = ", ".join(f"{len(part[1]):,} {name}" for name, part in parts.items())
    what = f"{len(task.classes)} classes" if task.classes else "regression"
    print(f"{task.name}: {what}, {task.train[0].shape[1]} features; rows: {sizes}.", *task.notes, sep="\n  ")
    print(flush=True)
