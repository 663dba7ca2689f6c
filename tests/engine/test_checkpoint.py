"""A run that is taken up again is, bit for bit, the one that was never stopped."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import gdjax
from gdjax import schedules, transforms
from gdjax.engine import fingerprint
from gdjax.engine import fit as fit_module

ROWS, FEATURES, WIDTH, PER_EPOCH = 37, 4, 8, 5
REGIME = gdjax.mini_batch(8)
"""Five batches an epoch, the last of five rows."""


def table(rows=ROWS):
    x = np.random.default_rng(rows).normal(size=(rows, FEATURES)).astype(np.float32)
    return {"id": np.arange(rows, dtype=np.int32), "x": x, "y": np.sin(x.sum(1))}


def start(key):
    a, b = jax.random.split(key)
    return {
        "a/~": jax.random.normal(a, (FEATURES, WIDTH)) / 2,
        "b": (jax.random.normal(b, (WIDTH,)) / 3).astype(jnp.bfloat16),
        "none": jnp.zeros((0, 3)),
        "count": jnp.arange(3),
        "seen": jnp.zeros(ROWS),
    }


def loss(params, batch, *, key, training, model_state):
    """A network with dropout and a batch norm's mean; the slope of `seen` tells which examples a batch has."""
    hidden = jnp.tanh(batch["x"] @ params["a/~"])
    kept = jnp.where(jax.random.bernoulli(key, 0.8, hidden.shape), 1.0, 0.0) if training else 0.8
    out = (hidden * kept) @ params["b"].astype(jnp.float32)
    marks = params["seen"][batch["id"]]
    value = jnp.mean((out - batch["y"]) ** 2 + marks - jax.lax.stop_gradient(marks))
    return value, {"mean": 0.9 * model_state["mean"] + 0.1 * out.mean(), "key": model_state["key"]}


def seen(params, gradients, updates, state):
    return {"seen": gradients["seen"]}


def optimizer(rate=0.02):
    plateau = transforms.reduce_on_plateau(0.5, patience=0, rtol=0.5)
    return gdjax.chain(gdjax.adam(schedules.per_epoch(schedules.warmup(schedules.step_decay(rate, 1), 1))), plateau)


def run(epochs=2, **others):
    given = {
        "optimizer": optimizer(),
        "regime": REGIME,
        "seed": 3,
        "model_state": {"mean": jnp.zeros(()), "key": jax.random.key(8)},
        "validation": table(12),
        "metrics": {"error": lambda params, batch: jnp.mean(jnp.abs(batch["x"] @ params["a/~"]))},
        "average": transforms.ema(0.9),
        "record": seen,
        "early_stopping": gdjax.early_stopping(3),
        "progress": False,
    } | others
    return gdjax.fit(given.pop("loss_fn", loss), given.pop("params", start), given.pop("data", table()),
                     epochs=epochs, **given)  # fmt: skip


def bits(tree):
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        words = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        found.append((jax.tree_util.keystr(path), np.asarray(words).dtype, np.asarray(words).tobytes()))
    return found


def same(one, other):
    """Parameters, state and history, to the last bit."""
    assert bits(one.params) == bits(other.params)
    assert bits(one.state) == bits(other.state)
    assert bits((one.average, one.model_state)) == bits((other.average, other.model_state))
    histories = (dataclasses.asdict(result.history) | {"notes": None} for result in (one, other))
    assert len({str(bits(history)) for history in histories}) == 1


def every_step(folder, **others):
    return gdjax.checkpoint(folder, every=1, unit="steps", **({"keep": 99} | others))


def back_to(folder, step):
    """As if the process had died when so many steps were saved."""
    for path in folder.iterdir():
        if path.stem.startswith("step-") and int(path.stem[5:]) > step:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def steps_in(folder):
    return sorted(int(path.stem[5:]) for path in folder.glob("step-*.json"))


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture
def saved(tmp_path, whole):
    """A folder with a checkpoint of each step."""
    same(run(checkpoint=every_step(tmp_path / "run")), whole)
    assert steps_in(tmp_path / "run") == list(range(2 * PER_EPOCH + 1))
    return tmp_path / "run"


def test_a_run_may_be_taken_up_at_every_step(saved, whole, tmp_path):
    assert len(whole.history.step_loss) == 2 * PER_EPOCH
    assert (whole.history.learning_rate != whole.history.learning_rate[-1]).any()
    for step in range(2 * PER_EPOCH + 1):
        folder = tmp_path / str(step)
        shutil.copytree(saved, folder)
        back_to(folder, step)
        result = run(checkpoint=every_step(folder))
        same(result, whole)
        assert result.history.notes == (f"resumed at epoch {step // PER_EPOCH}, step {step % PER_EPOCH}",)


