"""The Python of every how-to runs as printed, in order, and does what the page says."""

import pathlib
import re

import jax
import numpy as np
import pytest

HOWTOS = pathlib.Path(__file__).parents[2] / "docs" / "howto"
CHECKS = {}


@pytest.fixture(autouse=True)
def as_a_reader(tmp_path, monkeypatch):
    """In a folder of their own, and with JAX as it is: flax and haiku mix dtypes and ranks."""
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check(function):
    CHECKS[function.__name__] = function
    return function


def test_every_page_is_checked_and_listed():
    pages = {page.stem for page in HOWTOS.glob("*.md")} - {"index"}
    assert pages == set(CHECKS)
    index = (HOWTOS / "index.md").read_text("utf-8")
    assert all(f"]({name}.md)" in index for name in pages)


@pytest.mark.parametrize("name", sorted(path.stem for path in HOWTOS.glob("*.md") if path.stem != "index"))
def test_page_runs_as_printed(name):
    page = (HOWTOS / f"{name}.md").read_text("utf-8")
    lines = []
    names = {"print": lambda *words: lines.append(words)}
    for code in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(code, names)
    CHECKS[name](names, lines)


@check
def loop(names, lines):
    (loss, accuracy), (rate,), *stops, (slope,) = lines
    assert loss < 0.1
    assert accuracy > 0.9
    np.testing.assert_allclose(rate, 5e-3, rtol=1e-6)
    assert [stop for stop, _, _ in stops] == [50, 100, 200]
    assert stops[-1][2] > 0.9
    assert slope < 0
    ids = np.concatenate([names["order"][64 * i : 64 * (i + 1)] for i in range(names["steps"])])
    np.testing.assert_array_equal(np.sort(ids), np.arange(len(names["labels"])))


@check
def nnx(names, lines):
    (accuracy,), (first, last) = lines
    assert accuracy > 0.9
    assert last < 0.5 * first
    inputs, labels = names["digits"].validation
    again = np.mean(names["trained"](inputs).argmax(axis=1) == labels)
    np.testing.assert_allclose(again, accuracy, rtol=1e-6)


@check
def linen(names, lines):
    (accuracy,), (first, last) = lines
    assert accuracy > 0.9
    assert last < 0.5 * first
    before, after = names["variables"]["batch_stats"], names["result"].model_state
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)))


@check
def equinox(names, lines):
    (accuracy,), (first, last) = lines
    assert accuracy > 0.9
    assert last < 0.5 * first
    assert isinstance(names["result"].params, names["Network"])
    assert names["result"].params.dropout.p == 0.2


@check
def haiku(names, lines):
    ((accuracy,),) = lines
    assert accuracy > 0.9


@check
def sweeps(names, lines):
    (best, loss), (shape,), *_, (suggestion, _), (_, share) = lines
    assert shape == (14, 2, 5)
    assert loss == names["sweep"].mean.min() < 0.8
    assert 1e-3 < best["learning_rate"] < 0.1
    assert names["decays"].mean.shape == (6,)
    assert 1e-3 < suggestion < 0.1
    assert share < 0.4


@check
def devices(names, lines):
    (over_all, alone), (spread,), (plan,) = lines
    assert len(names["mesh"].devices.ravel()) == 8
    np.testing.assert_allclose(over_all, alone, rtol=1e-4)
    assert spread < 2
    assert "8 cpu devices" in str(plan)


@check
def resume(names, lines):
    (epochs, notes), (same,), (early, made, best) = lines
    assert epochs == 20
    assert any("epochs" in note for note in notes)
    np.testing.assert_array_equal(names["again"].history.loss[:10], names["first"].history.loss)
    assert all(jax.tree.leaves(same))
    assert early
    assert made == best + 6


@check
def pytorch(names, lines):
    (loss,), (ours, theirs) = lines
    assert loss < 0.3
    np.testing.assert_allclose([ours, theirs], [-1e-2 / np.sqrt(0.1), -1e-1], rtol=1e-3)
    rates = names["result"].history.learning_rate
    steps = len(rates) // 15
    np.testing.assert_allclose(rates[[0, 5 * steps - 1, 5 * steps, 10 * steps]], [1e-2, 1e-2, 5e-3, 2.5e-3], rtol=1e-6)


@check
def keras(names, lines):
    (accuracy,), (ours, theirs) = lines
    assert accuracy > 0.9
    assert ours < theirs < 0
    np.testing.assert_allclose(theirs, -1e-3 / (1 + 1e-7 / np.sqrt(1e-3) / 1e-6), rtol=1e-3)
