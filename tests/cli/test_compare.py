import contextlib
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import gdjax.cli

FILES = ["comparison.csv", "comparison.json", "learning_rates.png", "losses.png", "paths.png", "report.html"]


@pytest.fixture
def titanic(tmp_path):
    random = np.random.default_rng(0)
    lines = ["PassengerId;Survived;Sex;Age;Name"]
    for i in range(90):
        sex = "male" if random.random() < 0.5 else "female"
        age = "" if i % 7 == 0 else f"{random.integers(1, 80)}.5"
        lines.append(f'{i + 1};{int((sex == "female") != (random.random() < 0.1))};{sex};{age};"Person; {i}"')
    path = tmp_path / "titanic.csv"
    path.write_text("\n".join(lines))
    return path


def run(*arguments):
    return gdjax.cli.main(["compare", *map(str, arguments)])


def test_from_a_table_to_lines_that_give_the_same_metric(titanic, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gdjax.report.files.plot_paths", Figure)  # test_plots makes it
    out = tmp_path / "out"
    code = run(
        "--data", titanic, "--target", "Survived", "--optimizers", "gd", "--regimes", "full", "--epochs", 4,
        "--seeds", 2, "--hidden", 0, "--learning-rate", "0.1,0.3", "--out", out,
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert "titanic: 2 classes" in shown.out
    assert "rows: 54 training, 18 validation, 18 test." in shown.out
    assert "Column 'PassengerId' is left out: it looks like an identifier." in shown.out
    assert "'Survived' holds integers of 2 values: taken as classes" in shown.out
    assert "On titanic, gd, full_batch at rate" in shown.out
    assert "(majority)" in shown.out
    assert "(linear model)" in shown.out
    assert "compiling" in shown.err
    (row,) = json.loads((out / "comparison.json").read_text())["rows"]
    code_lines = shown.out.split("The best row again (gd, full_batch):\n")[1]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code_lines, {})
    name, value = printed.getvalue().rsplit(maxsplit=1)
    assert name == "balanced accuracy"
    assert float(value) == pytest.approx(row["balanced accuracy"], rel=1e-3)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--data", "nothing.csv"], ["`data`", "'nothing.csv'"]),
    (["--target", "x"], ["`target`", "'x'"]),
    (["--task", "ranking"], ["`task`", "'ranking'"]),
    (["--rows", 3], ["`rows`", "3"]),
    (["--regimes", "half"], ["`regimes`", "'half'"]),
    (["--regimes", "0"], ["`regimes`", "0"]),
    (["--regimes", "-5"], ["`regimes`", "-5"]),
    (["--regimes", ""], ["`regimes`", "''"]),
    (["--optimizers", "sgd"], ["`optimizers`", "'sgd'"]),
    (["--optimizers", ","], ["`optimizers`", "','"]),
    (["--schedules", "cosine"], ["`schedules`", "'cosine'"]),
    (["--epochs", 0], ["`epochs`", "0"]),
    (["--seeds", -1], ["`seeds`", "-1"]),
    (["--seed", -1], ["`seed`", "-1"]),
    (["--budget", "minutes"], ["`budget`", "'minutes'"]),
    (["--budget", "updates=many"], ["`budget`", "'updates=many'"]),
    (["--budget", "updates=-5"], ["`budget`", "-5"]),
    (["--budget", "epochs=5"], ["`budget`", "'epochs=5'"]),
    (["--hidden", "8,x"], ["`hidden`", "'x'"]),
    (["--hidden=-8"], ["`hidden`", "-8"]),
    (["--learning-rate", "0.1,fast"], ["`learning_rate`", "'fast'"]),
    (["--learning-rate", "0"], ["`learning_rate`", "0"]),
    (["--learning-rate", "nan"], ["`learning_rate`", "nan"]),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, words, tmp_path, capsys):
    assert run("--out", tmp_path / "out", *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("gdjax: ")
    assert shown.err.endswith(".\n")
    assert shown.err.count("\n") == 1
    assert all(word in shown.err for word in words)
    assert list(tmp_path.iterdir()) == []


def test_out_that_is_a_file(tmp_path, capsys):
    path = tmp_path / "out"
    path.write_text("mine")
    assert run("--data", "moons", "--rows", 20, "--out", path) == 2
    assert "gdjax: `out` must be a folder that can be written to" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_interrupted(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gdjax.cli.compare.compare", interrupt)
    monkeypatch.setattr("gdjax.cli.compare.baselines", lambda task: {})
    assert run("--data", "moons", "--rows", 20, "--out", tmp_path / "out") == 130
    assert capsys.readouterr().err == "gdjax: interrupted, nothing was written.\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_options_reach_the_comparison(tmp_path, monkeypatch):
    seen = {}

    def record(loss, init, data, **settings):
        seen.update(settings, features=data[0].shape)
        raise KeyboardInterrupt

    monkeypatch.setattr("gdjax.cli.compare.compare", record)
    monkeypatch.setattr("gdjax.cli.compare.baselines", lambda task: {})
    run(
        "--data", "moons", "--rows", 50, "--regimes", "full, 16,stochastic,16", "--optimizers", "adam,heavy_ball",
        "--schedules", "step,plateau", "--budget", "updates=200", "--seeds", 3, "--learning-rate", "0.1,1e-3",
        "--out", tmp_path,
    )  # fmt: skip
    assert [str(regime) for regime in seen["regimes"]] == ["full_batch", "mini_batch(16)", "stochastic"]
    assert seen["optimizers"] == {"adam": gdjax.adam, "heavy_ball": gdjax.heavy_ball}
    assert list(seen["schedules"]) == ["step", "plateau"]
    assert (seen["budget"], seen["seeds"]) == (gdjax.Budget("updates", 200), 3)
    assert (seen["learning_rates"], seen["features"]) == ([0.1, 1e-3], (30, 2))


def test_help_names_every_option():
    command = [sys.executable, "-m", "gdjax", "compare", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = [f"--{field.name.replace('_', '-')} " for field in dataclasses.fields(gdjax.cli.Compare)]
    assert len(options) == 14
    assert [option for option in options if option not in shown] == []
    assert "gdjax compare --data titanic.csv --target Survived --schedules step,plateau" in " ".join(shown.split())


def test_the_data_is_never_replaced(titanic, capsys):
    data = titanic.rename(titanic.with_name("comparison.csv"))
    before = data.read_text()
    assert run("--data", data, "--target", "Survived", "--out", data.parent) == 2
    assert "`out` must be a folder where 'comparison.csv' is not the data itself" in capsys.readouterr().err
    assert data.read_text() == before


def test_every_run_diverged(titanic, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gdjax.report.files.plot_paths", Figure)
    code = run(
        "--data", titanic, "--target", "Survived", "--optimizers", "gd", "--regimes", "full", "--epochs", 3,
        "--seeds", 2, "--hidden", 8, "--learning-rate", "1e9", "--out", tmp_path / "out",
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0
    assert "every run diverged" in shown
    assert "import gdjax" not in shown
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
