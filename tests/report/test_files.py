import csv
import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from gdjax.report import files
from gdjax.report.files import FILES, prepare_folder, write_comparison

NAMES = ["report.html", "comparison.csv", "comparison.json", "losses.png", "learning_rates.png", "paths.png"]


@pytest.fixture(autouse=True)
def _no_paths(monkeypatch):
    monkeypatch.setattr(files, "plot_paths", Figure)  # the one picture that trains; see test_plots


@pytest.fixture
def comparison(made, made_row):
    lost = made_row("adam", (0.5, 0.6, 0.7), diverged=range(3), tied=False, metrics={"accuracy": np.ones((3, 3))})
    rows = made_row(tied=True), made_row("rmsprop", (0.5, 0.6, 0.7), tied=None, customary_rate=math.nan), lost
    return made(*rows, baselines={"majority": {"loss": 0.7, "accuracy": 0.5}})


def test_csv_and_json_agree_and_pictures_are_pngs(tmp_path, comparison):
    written = write_comparison(comparison, "It is so.", "moons", tmp_path)
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    whole = json.loads((tmp_path / "comparison.json").read_text("utf-8"), parse_constant=pytest.fail)
    with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in whole["rows"]] == lines
    assert (whole["data"], whole["verdict"], whole["seeds"]) == ("moons", "It is so.", 3)
    assert (whole["budget"], whole["baselines"]) == ({"unit": "epochs", "amount": 2}, comparison.baselines)
    best, other, lost = whole["rows"]
    assert (best["optimizer"], best["regime"], best["tied_with_best"]) == ("gd", "mini_batch(5)", True)
    assert best["test_loss"] == pytest.approx(0.4)
    assert best["accuracy_low"] == pytest.approx(0.6 - 0.2484, abs=1e-4)
    assert (best["updates"], best["examples"], best["examples_to_target"]) == (8, 40, 40)
    assert (other["tied_with_best"], other["customary_rate"], other["updates_to_target"]) == (None, None, None)
    assert (lost["diverged_runs"], lost["test_loss"], lost["accuracy"]) == (3, None, None)
    for name in NAMES[3:]:
        raw = (tmp_path / name).read_bytes()
        assert raw.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(raw) > 1000


@pytest.mark.parametrize("failing", ["plot_losses", "plot_paths"])
def test_nothing_is_half_written(tmp_path, comparison, monkeypatch, failing):
    write_comparison(comparison, "before", "moons", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        write_comparison(comparison, "after", "moons", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_is_made_with_its_parents(tmp_path):
    prepare_folder(tmp_path / "a" / "b", FILES, tmp_path / "data.csv")
    prepare_folder(tmp_path / "a" / "b", FILES, tmp_path / "data.csv")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_is_no_folder(tmp_path, inside):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"^`out` must be a folder that can be written to, got '.*file.*' \(.+\)\.$"):
        prepare_folder(path / "a" if inside else path, FILES, tmp_path / "data.csv")
    assert path.read_text() == "mine"


def test_a_folder_that_takes_no_file(tmp_path, monkeypatch):
    def fail(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", fail)
    with pytest.raises(ValueError, match=r"^`out` must .*Permission denied"):
        prepare_folder(tmp_path, FILES, tmp_path / "data.csv")
