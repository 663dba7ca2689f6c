"""A run on disk: saved while it goes on, taken up again where it stood."""

import dataclasses
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gdjax import checks
from gdjax.engine import fingerprint
from gdjax.engine.processes import anywhere, told_by_first
from gdjax.engine.store import Saved, Store, place_of, prepared

KEPT = 3
"""Checkpoints, where nobody says otherwise."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a run is saved, and how often. See `checkpoint`."""

    folder: str
    every: float
    unit: str
    keep: int
    may_change: tuple[str, ...]


def checkpoint(
    folder: str | os.PathLike,
    *,
    every: float = 30.0,
    unit: str = "seconds",
    keep: int = KEPT,
    may_change: tuple[str, ...] = (),
) -> Checkpoint:
    """Save a run while it goes on, and go on from there when the same call is made again.

    A checkpoint holds parameters, the optimizer's state, position, keys, history, and what the run is; a run that goes
    on from it is, bit for bit, the one that was never stopped. It is written by orbax while training goes on, and is
    only taken for one when it is whole, with a digest of every file; one that was damaged later is set aside, with a
    warning, and the one before it is taken. The first is written before the first step, so that a folder that cannot
    be written to is told at once; the last when the run ends, for whatever reason.

    Args:
      folder: where checkpoints are; on a shared disk or in a bucket (gs://…) if processes train together. It belongs to
        one run.
      every: how often, in units; of epochs and steps a whole number.
      unit: "seconds", "epochs" or "steps". In seconds, the end of an epoch is waited for where that is no longer than
        `every`, and a checkpoint that is still being written is not waited for.
      keep: how many of the newest are kept, at least 1; and beside them the one, of those made at the end of an epoch,
        whose validation loss (without validation data: training loss) is the lowest.
      may_change: what may be another than in the checkpoint: "epochs", how many the run shall have; "learning_rate",
        anything about the optimizer's of that name; "hyperparameters", any of its numbers; "early_stopping", those of a
        run's (not of a sweep's); "loss_fn", its name; "versions", of the packages. What was changed is told in
        `history.notes`. Anything else is another run, which needs another folder.

    Raises:
      ValueError, TypeError: if an argument is out of range.

    >>> checkpoint("runs/digits", every=1, unit="epochs").keep
    3
    """
    if not isinstance(folder, str | os.PathLike) or not str(folder):
        raise TypeError(f"`folder` must be a path, got {folder!r}.")
    checks.choice("unit", unit, ("seconds", "epochs", "steps"))
    every = float(checks.positive("every", every)) if unit == "seconds" else checks.integer("every", every, least=1)
    if isinstance(may_change, str):
        may_change = (may_change,)
    if not isinstance(may_change, tuple | list):
        raise TypeError(f"`may_change` must be a tuple of names, got {may_change!r}.")
    for name in may_change:
        checks.choice("may_change", name, fingerprint.MAY_CHANGE)
    return Checkpoint(os.fspath(folder), every, unit, checks.integer("keep", keep, least=1), tuple(may_change))


def settings_of(given: Any) -> Checkpoint | None:
    """What a user gave as `checkpoint=`: settings, or a folder alone, or None.

    Raises:
      TypeError: if it is something else.
    """
    if given is None or isinstance(given, Checkpoint):
        return given
    if isinstance(given, str | os.PathLike):
        return checkpoint(given)
    raise TypeError(f"`checkpoint` must be a folder or `gdjax.checkpoint(folder, ...)`, got {given!r}.")


