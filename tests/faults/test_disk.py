"""A full disk, a folder that nobody can write to, two runs in one folder: an error at once, and nothing is lost.

The disk is full where no file may grow beyond some bytes, as under `ulimit -f`; as root, a small disk is filled too. In
the long form many such limits are tried: pytest tests/faults -m "long or not long"
"""

import contextlib
import resource
import subprocess

import numpy as np
import pytest
from faults.worker import differing, every_step, fill, fill_then_train, left_by, lose, run, steps_in, train, train_heavy

import gdjax
from gdjax.engine.checkpoint import found, opened
from gdjax.engine.store import Store

SMALL, LARGE = 2**20, 2**26
"""Bytes of a disk."""
SOON = 30
"""Seconds for a worker that has nothing more to do."""


@pytest.fixture
def whole(born, finished, tmp_path):
    return finished(born(train_heavy, None, tmp_path, ["whole"]), tmp_path / "whole.npz")[0]


def check_failed(folder, out, whole):
    """A run that could not be saved is as far as it came, and its last checkpoint is whole; the steps of both."""
    arrays, interrupted, (message,) = left_by(out)
    losses, steps = arrays["history['step_loss']"], arrays["history['step_loss']"].size
    place = f"at epoch {steps // 4}, step {steps % 4} (both counted from 0)"
    assert message.startswith(f"`checkpoint` must be a folder that can be written to, but {place}: '{folder}")
    assert message.endswith(" `.result` holds the run so far.")
    assert not interrupted
    np.testing.assert_array_equal(losses, whole["history['step_loss']"][:steps], strict=True)
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name.startswith("params"))
    with contextlib.closing(opened(gdjax.checkpoint(folder))) as store:
        saved, faults = found(store)
    assert not faults
    return steps, -1 if saved is None else saved.step


def check_goes_on(out, whole, step):
    arrays, _, notes = left_by(out)
    assert not differing(arrays, whole)
    assert notes == ([] if step < 0 else [f"resumed at epoch {step // 4}, step {step % 4}"])


@pytest.mark.parametrize(
    "limits",
    [[0, 5_000, 24_000], pytest.param([*range(0, 10_000, 500), *range(10_000, 96_000, 2_000)], marks=pytest.mark.long)],
    ids=["some", "many"],
)
def test_a_full_disk(born, finished, whole, tmp_path, limits):
    finished(born(fill, tmp_path, tmp_path, limits), tmp_path / f"{limits[-1]}.npz")
    reached = [check_failed(tmp_path / str(limit), tmp_path / f"{limit}.npz", whole) for limit in limits]
    assert reached[0] == (0, -1)
    assert 0 < reached[-1][1] < reached[-1][0] <= 12
    finished(born(train_heavy, tmp_path, tmp_path, limits), tmp_path / f"{limits[-1]}.npz")
    for limit, (_, step) in zip(limits, reached, strict=True):
        check_goes_on(tmp_path / f"{limit}.npz", whole, step)
    print(f"limits {limits} ended runs at, and left checkpoints of, {reached}")


@pytest.mark.parametrize("times", [5, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("limit", [1_000, 12_000])
def test_once_there_is_room_the_same_process_goes_on(born, finished, whole, tmp_path, times, limit):
    """What of a failed checkpoint is still being written must not get into the next one's way."""
    finished(born(fill_then_train, tmp_path, tmp_path, limit, times), tmp_path / "0.npz")
    assert not any(differing(left_by(tmp_path / f"{name}.npz")[0], whole) for name in range(times))


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.long  # needs root, and leave to mount
def test_a_small_disk(born, finished, whole, disk, tmp_path):
    """Limited by its size alone."""
    name = str(resource.RLIM_INFINITY)
    finished(born(fill, disk, tmp_path, [resource.RLIM_INFINITY]), tmp_path / f"{name}.npz")
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", disk], check=True)
    steps, step = check_failed(disk / name, tmp_path / f"{name}.npz", whole)
    assert 0 < step < steps
    finished(born(train_heavy, disk, tmp_path, [name]), tmp_path / f"{name}.npz")
    check_goes_on(tmp_path / f"{name}.npz", whole, step)


def test_a_process_that_cannot_save_ends(born, tmp_path):
    worker = born(lose, tmp_path / "run")
    worker.join(SOON)
    assert worker.exitcode == 0


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    words = rf"^`checkpoint` must be a folder that can be written to, got '{tmp_path}/file/run' \(Not a directory\)\.$"
    with pytest.raises(ValueError, match=words):
        run(1, every_step(tmp_path / "file" / "run"))


def test_a_second_run_in_the_same_folder_is_refused(born, sealed, tmp_path):
    first = born(train, tmp_path, 10_000, tmp_path / "out.npz")
    sealed(first.is_alive, tmp_path, 1)
    with pytest.raises(ValueError, match=rf"^`checkpoint` must be a folder that no other run .* '{tmp_path}'\.$"):
        run(1, every_step(tmp_path))
    sealed(first.is_alive, tmp_path, steps_in(tmp_path)[-1] + 2)


def test_where_a_save_failed_the_next_one_is_written_under_another_name(tmp_path, monkeypatch):
    """What failed may still be writing there; what comes of it has the usual name."""
    places, seal = [], Store._seal

    def sealed(store, checkpointer, place, step, content):
        places.append(place.name)
        if len(places) == 1:
            checkpointer.wait_until_finished()
            raise OSError("no room.")
        seal(store, checkpointer, place, step, content)

    monkeypatch.setattr(Store, "_seal", sealed)
    for attempt in range(2):
        with contextlib.closing(opened(gdjax.checkpoint(tmp_path))) as store:
            store.save(0, {"a": np.arange(3.0)}, {})
            with pytest.raises(OSError, match="no room") if attempt == 0 else contextlib.nullcontext():
                store.finish()
    assert places == ["step-0", "step-0.again-1"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("step")) == ["step-0", "step-0.json"]
    with contextlib.closing(opened(gdjax.checkpoint(tmp_path))) as store:
        saved, faults = found(store)
        assert not faults
        np.testing.assert_array_equal(store.load(saved, {})["a"], np.arange(3.0))