def test_twice_in_a_row_and_after_the_end(saved, whole):
    for step in (3, 7, 2 * PER_EPOCH, 2 * PER_EPOCH):
        back_to(saved, step)
        result = run(checkpoint=every_step(saved))
        same(result, whole)
    assert len(result.history.notes) == 3


def test_resuming_compiles_nothing(saved):
    back_to(saved, 4)
    before = fit_module.advance._cache_size()
    run(checkpoint=every_step(saved))
    assert fit_module.advance._cache_size() == before


@pytest.mark.parametrize("policy", ["keep", pytest.param("skip", marks=pytest.mark.long)])
def test_with_the_state_given_away_too(tmp_path, policy):
    result = run(checkpoint=every_step(tmp_path / "run"), non_finite=policy)
    same(result, run(non_finite=policy))
    back_to(tmp_path / "run", 6)
    same(run(checkpoint=every_step(tmp_path / "run"), non_finite=policy), result)


def test_of_a_stream(tmp_path):
    def streamed(**others):
        return run(data=gdjax.stream(table()), **others)

    whole = streamed()
    streamed(checkpoint=every_step(tmp_path))
    for step in (3, 6):
        back_to(tmp_path, step)
        same(streamed(checkpoint=every_step(tmp_path)), whole)


def mesh_of(devices):
    return Mesh(np.asarray(jax.devices()[:devices]), ("data",))


@pytest.mark.parametrize("zero", [pytest.param(False, marks=pytest.mark.long), True])
def test_on_eight_devices(tmp_path, monkeypatch, zero):
    monkeypatch.setattr("gdjax.engine.sharding.LEAST_SHARE", 0)
    given = {"mesh": mesh_of(8), "shard_optimizer_state": zero}
    whole = run(**given)
    same(run(checkpoint=every_step(tmp_path), **given), whole)
    for step in (7, 3):
        back_to(tmp_path, step)
        before = fit_module.advance._cache_size()
        same(run(checkpoint=every_step(tmp_path), **given), whole)
        assert fit_module.advance._cache_size() == before


@pytest.mark.parametrize(
    ("before", "after"), [(8, 2), *(pytest.param(*each, marks=pytest.mark.long) for each in ((8, None), (None, 8)))]
)
def test_from_some_devices_to_others(tmp_path, whole, before, after):
    """The same examples in the same order; losses but for rounding."""

    def on(devices, **others):
        mesh = None if devices is None else mesh_of(devices)
        return run(mesh=mesh, shard_optimizer_state=devices is not None, checkpoint=every_step(tmp_path), **others)

    on(before)
    back_to(tmp_path, 6)
    result = on(after)
    ids = [each.history.recorded["seen"] != 0 for each in (result, whole)]
    np.testing.assert_array_equal(*ids)
    np.testing.assert_allclose(result.history.step_loss, whole.history.step_loss, rtol=1e-5)
    np.testing.assert_allclose(result.history.validation_loss, whole.history.validation_loss, rtol=1e-5)


def no_rows(params, batch, *, key, training, model_state):
    return loss(params, batch, key=key, training=training, model_state=model_state)


