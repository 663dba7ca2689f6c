"""Workers killed at any moment, one after another in the same folder: nothing that was sealed is ever lost.

Each goes on from what the last one left. In the long form 200 are killed: pytest tests/faults -m "long or not long"
"""

import contextlib
import random
import shutil
import signal
import time

import numpy as np
import pytest
from faults.worker import LARGE, PER_EPOCH, SMALL, differing, steps_in, train

import gdjax
from gdjax.engine.checkpoint import found, opened

SAVES = 15
"""A worker's life, unless it is killed before, is as long as the first needs for so many."""
RESERVE = 40
"""Steps for each to make, so that none comes to the end."""


def torn(folder):
    """Whether somebody died while writing here."""
    whole = {f"step-{step}" for step in steps_in(folder)}
    return any(path.name.removesuffix(".json") not in whole for path in folder.glob("step-*"))


def newest(folder):
    """(its step, its losses); all that is sealed must be whole."""
    with contextlib.closing(opened(gdjax.checkpoint(folder))) as store:
        saved, faults = found(store)
        assert not faults
        return saved.step, store.load(saved, {}).get("history.step_loss", np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("kills", "width", "keep", "seed"),
    [(6, SMALL, 3, 0), *(pytest.param(50, *each, marks=pytest.mark.long) for each in [
        (SMALL, 3, 1), (SMALL, 1, 2), (LARGE, 3, 3), (LARGE, 1, 4)])],
)  # fmt: skip
def test_what_was_sealed_outlives_every_kill(born, finished, sealed, tmp_path, kills, width, keep, seed):
    folder, out, epochs = tmp_path / "run", tmp_path / "out.npz", RESERVE * kills // PER_EPOCH
    whole, _, _ = finished(born(train, None, epochs, out, width), out)
    worker = born(train, folder, epochs, out, width, keep=keep)
    life = sealed(worker.is_alive, folder, SAVES)
    moments, left_torn = random.Random(seed), 0
    for kill in range(kills):
        if kill:
            worker = born(train, folder, epochs, out, width, keep=keep)
            time.sleep(moments.uniform(0, life))
        least = steps_in(folder)[-1]
        worker.kill()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        left_torn += torn(folder)
        copy = shutil.copytree(folder, tmp_path / str(kill))  # the next one shall find it as it was left
        step, losses = newest(copy)
        assert step >= least
        np.testing.assert_array_equal(losses, whole["history['step_loss']"][:step], strict=True)
        shutil.rmtree(copy)
    assert left_torn or kills < 10
    ended, interrupted, notes = finished(born(train, folder, epochs, out, width, every=20), out)
    assert not differing(ended, whole)
    assert not interrupted
    assert {note.split()[0] for note in notes} == {"resumed"}
    print(f"{kills} kills, {left_torn} within a save, a life of {life:.2f} s, the last at step {step}")
