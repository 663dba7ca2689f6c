"""An interrupted command, given again, ends as if it had not been interrupted."""

import os
import shutil
import signal

import pandas as pd
import pytest
from matplotlib.figure import Figure

import gdjax.cli
from gdjax.sweeps import population

COMMANDS = {
    "compare": ["--data", "moons", "--rows", 60, "--regimes", "full,16", "--optimizers", "gd,adam", "--schedules",
                "step", "--epochs", 4, "--seeds", 2, "--hidden", 4],
    "compare in updates": ["--data", "moons", "--rows", 60, "--regimes", "16", "--optimizers", "gd", "--budget",
                           "updates=40", "--seeds", 2, "--hidden", 4],
    "sweep": ["--data", "moons", "--rows", 60, "--regime", 16, "--vary", "learning_rate=1e-3:1:5", "--epochs", 6,
              "--seeds", 2, "--hidden", 4],
    "sweep with halving": ["--data", "moons", "--rows", 60, "--regime", 16, "--vary", "learning_rate=1e-3:1:9",
                           "--halving", "--epochs", 9, "--seeds", 2, "--hidden", 4],
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("gdjax.report.files.plot_paths", Figure)
    monkeypatch.setattr("gdjax.cli.compare.baselines", lambda task: {})


def run(name, out, *more):
    return gdjax.cli.main([name.split()[0], *map(str, [*COMMANDS[name], "--out", out, *more])])


def numbers(out):
    (table,) = out.glob("*.csv")
    table = pd.read_csv(table)
    return table[[name for name in table if "seconds" not in name]]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("compare in updates", "sweep") else pytest.mark.long)
        for name in COMMANDS
    ],
)
def test_the_same_command_goes_on(name, tmp_path, monkeypatch, capsys):
    assert run(name, tmp_path / "whole") == 0
    add, chunks = population._Way.add, []

    def interrupting(way, record, made, seconds):
        add(way, record, made, seconds)
        chunks.append(made)
        if len(chunks) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(population._Way, "add", interrupting)
    out = tmp_path / "out"
    assert run(name, out) == 130
    assert capsys.readouterr().err.endswith("gdjax: interrupted, the same command goes on.\n")
    assert [path.name for path in out.iterdir()] == ["unfinished"]
    assert len(chunks) == 5

    shutil.copytree(out, tmp_path / "other")
    assert run(name, out) == 0
    assert "Going on with what was interrupted" in capsys.readouterr().out
    pd.testing.assert_frame_equal(numbers(out), numbers(tmp_path / "whole"), check_exact=True)
    assert not (out / "unfinished").exists()

    assert run(name, tmp_path / "other", "--seed", 1) == 0  # which is another command, and leaves the first one's work
    assert "Going on" not in capsys.readouterr().out
    assert len(list((tmp_path / "other" / "unfinished").iterdir())) == 1
    assert run(name, tmp_path / "other") == 0
    pd.testing.assert_frame_equal(numbers(tmp_path / "other"), numbers(tmp_path / "whole"), check_exact=True)


def test_other_data_under_the_same_name_are_another_command(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data.csv"
    data.write_text("x,y\n" + "".join(f"{i % 7},{i % 3}\n" for i in range(60)))
    command = ["sweep", "--data", str(data), "--target", "y", "--vary", "learning_rate=0.1,0.2", "--epochs", "3",
               "--seeds", "1", "--hidden", "4", "--out", str(tmp_path / "out")]  # fmt: skip

    def interrupted(*_):
        raise KeyboardInterrupt("what is trained so far is in a folder.")

    monkeypatch.setattr(population.Population, "_ends", interrupted)
    assert gdjax.cli.main(command) == 130
    monkeypatch.undo()
    data.write_text(data.read_text().replace("1,1", "2,1"))
    os.utime(data, (0, 0))
    assert gdjax.cli.main(command) == 0
    assert "Going on" not in capsys.readouterr().out


def test_without_orbax_nothing_is_kept_and_all_else_works(tmp_path, monkeypatch):
    found = gdjax.cli.on_data.importlib.util.find_spec
    monkeypatch.setattr(
        "gdjax.cli.on_data.importlib.util.find_spec", lambda name: None if name == "orbax" else found(name)
    )
    assert run("sweep", tmp_path) == 0
    assert not (tmp_path / "unfinished").exists()
