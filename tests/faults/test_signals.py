"""Ctrl-C and SIGTERM: a command ends where it stands, with all saved, and the same command goes on from there.

In the long form one is asked to end again and again: pytest tests/faults -m "long or not long"
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from faults.worker import PER_EPOCH, differing, left_by, steps_in

EPOCHS = 30
PATIENCE = 120
"""Seconds for a run on a busy machine."""
SOON = 30
"""Those within which a run that is asked to end must have done so."""


@pytest.fixture
def command():
    """Starts the worker as its user would."""
    started = []

    def start(folder, epochs, out):
        worker = pathlib.Path(__file__).with_name("worker.py")
        started.append(
            subprocess.Popen(
                [sys.executable, worker, folder, str(epochs), out], env={**os.environ, "JAX_PLATFORMS": "cpu"}
            )
        )
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.fixture
def whole(command, tmp_path):
    assert command("", EPOCHS, tmp_path / "whole.npz").wait(PATIENCE) == 0
    return left_by(tmp_path / "whole.npz")[0]


def left_when_asked(worker, number, folder, out):
    """What a run leaves that is asked to end: it is as far as its last checkpoint."""
    worker.send_signal(number)
    assert worker.wait(SOON) == 0
    arrays, interrupted, notes = left_by(out)
    assert arrays["history['step_loss']"].size == steps_in(folder)[-1]
    return interrupted, notes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_goes_on_another_time(command, sealed, whole, tmp_path, number):
    folder, out = tmp_path / "run", tmp_path / "out.npz"
    worker = command(folder, EPOCHS, out)
    sealed(lambda: worker.poll() is None, folder, 3)
    interrupted, notes = left_when_asked(worker, number, folder, out)
    assert interrupted
    assert notes == []
    step = steps_in(folder)[-1]
    assert 3 <= step < EPOCHS * PER_EPOCH
    assert command(folder, EPOCHS, out).wait(PATIENCE) == 0
    arrays, interrupted, notes = left_by(out)
    assert not interrupted
    assert not differing(arrays, whole)
    assert notes == [f"resumed at epoch {step // PER_EPOCH}, step {step % PER_EPOCH}"]


@pytest.mark.long
def test_however_often(command, sealed, whole, tmp_path):
    folder, out, moments, times = tmp_path / "run", tmp_path / "out.npz", random.Random(0), 0
    while max(steps_in(folder), default=-1) < EPOCHS * PER_EPOCH // 2:
        worker = command(folder, EPOCHS, out)
        sealed(lambda worker=worker: worker.poll() is None, folder, max(steps_in(folder), default=-1) + 1)
        time.sleep(moments.uniform(0, 0.2))
        interrupted, notes = left_when_asked(worker, moments.choice([signal.SIGINT, signal.SIGTERM]), folder, out)
        assert interrupted
        assert len(notes) == times
        times += 1
    assert command(folder, EPOCHS, out).wait(PATIENCE) == 0
    assert not differing(left_by(out)[0], whole)
    print(f"asked to end {times} times")
