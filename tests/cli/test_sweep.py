import contextlib
import io

import numpy as np
import pandas as pd
import pytest

import gdjax.cli
from gdjax.cli.words import varied

SMALL = ("--data", "moons", "--rows", 60, "--hidden", 4, "--epochs", 4, "--seeds", 2, "--regime", "16")


def run(*arguments):
    return gdjax.cli.main(["sweep", *map(str, arguments)])


def printed_by(code):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue()


def test_rates_alone_are_ranked_suggested_and_reproduced(tmp_path, capsys):
    assert run(*SMALL, "--vary", "learning_rate=0.001:1:7", "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "moons: 2 classes" in shown
    assert "7 settings × 2 seeds; none diverged." in shown
    assert "For the learning rate of adam, " in shown
    table = pd.read_csv(tmp_path / "out" / "sweep.csv")
    assert list(table.columns) == ["learning_rate", "seed", "loss", "balanced accuracy", "accuracy", "diverged"]
    assert len(table) == 14
    mean = table.groupby("learning_rate")["loss"].mean()
    line = next(line for line in shown.splitlines() if line.startswith("learning_rate"))
    first = shown.splitlines()[shown.splitlines().index(line) + 1]
    assert first.startswith(f"{mean.idxmin():g} ")
    assert (tmp_path / "out" / "sweep.png").stat().st_size > 10_000
    name, value = printed_by(shown.split("The best setting again:\n")[1]).rsplit(maxsplit=1)
    assert name == "balanced accuracy"
    told = shown.split("and balanced accuracy ")[1].split()[0].rstrip(".")
    assert float(value) == pytest.approx(float(told), abs=0.05)  # two seeds, one digit


def test_a_product_with_flags(tmp_path, capsys):
    code = run(
        *SMALL,
        "--optimizer",
        "heavy_ball",
        "--vary",
        "learning_rate=0.01,0.1",
        "nesterov=true,false",
        "--out",
        tmp_path,
    )
    assert code == 0
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["learning_rate"].tolist() == [0.01] * 4 + [0.1] * 4
    assert table["nesterov"].tolist() == [True, True, False, False] * 2
    assert "For the learning rate" not in capsys.readouterr().out


def test_random_settings_by_halving(tmp_path, capsys):
    code = run(*SMALL, "--vary", "learning_rate=1e-4:1", "b1=0.5:0.99", "--random", 18, "--halving", "--out", tmp_path)
    shown = capsys.readouterr().out
    assert code == 0
    assert "Settings: 18 to epoch 1, 6 to epoch 4; 50% of the epochs" in shown
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["epochs"].tolist() == [1] * 36 + [4] * 12
    assert len(printed_by(shown.split("The best setting again:\n")[1])) > 10


def test_rates_around_the_customary_one_by_default(monkeypatch, tmp_path):
    seen = {}

    def record(*_, **settings):
        seen.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(gdjax, "sweep", record, raising=False)
    assert run("--data", "moons", "--rows", 50, "--optimizer", "gd", "--out", tmp_path) == 130
    rates = seen["grid"]["learning_rate"]
    assert (len(rates), rates[0], rates[-1]) == (64, 0.001, 10.0)
    assert (seen["optimizer"], str(seen["regime"]), seen["epochs"]) == (gdjax.gd, "mini_batch(64)", 30)


def test_every_setting_diverged(tmp_path, capsys):
    assert run(*SMALL, "--optimizer", "gd", "--vary", "learning_rate=1e12,1e13", "--out", tmp_path) == 0
    shown = capsys.readouterr().out
    assert "Every setting diverged" in shown
    assert "import gdjax" not in shown


def test_words():
    assert varied("beta=0.5,0.9") == ("beta", [0.5, 0.9])
    assert varied("steps=3,-4") == ("steps", [3, -4])
    assert varied("nesterov=True") == ("nesterov", [True])
    assert varied("learning_rate=1e-3:1:7") == ("learning_rate", (1e-3, 1.0, 7))
    assert varied("b1=0.5:0.9") == ("b1", (0.5, 0.9, None))


@pytest.mark.parametrize(("arguments", "words"), [
    (["--optimizer", "sgd"], ["`optimizer`", "'sgd'"]),
    (["--vary", "learning_rate"], ["`vary`", "'learning_rate'"]),
    (["--vary", "learning_rate=1:2:3:4"], ["`vary`", "'learning_rate=1:2:3:4'"]),
    (["--vary", "learning_rate=fast"], ["`vary`", "'fast'"]),
    (["--vary", "learning_rate=0.1:1"], ["`vary`", "COUNT"]),
    (["--vary", "learning_rate=1:0.1:5"], ["`vary`", "above its low"]),
    (["--vary", "learning_rate=0:0.1:5"], ["`vary`", "0.0"]),
    (["--vary", "learning_rate=0.1:1:1"], ["`vary`", "at least 2"]),
    (["--vary", "learning_rate=0.1", "learning_rate=0.2"], ["`vary`", "once"]),
    (["--random", 5], ["`vary`", "`random`"]),
    (["--random", 5, "--vary", "learning_rate=0.1:1:5"], ["`vary`", "`random`"]),
    (["--random", 0, "--vary", "learning_rate=0.1:1"], ["`count`", "0"]),
    (["--regime", "full,64"], ["`regime`", "'full,64'"]),
    (["--regime", "half"], ["`regimes`", "'half'"]),
    (["--epochs", 0], ["`epochs`", "0"]),
    (["--seeds", 0], ["`seeds`", "0"]),
    (["--data", "nothing.csv"], ["`data`", "'nothing.csv'"]),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, words, tmp_path, capsys):
    assert run("--out", tmp_path / "out", *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("gdjax: ")
    assert shown.err.count("\n") == 1
    assert all(word in shown.err for word in words)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_hyperparameter_names_those_that_exist(tmp_path, capsys):
    assert run(*SMALL, "--vary", "learning_rat=0.1", "--out", tmp_path) == 2
    shown = capsys.readouterr().err
    assert "`grid` must name hyperparameters" in shown
    assert "learning_rate" in shown
    assert np.all([path.suffix != ".csv" for path in tmp_path.iterdir()])