def arrays_of(name: str, tree: Any) -> dict[str, Any]:
    """{name and path: array} of a tree."""
    return {name + jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def tree_of(name: str, arrays: dict[str, Any], like: Any) -> Any:
    """The tree whose arrays these are; what is not among them is as in the one like it."""
    leaves = arrays_of(name, like)
    return jax.tree.unflatten(jax.tree.structure(like), [arrays.get(path, leaf) for path, leaf in leaves.items()])


class Keeper:
    """Saves a run, or many side by side, and finds where it stood.

    Args:
      settings: where and how often.
      run: what it is.
      per_epoch: its steps.
      together: as of `Store`.

    Raises:
      ImportError, ValueError: as `Store`.
    """

    def __init__(
        self, settings: Checkpoint, run: fingerprint.Fingerprint, per_epoch: int, *, together: bool = False
    ) -> None:
        self.settings, self.run, self.per_epoch = settings, run, per_epoch
        self.store = opened(settings, together=together)
        self.notes: list[str] = []
        self.began = time.monotonic()

    def resumed(self, like: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """({name: array} of what was saved, what was said of it); None where nothing was.

        Args:
          like: {name: an array that lies where the one that was saved shall lie}; others come as arrays of NumPy.

        Raises:
          ValueError: if the folder holds another run, or nothing that is whole.
        """
        saved, faults = found(self.store)
        if saved is None:
            return None
        place = f"epoch {saved.about['epoch']}, step {saved.about['step']}"
        try:
            changes = check_same(self.settings, saved.about["run"], self.run)
        except ValueError:
            damaged = anywhere(bool(faults)) if self.store.together else bool(faults)
            if saved.step or damaged:
                raise
            self.store.set_aside(0)  # of a run that did not make its first step nothing is lost
            return None
        for step, fault in faults.items():
            warnings.warn(f"{fault}; the run is taken up from the one before, at {place}.", stacklevel=3)
            self.store.set_aside(step)
        arrays = self.store.load(saved, like)
        self.store.losses[saved.step] = saved.about.get("loss")
        self.notes = [*saved.about["notes"], *faults.values(), f"resumed at {place}"]
        for name in changes:  # optax's `inject_hyperparams` holds in its state what it was told
            told = name.rpartition(".")[2]
            for held in [key for key in arrays if key.endswith(f".hyperparams['{told}']")]:
                del arrays[held]
        if changes:
            self.notes[-1] += f", with {fingerprint.sentence(changes)}"
        return arrays, saved.about

    def close(self) -> None:
        """Save no more."""
        self.store.close()

    def until(self, step: int, due: bool) -> int:
        """The step after which the run is to be looked at again."""
        if self._period is None:
            return (step // self.per_epoch + 1) * self.per_epoch if due else np.iinfo(np.int32).max
        return (step // self._period + 1) * self._period

    def wishes(self, step: int) -> tuple[bool, bool]:
        """(whether the end of an epoch is waited for, to save there; whether to save here).

        Raises:
          OSError: if what was begun could not be written.
        """
        self.store.check()
        if self._period is not None:
            return False, step % self._period == 0
        waited = time.monotonic() - self.began
        due = waited >= self.settings.every and not self.store.busy
        return due, due and (step % self.per_epoch == 0 or waited >= 2 * self.settings.every)

    def save(self, step: int, arrays: dict[str, Any], *, loss: float | None = None, **about: Any) -> None:
        """Begin to save what has come of so many steps.

        Args:
          step: how many.
          arrays: {name: array}.
          loss: what it is judged by, at the end of an epoch.
          about: what else to say of it.

        Raises:
          OSError: if this or the one before could not be written.
        """
        self.began = time.monotonic()
        epoch, step_of_epoch = divmod(step, self.per_epoch)
        about |= {"run": self.run, "epoch": epoch, "step": step_of_epoch, "notes": self.notes}
        if loss is not None and np.isfinite(loss):
            about["loss"] = loss
        self.store.save(step, arrays, about)

    @property
    def _period(self) -> int | None:
        """Steps between two checkpoints; None where they are seconds apart."""
        each = {"seconds": None, "steps": 1, "epochs": self.per_epoch}[self.settings.unit]
        return None if each is None else each * int(self.settings.every)


@dataclasses.dataclass(frozen=True)
class Parts:
    """Checkpoints of something that is made of parts, each in a folder of its own."""

    settings: Checkpoint
    run: fingerprint.Fingerprint
    was_interrupted: Callable[[], bool]

    def part(self, name: str) -> "Parts":
        """Those of a part."""
        folder = os.path.join(self.settings.folder, name)
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, folder=folder))

    def keeper(self, per_epoch: int) -> Keeper:
        """What saves this one."""
        return Keeper(self.settings, self.run, per_epoch)

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """What was made the first time, of lists and numbers: it may be made of what another time is not the same.

        Raises:
          ValueError: if it was made for another run.
        """
        path = place_of(self.settings.folder) / f"{name}.json"
        if path.exists():
            known = json.loads(path.read_text())
            check_same(self.settings, known["run"], self.run)
            return known["made"]
        made = make()
        prepared(path.parent)
        aside = path.parent / f"{name}.json.writing"
        aside.write_text(json.dumps({"run": self.run, "made": made}))
        aside.replace(path)
        return made

    def interrupt(self) -> None:
        """End, since somebody asked for it and all is saved.

        Raises:
          KeyboardInterrupt: always.
        """
        raise KeyboardInterrupt(f"what is trained so far is in '{self.settings.folder}'.")


def opened(settings: Checkpoint, *, together: bool = False) -> Store:
    """The store of these settings, opened by the first process before the others.

    Raises:
      ImportError, ValueError: as `Store`.
    """
    if not together:
        return Store(settings.folder, keep=settings.keep)
    store, error = None, None
    if jax.process_index() == 0:
        try:
            store = Store(settings.folder, keep=settings.keep, together=True)
        except Exception as its:  # whatever it is, the others wait for a word
            error = its
    failed = told_by_first(error is not None)
    if error is not None:
        raise error
    if failed:
        raise ValueError(f"`checkpoint` must be a folder that the first process can open, got '{settings.folder}'.")
    return store or Store(settings.folder, keep=settings.keep, together=True)


def found(store: Store) -> tuple[Saved | None, dict[int, str]]:
    """The newest checkpoint that is whole, and {step: what is wrong} of newer ones, as the first process finds them.

    Raises:
      ValueError: if there are some, and none is whole.
    """
    if not store.together:
        return store.newest()
    saved, faults, error, step = None, {}, None, -1
    if store.primary:
        try:
            saved, faults = store.newest()
            step = -1 if saved is None else saved.step
        except Exception as its:  # likewise
            error, step = its, -2
    step = told_by_first(step)
    if error is not None:
        raise error
    if step == -2:
        raise ValueError(f"`checkpoint` must hold a checkpoint that is whole, got none in '{store.folder}'.")
    if step >= 0 and not store.primary:
        saved = store.read(step)
    if anywhere(isinstance(saved, str)):
        raise ValueError(f"`checkpoint` must be a folder that all processes can read, got '{store.folder}'.")
    return saved, faults  # pyrefly: ignore[bad-return]: it is no word, as was just asked


def check_same(
    settings: Checkpoint, before: fingerprint.Fingerprint, now: fingerprint.Fingerprint
) -> dict[str, tuple[str, str]]:
    """What differs, and may.

    Raises:
      ValueError: if something differs that may not.
    """
    changes = fingerprint.differences(before, now)

    def may(names: tuple[str, ...], changes: dict[str, tuple[str, str]]) -> dict[str, bool]:
        return {name: fingerprint.permitted(name, change, names) for name, change in changes.items()}

    allowed = may(settings.may_change, changes)
    wrong = {name: change for name, change in changes.items() if not allowed[name]}
    if not wrong:
        return changes
    name, (old, new) = next(iter(wrong.items()))
    could = next((word for word in fingerprint.MAY_CHANGE if all(may((word,), wrong).values())), None)
    hint = f" (`may_change=({could!r},)` allows it)" if could else ""
    more = {1: "", 2: ", and 1 more difference"}.get(len(wrong), f", and {len(wrong) - 1} more differences")
    raise ValueError(
        f"`checkpoint` must hold the same run, but in '{settings.folder}' {name} was {old}, got {new}{hint}{more}."
    )