OTHERS = {
    "optimizer": ({"optimizer": gdjax.adam(0.02)}, "optimizer was Chain, got Clocked"),
    "rate": ({"optimizer": optimizer(0.1)}, r"learning_rate\S* was 0.02, got 0.1 \(`may_change=\('learning_rate',\)`"),
    "model": ({"params": lambda key: start(key) | {"b": jnp.ones(WIDTH)}}, r"params\['b'\] was bfloat16\[8\], got fl"),
    "regime": ({"regime": gdjax.mini_batch(9)}, r"regime was mini_batch\(8\), got mini_batch\(9\)"),
    "length": ({"data": table(36)}, r"data\.rows was 37, got 36"),
    "types": ({"data": table() | {"x": np.zeros((ROWS, FEATURES), np.float16)}}, r"data\['x'\] was float32\[4\] a row"),
    "seed": ({"seed": 4}, "seed was 3, got 4"),
    "loss": ({"loss_fn": no_rows}, r"loss_fn was .*loss, got .*no_rows \(`may_change=\('loss_fn',\)`"),
    "epochs": ({"epochs": 3}, r"epochs was 2, got 3 \(`may_change=\('epochs',\)` allows it\)"),
    "average": ({"average": None}, "average was Clocked, got None"),
    "decay of the average": ({"average": transforms.ema(0.99)}, r"average\S*decay was 0.9, got 0.99"),
    "validation": ({"validation": table(13)}, r"validation\.rows was 12, got 13"),
    "metrics": ({"metrics": None}, "metrics was error, got none"),
    "early stopping": ({"early_stopping": gdjax.early_stopping(4)}, "early_stopping.patience was 3, got 4"),
    "policy": ({"non_finite": "skip"}, "non_finite was keep, got skip"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_run_is_refused_in_one_sentence_that_names_the_difference(saved, other):
    given, words = OTHERS[other]
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    compiled = fit_module.advance._cache_size()
    with pytest.raises(ValueError, match=rf"^`checkpoint` must hold the same run, but in '.*' .*{words}") as caught:
        run(checkpoint=str(saved), **given)
    assert "\n" not in str(caught.value)
    assert fit_module.advance._cache_size() == compiled
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before


def test_other_versions_are_another_run(saved, monkeypatch):
    versions = fingerprint.versions() | {"versions.jax": "0.7.0"}
    monkeypatch.setattr(fingerprint, "versions", lambda: versions)
    with pytest.raises(ValueError, match=r"versions.jax was \S+, got 0.7.0 \(`may_change=\('versions',\)` allows it\)"):
        run(checkpoint=str(saved))
    result = run(checkpoint=gdjax.checkpoint(saved, may_change="versions"))
    assert "with versions.jax from" in result.history.notes[-1]


def test_rate_and_epochs_may_be_changed_on_purpose_and_that_is_noted(saved):
    back_to(saved, 7)
    result = run(
        3, optimizer=optimizer(0.005), checkpoint=every_step(saved, may_change=("learning_rate", "epochs"))
    )  # fmt: skip
    (note,) = result.history.notes
    assert note.startswith("resumed at epoch 1, step 2, with optimizer")
    assert "learning_rate" in note
    assert "from 0.02 to 0.005" in note
    assert "epochs from 2 to 3" in note
    assert len(result.history.step_loss) == 3 * PER_EPOCH
    again = run(3, optimizer=optimizer(0.005), checkpoint=str(saved))
    assert again.history.notes[0] == note


def test_another_kind_of_rate_is_a_change_of_the_rate(tmp_path):
    run(optimizer=gdjax.gd(0.1), checkpoint=str(tmp_path))
    rate = schedules.step_decay(0.1, 3)
    with pytest.raises(ValueError, match=r"may_change=\('learning_rate',\)"):
        run(optimizer=gdjax.gd(rate), checkpoint=str(tmp_path))
    run(optimizer=gdjax.gd(rate), checkpoint=gdjax.checkpoint(tmp_path, may_change="learning_rate"))


def test_other_hyperparameters(tmp_path):
    run(optimizer=gdjax.adam(0.1, b1=0.9), checkpoint=str(tmp_path))
    with pytest.raises(ValueError, match=r"\.b1 was 0.9, got 0.8 .*'hyperparameters'"):
        run(optimizer=gdjax.adam(0.1, b1=0.8), checkpoint=gdjax.checkpoint(tmp_path, may_change="learning_rate"))
    run(optimizer=gdjax.adam(0.1, b1=0.8), checkpoint=gdjax.checkpoint(tmp_path, may_change="hyperparameters"))
    with pytest.raises(ValueError, match="optimizer was Clocked, got Chain"):
        run(checkpoint=gdjax.checkpoint(tmp_path, may_change="hyperparameters"))


@pytest.mark.long
def test_a_foreign_optimizer(tmp_path):
    def given(**others):
        return run(optimizer=optax.chain(optax.clip(1.0), optax.trace(0.9), optax.scale(-0.1)), **others)

    whole = given()
    given(checkpoint=every_step(tmp_path))
    back_to(tmp_path, 4)
    same(given(checkpoint=every_step(tmp_path)), whole)


def test_the_newest_and_the_best_are_kept(tmp_path):
    result = run(8, early_stopping=None, checkpoint=gdjax.checkpoint(tmp_path, every=1, unit="epochs", keep=2),
                 optimizer=gdjax.gd(rising_rate()))  # fmt: skip
    best = 1 + int(np.argmin(result.history.validation_loss))
    assert best < 7
    assert steps_in(tmp_path) == [PER_EPOCH * epoch for epoch in (best, 7, 8)]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        f"step-{step}" for step in steps_in(tmp_path)
    }


def rising_rate():
    """Good at first, then far too large."""
    return schedules.piecewise_constant(0.05, {3 * PER_EPOCH: 40.0})


def test_by_the_clock(tmp_path, monkeypatch):
    clock = iter(np.arange(0, 1e6, 3.0))
    monkeypatch.setattr("gdjax.engine.checkpoint.time.monotonic", lambda: float(next(clock)))
    run(6, checkpoint=gdjax.checkpoint(tmp_path, every=7, keep=99), early_stopping=None)
    found = steps_in(tmp_path)
    assert found[0] == 0
    assert found[-1] == 6 * PER_EPOCH
    assert 3 < len(found) < 6 * PER_EPOCH


def test_a_folder_is_enough(tmp_path, whole):
    same(run(checkpoint=tmp_path / "deep" / "run"), whole)
    assert steps_in(tmp_path / "deep" / "run") == [0, 2 * PER_EPOCH]


def test_a_run_that_began_with_a_state_keeps_its_own_history(tmp_path):
    half = run(1)
    result = run(3, state=half.state, checkpoint=every_step(tmp_path))
    same(result, run(3, state=half.state))
    back_to(tmp_path, 8)
    same(run(3, state=half.state, checkpoint=every_step(tmp_path)), result)


def test_a_diverged_run_is_saved_where_it_was_sound(tmp_path):
    def fails():
        with pytest.raises(gdjax.NonFiniteError, match="at epoch 0, step 3") as caught:
            run(optimizer=gdjax.gd(schedules.piecewise_constant(0.1, {2: 1e38})), checkpoint=every_step(tmp_path))
        return caught.value.result

    first, again = fails(), fails()
    same(first, again)
    assert steps_in(tmp_path)[-1] == 3
    back_to(tmp_path, 2)
    cured = run(optimizer=gdjax.gd(0.1), checkpoint=every_step(tmp_path, may_change="learning_rate"))
    assert len(cured.history.step_loss) == 2 * PER_EPOCH
    assert np.isfinite(cured.history.step_loss).all()


def test_it_opens_with_orbax_alone(saved):
    import orbax.checkpoint as ocp

    seal = json.loads((saved / "step-10.json").read_text()[:-64])
    key = seal["arrays"]["state.trainable['a/~']"][0]
    with pytest.warns(UserWarning, match="Sharding info not provided"):
        arrays = ocp.PyTreeCheckpointer().restore(saved / "step-10")
    np.testing.assert_array_equal(arrays[key], run().state.trainable["a/~"])


def test_saving_does_not_stop_the_run(tmp_path, monkeypatch):
    """A save that takes its time is gone on from, where seconds are told."""
    from gdjax.engine.store import Store

    held, seal = threading.Event(), Store._seal

    def slow(self, checkpointer, place, step, content):
        if step:
            held.wait(60)
        seal(self, checkpointer, place, step, content)

    monkeypatch.setattr(Store, "_seal", slow)
    reached = []

    def look(params, batch):
        return jnp.mean(params["a/~"])

    class Bar:
        def say(self, text):
            pass

        def reach(self, place, loss=None):
            reached.append(place)
            if place > 5:
                held.set()

    monkeypatch.setattr(fit_module, "progress_bar", lambda *_, **__: contextlib.nullcontext(Bar()))
    run(8, early_stopping=None, metrics={"look": look}, checkpoint=gdjax.checkpoint(tmp_path, every=1e-6))
    assert held.is_set()
    assert reached[-1] == 8


OPTAX = {
    "rate": (optax.adam(1e-3), optax.adam(1e-1)),
    "kind": (optax.adam(1e-3), optax.adabelief(1e-3)),
    "flag": (optax.sgd(0.1, 0.9), optax.sgd(0.1, 0.9, nesterov=True)),
    "in a chain": (optax.chain(optax.clip(1.0), optax.sgd(0.1)), optax.chain(optax.clip(2.0), optax.sgd(0.1))),
    "steps together": (optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
                       optax.MultiSteps(optax.sgd(0.1), 7).gradient_transformation()),
    "a schedule": (gdjax.gd(lambda step: 1e-3), gdjax.gd(lambda step: 1e-1)),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTAX)
def test_what_hides_in_closures_is_seen(case):
    one, other = (fingerprint.described("optimizer", each) for each in OPTAX[case])
    assert fingerprint.differences(one, other)
    assert not fingerprint.differences(one, fingerprint.described("optimizer", OPTAX[case][0]))


def test_it_is_told_in_the_same_words_in_another_process():
    code = (
        "import functools, gdjax, numpy as np, optax, jax;"
        "from gdjax.engine.fingerprint import described;"
        "print(described('all', [optax.adam(lambda s: 1e-3), gdjax.adam(0.1, b1=gdjax.schedules.linear(0.8, 0.9, 5)),"
        "functools.partial(max, key=frozenset('abcdef')), np.array([None, abs], object), jax.random.key(3)]))"
    )
    words = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in (os.environ | {"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"} for seed in "12")
    }
    assert len(words) == 1
    assert "0x" not in words.pop()


