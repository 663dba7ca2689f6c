"""Sweeps that stop early, and sweeps that are stopped and taken up again."""

import dataclasses
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import gdjax
from gdjax.sweeps import population

ROWS, PER_EPOCH, EPOCHS = 37, 5, 8
REGIME = gdjax.mini_batch(8)


def table(rows=ROWS):
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
    return x, np.sin(x.sum(1))


def start(key):
    return {"a": jax.random.normal(key, (4, 8)) / 2, "b": jnp.ones(8) / 3}


def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)


def error(params, batch):
    return jnp.mean(jnp.abs(jnp.tanh(batch[0] @ params["a"]) @ params["b"] - batch[1]))


def sweep(settings=4, train=gdjax.sweep, **others):
    given = {"optimizer": gdjax.adam, "regime": REGIME, "epochs": EPOCHS, "seeds": range(2)} | others
    grid = {"learning_rate": np.logspace(-3, -0.5, settings)}
    return train(loss, start, table(), grid=grid, **given)


def whole(tree):
    return [(str(path), np.asarray(x).tobytes()) for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]]


def same(one, other):
    if isinstance(one, list):
        assert len(one) == len(other)
        return [same(*pair) for pair in zip(one, other, strict=True)]
    histories = [dataclasses.asdict(each.history) | {"notes": None} for each in (one, other)]
    assert whole(histories[0]) == whole(histories[1])
    assert whole((one.params, one.diverged, one.epochs)) == whole((other.params, other.diverged, other.epochs))
    return None


def every_step(folder):
    return gdjax.checkpoint(folder, every=1, unit="steps", keep=99)


def back_to(folder, step):
    """As if the process had died when each part had made so many steps; parts that came later are gone."""
    for path in folder.rglob("*"):
        if path.exists() and path.stem.startswith("step-") and int(path.stem[5:]) > step:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


CASES = {
    "vmapped": {},
    "lanes": {"settings": 40},
    "without validation": {"validation": None},
    "recorded": {"record": lambda params, gradients, *_: {"b": gradients["b"]}},
    "stopping early": {"early_stopping": gdjax.early_stopping(2, 1e-2)},
    "stopping early in lanes": {"settings": 40, "early_stopping": gdjax.early_stopping(1, 1e-2)},
    "several regimes": {"regime": [REGIME, gdjax.full_batch()]},
    "halving": {"settings": 9, "train": gdjax.successive_halving},
    "groups": {"optimizer": lambda learning_rate, kind: [gdjax.gd, gdjax.adam][kind](learning_rate)},
}


SHORT = ("lanes", "stopping early", "halving")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in SHORT else pytest.mark.long) for case in CASES]
)
def test_a_sweep_that_is_taken_up_is_the_one_that_was_never_stopped(case, tmp_path):
    given = {"validation": table(12), "metrics": {"error": error}} | CASES[case]
    if case == "groups":
        given |= {"train": lambda *args, grid, **others: gdjax.sweep(*args, grid=grid | {"kind": [0, 1]}, **others)}

    def run(**others):
        found = sweep(**given, **others)
        return [rung.sweep for rung in found.rungs] if case == "halving" else found

    expected = run()
    same(run(checkpoint=every_step(tmp_path)), expected)
    for step in (3, 11):
        back_to(tmp_path, step)
        compiled = population._advance._cache_size()
        same(run(checkpoint=every_step(tmp_path)), expected)
        assert population._advance._cache_size() == compiled
    back_to(tmp_path, 99)
    same(run(checkpoint=every_step(tmp_path)), expected)


def test_in_pieces_and_over_a_mesh(tmp_path):
    given = {"settings": 6, "mesh": Mesh(np.asarray(jax.devices()[:2]), ("settings",)), "memory": 30_000}
    expected = sweep(**given)
    same(sweep(checkpoint=every_step(tmp_path), **given), expected)
    pieces = list((tmp_path / "regime-0" / "group-0").glob("piece-*"))
    assert len(pieces) > 1
    shutil.rmtree(pieces[-1])
    back_to(tmp_path, 13)
    same(sweep(checkpoint=every_step(tmp_path), **(given | {"memory": 10**9})), expected)  # the pieces are remembered


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_is_saved_and_goes_on(tmp_path, monkeypatch, number):
    expected = sweep(validation=table(12))
    add = population._Way.add

    def interrupted(way, record, made, seconds):
        add(way, record, made, seconds)
        if way.step >= 12:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(population._Way, "add", interrupted)
    with pytest.raises(KeyboardInterrupt, match="what is trained so far is in"):
        sweep(validation=table(12), checkpoint=tmp_path)
    monkeypatch.undo()
    (seal,) = (tmp_path / "regime-0" / "group-0" / "piece-0").glob("*.json")
    assert 12 <= int(seal.stem[5:]) < EPOCHS * PER_EPOCH
    same(sweep(validation=table(12), checkpoint=tmp_path), expected)


STOPPING = {
    "loss": {"early_stopping": gdjax.early_stopping(1, 5e-2)},
    "validation": {
        "early_stopping": gdjax.early_stopping(1, 1e-2, restore_best=False), "validation": table(12),
    },
    "metric": {"early_stopping": gdjax.early_stopping(1, monitor="error"), "metrics": {"error": error}},
}  # fmt: skip


