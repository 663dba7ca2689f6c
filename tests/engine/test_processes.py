"""Several processes, really started, train what one does; they stop together, and none outlives another for long."""

import functools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
PATIENCE = 240
"""Seconds for a group to come to its end on a busy machine."""
BOUND = 90
"""Seconds within which the others must have ended after one has died; its heartbeats are missed after twenty."""


@pytest.fixture
def started():
    """Starts processes, and ends those that are left."""
    children = []

    def start(command):
        children.append(
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent.parent)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def group(start, folder, processes, devices, what):
    port = free_port()
    return [
        start([HERE / "worker.py", processes, index, port, devices, what, folder / f"{index}.npz"])
        for index in range(processes)
    ]


def ended(children):
    """What the processes have printed; none may have failed."""
    printed = [child.communicate(timeout=PATIENCE)[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(children), "\n".join(printed)[-3000:]
    return printed


@pytest.mark.parametrize(
    ("processes", "what"),
    [(2, "some"), pytest.param(4, "some", marks=pytest.mark.long), pytest.param(2, "all", marks=pytest.mark.long),
     pytest.param(4, "all", marks=pytest.mark.long)],
)  # fmt: skip
def test_processes_train_as_one(started, tmp_path, processes, what):
    ended(group(started, tmp_path, processes, 4 // processes, what))
    ended([started([HERE / "worker.py", 1, 0, 0, 4, what, tmp_path / "alone.npz"])])
    expected = dict(np.load(tmp_path / "alone.npz"))
    for index in range(processes):
        found = dict(np.load(tmp_path / f"{index}.npz"))
        assert found.keys() == expected.keys()
        for name, column in expected.items():
            exact = name.endswith((" ids", " rates"))
            compare = np.testing.assert_array_equal if exact else functools.partial(
                np.testing.assert_allclose, rtol=1e-5, atol=1e-6 if name.endswith(" a") else 0
            )  # fmt: skip
            compare(found[name], column, err_msg=name)


def endless(start, folder, processes, devices):
    """A group that trains without an end, and some of it done."""
    children = group(start, folder, processes, devices, "endless")
    deadline = time.monotonic() + PATIENCE
    while not all((folder / f"{index}.npz.started").exists() for index in range(processes)):
        assert time.monotonic() < deadline
        assert all(child.poll() is None for child in children), children[0].communicate()[0]
        time.sleep(0.1)
    time.sleep(8)  # compiled, and a few chunks done
    return children


@pytest.mark.parametrize(("processes", "dead"), [(2, 1), pytest.param(4, 2, marks=pytest.mark.long)])
def test_when_one_dies_the_others_end_and_name_it(started, tmp_path, processes, dead):
    # With several devices a process gloo's own check of what these exchange may abort a survivor first, nameless.
    children = endless(started, tmp_path, processes, devices=1)
    began = time.monotonic()
    children[dead].kill()
    others = [child for child in children if child is not children[dead]]
    printed = [child.communicate(timeout=BOUND)[0] for child in others]
    assert time.monotonic() - began < BOUND
    for child, text in zip(others, printed, strict=True):
        assert child.returncode != 0
        name = rf"(\S*task:)?{dead}\b"
        assert re.search(rf"Task {name} heartbeat timeout|stopped sending heartbeats\):\s+{name}", text)


def test_ctrl_c_in_one_stops_all_at_the_same_step(started, tmp_path):
    children = endless(started, tmp_path, 2, devices=2)
    children[1].send_signal(signal.SIGINT)
    ended(children)
    found = [np.load(tmp_path / f"{index}.npz") for index in range(2)]
    assert all(each["interrupted"] for each in found)
    assert found[0]["step"] == found[1]["step"] > 0


def test_a_stream_that_breaks_in_one_stops_all_at_the_same_step(started, tmp_path):
    ended(group(started, tmp_path, 2, 2, "breaking"))
    one, other = (np.load(tmp_path / f"{index}.npz") for index in range(2))
    assert not one["interrupted"]
    assert "another process could not read its rows" in str(one["message"])
    assert "the disk is gone" in str(other["message"])
    assert one["step"] == other["step"] > 0


def test_processes_that_are_told_different_things_say_so(started, tmp_path):
    ended(group(started, tmp_path, 2, 1, "different"))
    for index in range(2):
        message = str(np.load(tmp_path / f"{index}.npz")["message"])
        assert message == ("`epochs` must be the same in all processes, but process 1 has another than process 0.")


def test_what_processes_save_together_others_take_up(started, tmp_path):
    """Two processes, then two again from within the run, then one of as many devices."""
    ended(group(started, tmp_path, 2, 2, "saved"))
    whole = dict(np.load(tmp_path / "0.npz"))
    steps = len(whole["losses"])
    for names, step in ((("0", "1"), 7), (("alone",), 3)):
        for path in (tmp_path / "checkpoints").iterdir():
            if path.stem.startswith("step-") and int(path.stem[5:]) > step:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if len(names) == 2:
            ended(group(started, tmp_path, 2, 2, "saved"))
        else:
            ended([started([HERE / "worker.py", 1, 0, 0, 4, "saved", tmp_path / "alone.npz"])])
        for name in names:
            found = dict(np.load(tmp_path / f"{name}.npz"))
            assert str(found["notes"][0]).startswith("resumed at epoch ")
            np.testing.assert_array_equal(found["ids"], whole["ids"])
            compare = np.testing.assert_array_equal if len(names) == 2 else functools.partial(
                np.testing.assert_allclose, rtol=1e-5
            )  # fmt: skip
            compare(found["losses"], whole["losses"])
            assert len(found["losses"]) == steps == len(list((tmp_path / "checkpoints").glob("*.json"))) - 1


def test_the_example_runs(started):
    example, port = HERE.parent.parent / "examples" / "processes.py", free_port()
    first, second = ended([started([example, f"localhost:{port}", 2, index]) for index in range(2)])
    assert "2 processes, " in first
    assert "loss 0.0" in first
    assert "loss" not in second
