"""Early stopping: where a run stops, what it leaves, and that it is the same however the run is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import gdjax
from gdjax import transforms

X = np.linspace(-1, 1, 9, dtype=np.float32)
REGIME = gdjax.mini_batch(2, shuffle=False)


def stopped_by_hand(values, patience, min_change, mode):
    """(epochs made, the best epoch), both counted from 1."""
    best, best_epoch, waited = (np.inf if mode == "min" else -np.inf), 0, 0
    for epoch, value in enumerate(values, 1):
        better = value < best - min_change if mode == "min" else value > best + min_change
        best, best_epoch, waited = (value, epoch, 0) if better else (best, best_epoch, waited + 1)
        if waited >= patience:
            return epoch, best_epoch
    return len(values), best_epoch


SERIES = {
    "falling": [5, 4, 3, 2, 1, 0],
    "rising": [1, 2, 3, 4, 5, 6],
    "constant": [2, 2, 2, 2, 2, 2],
    "late": [5, 6, 6, 4, 5, 5, 5, 1],
    "negative": [-1, -2, -2, -2, -3, -3],
    "holes": [3, np.nan, np.nan, 2, np.nan, np.nan, np.nan, 1],
    "nothing": [np.nan] * 6,
    "little by little": [5, 4.9, 4.8, 4.7, 4.6, 4.5],
}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("patience", "min_change"), [(1, 0.0), (2, 0.0), (3, 0.25), (2, 1.5)])
@pytest.mark.parametrize("series", SERIES)
def test_it_stops_where_one_would_stop_by_hand(series, patience, min_change, mode):
    """Full batches: the metric of an epoch is that of the parameter after it."""
    values = jnp.asarray([0.0, *SERIES[series]], jnp.float32)
    result = gdjax.fit(
        lambda w, batch: jnp.mean(batch) * 0 + w, jnp.array(0.0), X, optimizer=gdjax.gd(1.0),
        regime=gdjax.full_batch(), epochs=len(SERIES[series]), metrics={"told": lambda w, batch: values[at(w)]},
        early_stopping=gdjax.early_stopping(patience, min_change, monitor="told", mode=mode),
    )  # fmt: skip
    epochs, best = stopped_by_hand(SERIES[series], patience, min_change, mode)
    np.testing.assert_array_equal(result.history.metrics["told"], values[1 : epochs + 1])
    assert len(result.history.loss) == len(result.history.step_loss) == epochs
    assert (float(result.params), float(result.state.params)) == (-(best or epochs), -epochs)
    assert (int(result.state.epoch), int(result.state.step)) == (epochs, 0)
    assert result.stopped_early == (epochs < len(SERIES[series]) or _waited(SERIES[series], best) >= patience)
    assert not result.interrupted


def _waited(values, best):
    return len(values) - best


def at(w):
    return jnp.round(-w).astype(int)


def loss(w, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x * w["a"]) * w["b"] - y) ** 2)


TABLE = X, np.sin(3 * X)
VALIDATION = X[1:6], np.cos(X[1:6])
PARAMS = {"a": jnp.ones(()), "b": jnp.zeros(())}


def run(**others):
    given = {"optimizer": gdjax.adam(0.1), "epochs": 60, "early_stopping": gdjax.early_stopping(2)} | others
    return gdjax.fit(loss, PARAMS, TABLE, regime=REGIME, **given)


def bits(tree):
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x).tobytes() for x in leaves]


@pytest.mark.parametrize("validation", [None, VALIDATION])
def test_however_the_run_is_cut_it_stops_at_the_same_step_with_the_same_bits(validation, tmp_path):
    given = {"validation": validation, "early_stopping": gdjax.early_stopping(2, 1e-3)}
    whole = run(**given)
    assert whole.stopped_early
    assert len(whole.history.loss) < 60
    every = gdjax.checkpoint(tmp_path, every=1, unit="steps")
    cut = run(checkpoint=every, **given)
    assert bits((whole.params, whole.state)) == bits((cut.params, cut.state))
    np.testing.assert_array_equal(whole.history.step_loss, cut.history.step_loss)
    again = run(checkpoint=every, **given)
    assert bits((whole.params, whole.state)) == bits((again.params, again.state))
    assert again.stopped_early


def test_what_is_restored_is_the_best_epoch():
    result = run(validation=VALIDATION)
    best = int(np.argmin(result.history.validation_loss)) + 1
    assert len(result.history.loss) == best + 2
    expected = run(validation=VALIDATION, epochs=best, early_stopping=None)
    assert bits(result.params) == bits(expected.params)
    last = run(validation=VALIDATION, early_stopping=gdjax.early_stopping(2, restore_best=False))
    expected = run(validation=VALIDATION, epochs=best + 2, early_stopping=None)
    assert bits(last.params) == bits(expected.params)
    assert last.state.stopping.kept is None


def test_it_restores_though_nothing_stopped_the_run():
    result = run(validation=VALIDATION, early_stopping=gdjax.early_stopping(1000))
    assert not result.stopped_early
    best = int(np.argmin(result.history.validation_loss)) + 1
    assert best < 60
    expected = run(validation=VALIDATION, epochs=best, early_stopping=None)
    assert bits(result.params) == bits(expected.params)


def test_the_model_state_and_the_average_are_of_the_same_epoch():
    def counting(w, batch, *, model_state):
        return loss(w, batch), model_state + 1

    result = gdjax.fit(
        counting, PARAMS, TABLE, optimizer=gdjax.adam(0.1), regime=REGIME, epochs=60, model_state=jnp.int32(0),
        average=transforms.ema(0.5), validation=VALIDATION, early_stopping=gdjax.early_stopping(2),
    )  # fmt: skip
    best = int(np.argmin(result.history.validation_loss)) + 1
    assert int(result.model_state) == 5 * best
    assert int(result.state.model_state) == 5 * (best + 2)
    assert float(result.average["a"]) != float(result.state.average["a"])


def test_a_run_goes_on_with_more_patience():
    stopped = run(validation=VALIDATION)
    assert run(validation=VALIDATION, state=stopped.state).history.loss.size == 0
    longer = run(validation=VALIDATION, state=stopped.state, early_stopping=gdjax.early_stopping(4))
    whole = run(validation=VALIDATION, early_stopping=gdjax.early_stopping(4))
    assert bits((longer.params, longer.state)) == bits((whole.params, whole.state))
    free = run(validation=VALIDATION, early_stopping=None, state=stopped.state)
    assert len(stopped.history.loss) + len(free.history.loss) == 60
    whole = run(validation=VALIDATION, early_stopping=None)
    assert bits(free.params) == bits(whole.params)


def test_a_run_without_it_may_go_on_with_it():
    begun = run(validation=VALIDATION, early_stopping=None, epochs=3)
    result = run(validation=VALIDATION, state=begun.state)
    assert result.stopped_early
    assert int(result.state.stopping.best_epoch) > 3


def test_another_patience_compiles_nothing():
    from gdjax.engine.fit import advance

    run()
    before = advance._cache_size()
    run(early_stopping=gdjax.early_stopping(7, 0.01))
    assert advance._cache_size() == before


def test_in_a_loop_of_your_own():
    """`epoch`, a scan, stops as `fit` does, and then stands still."""
    training = gdjax.training(
        loss, optimizer=gdjax.adam(0.1), regime=REGIME, early_stopping=gdjax.early_stopping(2, 1e-3)
    )
    whole = run(early_stopping=gdjax.early_stopping(2, 1e-3))
    epoch, state = jax.jit(training.epoch), training.init(PARAMS)
    for _ in range(60):
        state, _ = epoch(state, TABLE)
        if training.judged(state).stopping.stopped:
            break
    assert int(state.epoch) == len(whole.history.loss)
    after, _ = epoch(state, TABLE)
    assert bits(after.trainable) == bits(state.trainable)
    for name, value in training.restored(after).params.items():
        np.testing.assert_allclose(value, whole.params[name], rtol=1e-5)


@pytest.mark.parametrize("zero", [False, True])
def test_on_a_mesh(zero):
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    one, other = run(validation=VALIDATION), run(validation=VALIDATION, mesh=mesh, shard_optimizer_state=zero)
    assert len(one.history.loss) == len(other.history.loss)
    np.testing.assert_allclose(other.params["a"], one.params["a"], rtol=1e-4)


WRONG = {
    "patience": (lambda: gdjax.early_stopping(0), "`patience` must be at least 1, got 0."),
    "half": (lambda: gdjax.early_stopping(1.5), "`patience` must be an integer, got 1.5."),
    "change": (lambda: gdjax.early_stopping(1, -0.1), "`min_change` must be finite and at least 0, got -0.1."),
    "mode": (lambda: gdjax.early_stopping(mode="most"), "`mode` must be one of 'min', 'max', got 'most'."),
    "restore": (lambda: gdjax.early_stopping(restore_best=1.5), "`restore_best` must be one of True, False, got 1.5."),
    "name": (lambda: gdjax.early_stopping(monitor=3), "`monitor` must be the name of a metric, got 3."),
    "unknown": (
        lambda: run(early_stopping=gdjax.early_stopping(monitor="accuracy")),
        "`monitor` must be one of 'loss', the loss and the run's metrics, got 'accuracy'.",
    ),
    "number": (lambda: run(early_stopping=3), "`early_stopping` must be made by `gdjax.early_stopping(...)`, got 3."),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(wrong):
    call, words = WRONG[wrong]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert str(caught.value) == words
