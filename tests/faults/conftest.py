"""Workers, as children of a process that has imported JAX, but not begun to use it: so none waits for the imports."""

import multiprocessing
import time

import pytest
from faults.worker import left_by, steps_in

PATIENCE = 120
"""Seconds for a worker on a busy machine."""


@pytest.fixture
def born():
    """Starts workers, and ends those that are left."""
    context, workers = multiprocessing.get_context("forkserver"), []
    context.set_forkserver_preload(["gdjax", "orbax.checkpoint"])

    def start(task, *arguments, **others):
        workers.append(context.Process(target=task, args=arguments, kwargs=others))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.join()


@pytest.fixture
def finished():
    """Waits until a worker has come to its end, and gives what it left."""

    def wait(worker, out):
        worker.join(PATIENCE)
        assert worker.exitcode == 0
        return left_by(out)

    return wait


@pytest.fixture
def sealed():
    """Waits until a worker that is alive has sealed a checkpoint of so many steps, and gives the seconds it took."""

    def wait(alive, folder, step):
        began = time.monotonic()
        while max(steps_in(folder), default=-1) < step:
            assert alive()
            assert time.monotonic() < began + PATIENCE
            time.sleep(0.01)
        return time.monotonic() - began

    return wait