def test_a_rate_that_optax_holds_in_its_state_is_changed_too(tmp_path):
    def train(rate, epochs):
        injected = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
        saved = gdjax.checkpoint(tmp_path, may_change=("learning_rate", "epochs"))
        return gdjax.fit(lambda w, x: jnp.mean((w - x) ** 2), jnp.zeros(()), jnp.ones(4), optimizer=injected,
                         regime=gdjax.full_batch(), epochs=epochs, checkpoint=saved)  # fmt: skip

    train(0.01, 1)
    result = train(0.1, 2)
    np.testing.assert_allclose(result.state.optimizer_state.hyperparams["learning_rate"], 0.1)
    assert "from 0.01 to 0.1" in result.history.notes[0]


def test_what_others_keep_in_the_folder_is_theirs(tmp_path, whole):
    for name in ("0", "7", "2024"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious.txt").write_text("mine")
    for name in ("3.json", "2024.json", "12"):
        (tmp_path / name).write_text("{}")
    theirs = {path for path in tmp_path.rglob("*") if path.is_file()}
    for _ in range(2):
        same(run(checkpoint=every_step(tmp_path, keep=1)), whole)
        assert {path for path in theirs if path.read_text() in ("mine", "{}")} == theirs
    run(2, checkpoint=str(tmp_path / "a" / "1"))
    run(2, checkpoint=str(tmp_path / "a"))
    assert steps_in(tmp_path / "a" / "1") == [0, 2 * PER_EPOCH]


def test_a_run_that_failed_before_its_first_step_is_no_run(tmp_path, whole):
    def wrong(*_):
        raise KeyError("typo")

    with pytest.raises(KeyError):
        run(record=wrong, checkpoint=str(tmp_path))
    assert steps_in(tmp_path) == [0]
    same(run(checkpoint=str(tmp_path)), whole)


def test_more_patience_goes_on_with_a_stopped_run(tmp_path):
    given = {"optimizer": gdjax.gd(1e-9), "epochs": 12, "checkpoint": gdjax.checkpoint(tmp_path)}
    first = run(**given, early_stopping=gdjax.early_stopping(3, 0.5))
    assert first.stopped_early
    assert len(first.history.loss) == 4
    given["checkpoint"] = gdjax.checkpoint(tmp_path, may_change="early_stopping")
    more = run(**given, early_stopping=gdjax.early_stopping(5, 0.5))
    assert len(more.history.loss) == 6
    from_memory = run(**given | {"checkpoint": None}, early_stopping=gdjax.early_stopping(5, 0.5), state=first.state)
    assert bits(from_memory.params) == bits(more.params)
    with pytest.raises(ValueError, match="early_stopping.mode was 'min', got 'max'"):
        run(**given, early_stopping=gdjax.early_stopping(5, 0.5, mode="max"))


WRONG = {
    "number": (lambda: run(checkpoint=3), TypeError, "`checkpoint` must be a folder or `gdjax.checkpoint("),
    "no folder": (lambda: gdjax.checkpoint(""), TypeError, "`folder` must be a path, got ''"),
    "nothing": (lambda: gdjax.checkpoint(None), TypeError, "`folder` must be a path, got None"),
    "unit": (lambda: gdjax.checkpoint("a", unit="minutes"), ValueError, "`unit` must be one of 'seconds', 'epochs'"),
    "half an epoch": (lambda: gdjax.checkpoint("a", every=0.5, unit="epochs"), TypeError, "`every` must be an integer"),
    "never": (lambda: gdjax.checkpoint("a", every=0), ValueError, "`every` must be finite and above 0, got 0.0"),
    "none kept": (lambda: gdjax.checkpoint("a", keep=0), ValueError, "`keep` must be at least 1, got 0"),
    "seed": (lambda: gdjax.checkpoint("a", may_change=("seed",)), ValueError, "`may_change` must be one of 'epochs',"),
    "all": (lambda: gdjax.checkpoint("a", may_change=True), TypeError, "`may_change` must be a tuple of names"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(wrong):
    call, error, words = WRONG[wrong]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(words)


def test_without_orbax_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(os.sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"`checkpoint` needs orbax, got none: pip install orbax-checkpoint"):
        run(checkpoint=tmp_path)