@pytest.mark.parametrize(("kind", "settings"), [
    ("loss", 4), ("loss", 40), ("validation", 40),
    *(pytest.param(*each, marks=pytest.mark.long) for each in (("validation", 4), ("metric", 4), ("metric", 40))),
])  # fmt: skip
def test_each_run_stops_for_itself_as_it_would_alone(kind, settings):
    given = STOPPING[kind]
    found = sweep(settings, **given)
    stopped = set()
    for setting in range(0, settings, 3):
        for seed in range(2):
            rate = float(found.hyperparameters["learning_rate"][setting])
            alone = gdjax.fit(loss, start, table(), optimizer=gdjax.adam(rate), regime=REGIME, epochs=EPOCHS,
                              seed=seed, **given)  # fmt: skip
            made = len(alone.history.loss)
            stopped.add(made)
            for name in ("loss", "validation_loss"):
                mine, its = getattr(found.history, name), getattr(alone.history, name)
                if its is not None:
                    np.testing.assert_allclose(mine[setting, seed, :made], its, rtol=2e-4, atol=1e-6)
                    assert np.isnan(mine[setting, seed, made:]).all()
            assert np.isnan(found.history.step_loss[setting, seed, made * PER_EPOCH :]).all()
            restores = given["early_stopping"].restore_best
            assert found.epochs[setting, seed] == (int(alone.state.stopping.best_epoch) if restores else made)
            np.testing.assert_allclose(found.params["a"][setting, seed], alone.params["a"], rtol=1e-3, atol=1e-5)
            judged = found.history.loss if found.history.validation_loss is None else found.history.validation_loss
            if not found.diverged[setting, seed]:
                assert found.loss[setting, seed] == judged[setting, seed, found.epochs[setting, seed] - 1]
    assert len(stopped) > 1


def test_when_all_have_stopped_the_sweep_ends():
    found = sweep(epochs=400, early_stopping=gdjax.early_stopping(2, 1e-2), validation=table(12))
    assert found.history.loss.shape == (4, 2, 400)
    assert (found.epochs < 200).all()
    short = sweep(epochs=100, early_stopping=gdjax.early_stopping(2, 1e-2), validation=table(12))
    np.testing.assert_array_equal(found.epochs, short.epochs)
    assert whole(found.params) == whole(short.params)


def test_another_sweep_is_refused(tmp_path):
    sweep(checkpoint=tmp_path)
    for given, words in (
        ({"settings": 5}, r"settings.learning_rate was \[0.001, "),
        ({"seeds": range(3)}, "seeds was"),
        ({"regime": gdjax.full_batch()}, r"regime was mini_batch\(8\), got full_batch"),
        ({"epochs": 9}, r"epochs was 8, got 9 \(`may_change=\('epochs',\)`"),
        ({"early_stopping": gdjax.early_stopping(3)}, "early_stopping was None, got EarlyStopping"),
        ({"validation": table(12)}, "validation.rows was None, got 12"),
    ):
        with pytest.raises(ValueError, match=f"^`checkpoint` must hold the same run, but in .*{words}"):
            sweep(checkpoint=tmp_path, **given)


def test_a_sweep_may_be_made_longer_on_purpose(tmp_path):
    sweep(checkpoint=tmp_path, epochs=5)
    same(sweep(checkpoint=gdjax.checkpoint(tmp_path, may_change="epochs")), sweep())


def test_a_smaller_grid_or_another_ladder_is_refused_too(tmp_path):
    sweep(6, checkpoint=tmp_path / "sweep")
    with pytest.raises(ValueError, match="^`checkpoint` must hold the same run, but in .*settings.learning_rate was"):
        sweep(3, checkpoint=tmp_path / "sweep")
    halving = {"settings": 9, "train": gdjax.successive_halving, "checkpoint": tmp_path / "halving"}
    sweep(**halving)
    for given in ({"reduction": 2}, {"first_epochs": 3}):
        with pytest.raises(ValueError, match="^`checkpoint` must hold the same run, but in .*rungs was"):
            sweep(**halving, **given)


def test_fewer_epochs_leave_what_was_made(tmp_path):
    stopping = gdjax.early_stopping(3, 1e-3)
    found = sweep(checkpoint=tmp_path, early_stopping=stopping)
    same(sweep(checkpoint=gdjax.checkpoint(tmp_path, may_change="epochs"), epochs=3, early_stopping=stopping), found)


def test_a_grid_of_other_things_than_numbers(tmp_path):
    given = {"optimizer": lambda learning_rate, kind: [gdjax.gd, gdjax.adam][kind is None](learning_rate),
             "regime": REGIME, "epochs": 2, "checkpoint": tmp_path}  # fmt: skip
    grid = {"learning_rate": [0.1, 0.2], "kind": [None, "gd"]}
    one, other = (gdjax.sweep(loss, start, table(), grid=grid, **given) for _ in range(2))
    same(one, other)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="^`checkpoint` must be a folder that can be written to, got"):
        sweep(checkpoint=tmp_path / "file" / "sweep")
