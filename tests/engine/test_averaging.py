"""The average of the parameters: `average=` of `fit` and `training`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import ema, weighted_sum

STEPS = 15
"""Three epochs of five steps, the last of two rows."""
DATA = np.random.default_rng(0).normal(size=(22, 2)).astype(np.float32)
HELD_OUT = DATA[:7] + 1
PARAMS = {"w": np.array([3.0, -3.0], np.float32), "b": np.float32(1)}
SETTINGS = {"optimizer": gdjax.heavy_ball(0.05), "regime": gdjax.mini_batch(5, shuffle=False)}


def loss(params, batch):
    return jnp.mean(((params["w"] + params["b"])[None] - batch) ** 2)


def train(average, *, params=PARAMS, epochs=3, **settings):
    return gdjax.fit(loss, params, DATA, epochs=epochs, average=average, **SETTINGS, **settings)


@functools.cache
def walk(dtype="float32"):
    """The parameters after each update [steps, 3], from a run that averages nothing."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), PARAMS)
    run = gdjax.training(loss, record=lambda params, *_: params, **SETTINGS)
    with jax.numpy_dtype_promotion("standard"):  # the data stay float32
        state, record = jax.jit(lambda state: run.steps(state, DATA, STEPS, capacity=STEPS))(run.init(params))
    columns = [jnp.append(record.recorded["w"], state.params["w"][None], axis=0)]
    columns.append(jnp.append(record.recorded["b"], state.params["b"])[:, None])
    return np.concatenate([np.asarray(column[1:], np.float64) for column in columns], axis=1)


def weighted(weights):
    """The weighted means of the parameters, of weights [steps, iterates]."""
    return weights @ walk() / weights.sum(axis=1, keepdims=True)


AGES = np.arange(STEPS)[:, None] - np.arange(STEPS)
"""How old an iterate (a column) is after a step (a row)."""
ALL = np.where(AGES >= 0, 1.0, 0.0)


def window_of(start, stop):
    """Uniform over a window of updates, the present iterate before it."""
    inside = ALL * (np.arange(STEPS) >= start) * (np.arange(STEPS) < stop)
    return np.where(inside.sum(axis=1, keepdims=True) == 0, np.eye(STEPS), inside)


@pytest.mark.parametrize(
    ("average", "weights"),
    [
        pytest.param(ema(0.8), ALL * 0.8**AGES, id="ema"),
        pytest.param(weighted_sum(), ALL, id="all"),
        pytest.param(weighted_sum(schedules.per_epoch(schedules.window(1))), window_of(5, 99), id="per epoch"),
        pytest.param(weighted_sum(schedules.per_run(schedules.window(60))), window_of(9, 99), id="per run"),
    ],
)
def test_it_is_the_weighted_mean_of_the_iterates(average, weights):
    run = gdjax.training(loss, average=average, **SETTINGS)
    state = run.init(PARAMS)._replace(epochs=jnp.int32(3))
    step = jax.jit(lambda state, stop: run.steps(state, DATA, stop)[0])
    for expected in weighted(weights):
        state = step(state, state.epoch * 5 + state.step + 1)
        np.testing.assert_allclose(np.append(state.average["w"], state.average["b"]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (3, None), (14, None), (99, None), (0, 1), (3, 4), (0, 15), (6, 6), (9, 2)]
)
def test_a_window(start, stop):
    """The numbers are arguments, so all windows with both ends are one program."""
    average = weighted_sum(schedules.window(start, stop))
    state = train(average).state
    expected = weighted(window_of(start, 99 if stop is None else stop))[-1]
    np.testing.assert_allclose(np.append(state.average["w"], state.average["b"]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_in_float64_to_the_last_digits():
    """A leaky sum is debiased to a moving average."""
    average = transforms.accumulate(0.9)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    run = gdjax.training(loss, average=average, record=lambda params, *_: params, **SETTINGS)
    state, record = jax.jit(lambda state: run.steps(state, DATA.astype(np.float64), STEPS, capacity=STEPS))(
        run.init(params)
    )
    iterates = np.append(record.recorded["w"][1:], state.params["w"][None], axis=0)
    weights = 0.9 ** np.arange(STEPS)[::-1]
    assert state.average["w"].dtype == np.float64
    np.testing.assert_allclose(state.average["w"], weights @ iterates / weights.sum(), rtol=1e-13)


def test_no_decay_is_the_present_parameters():
    result = train(ema(0.0))
    assert result.average["w"].tolist() == result.params["w"].tolist()


def test_without_one_there_is_none():
    result = train(None)
    assert result.average is None
    assert result.history.average_validation_loss is None
    assert result.history.average_metrics == {}


def test_the_run_does_not_notice_it():
    plain, averaging = train(None), train(ema(0.8))
    np.testing.assert_allclose(averaging.params["w"], plain.params["w"], rtol=1e-6)
    np.testing.assert_allclose(averaging.history.step_loss, plain.history.step_loss, rtol=1e-6)


@pytest.mark.parametrize("validation", [HELD_OUT, None], ids=["validation", "training data"])
def test_it_is_evaluated_beside_the_parameters(validation):
    metrics = {"sum": lambda params, batch: jnp.sum(params["w"]) + 0 * jnp.sum(batch), "loss again": loss}
    result = train(ema(0.8), validation=validation, metrics=metrics)
    history = result.history
    iterates, averages = walk()[4::5], weighted(ALL * 0.8**AGES)[4::5]
    judged = DATA if validation is None else validation
    for seen, at in ((history.metrics, iterates), (history.average_metrics, averages)):
        assert list(seen) == ["sum", "loss again"]
        np.testing.assert_allclose(seen["sum"], at[:, :2].sum(axis=1), rtol=1e-5)
        expected = [np.mean((row[:2] + row[2] - judged) ** 2) for row in at]
        np.testing.assert_allclose(seen["loss again"], expected, rtol=1e-5)
    if validation is None:
        assert history.average_validation_loss is None
    else:
        np.testing.assert_array_equal(history.average_validation_loss, history.average_metrics["loss again"])
        np.testing.assert_array_equal(history.validation_loss, history.metrics["loss again"])


def test_no_epoch_has_empty_columns():
    settings = {"validation": HELD_OUT, "metrics": {"again": loss}}
    history = train(ema(0.8), epochs=0, **settings).history
    assert history.validation_loss.shape == (0,)
    assert history.average_validation_loss is not None
    assert history.average_validation_loss.shape == (0,)
    assert history.average_metrics["again"].shape == (0,)


def test_before_the_first_step_it_is_the_parameters():
    result = train(ema(0.8), epochs=0)
    assert result.average["w"].tolist() == result.params["w"].tolist()
    assert float(result.average["b"]) == float(result.params["b"])


def test_16_bit_parameters_are_averaged_in_float32():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        result = train(weighted_sum(), params=params)
    memory = result.state.average_state.inner.filter.memory
    mean = walk("bfloat16").mean(axis=0)
    assert memory["w"].dtype == memory["b"].dtype == jnp.float32
    assert result.average["w"].dtype == result.average["b"].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.append(memory["w"], memory["b"]), mean, rtol=1e-6)
    assert result.average["w"].tolist() == jnp.asarray(mean[:2], jnp.bfloat16).tolist()


def test_leaves_that_do_not_train_are_held():
    params = PARAMS | {"name": "moons", "count": 3, "activation": jnp.tanh, "index": jnp.arange(2), "nothing": None}
    result = train(ema(0.8), params=params, metrics={"name": lambda params, _: len(params["name"])})
    assert set(result.average) == set(params)
    assert result.average["name"] == "moons"
    assert result.average["count"] == 3
    assert result.average["activation"] is jnp.tanh
    assert result.average["index"].tolist() == [0, 1]
    assert result.average["nothing"] is None
    np.testing.assert_allclose(result.average["w"], weighted(ALL * 0.8**AGES)[-1, :2], rtol=1e-5)
    assert result.history.average_metrics["name"].tolist() == [5, 5, 5]


def test_a_continued_run_continues_its_average():
    settings = {"validation": HELD_OUT, "metrics": {"again": loss}}
    average = weighted_sum(schedules.window(3, 12))
    whole, part = train(average, **settings), train(average, epochs=1, **settings)
    columns = [part.history.average_validation_loss]
    for epochs in (2, 3):
        part = train(average, epochs=epochs, state=part.state, **settings)
        columns.append(part.history.average_validation_loss)
    for one, other in zip(*map(jax.tree.leaves, (part.state.average_state, whole.state.average_state)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    np.testing.assert_array_equal(np.concatenate(columns), whole.history.average_validation_loss)


def test_the_callers_parameters_and_state_are_left_alone():
    params = jax.tree.map(jnp.asarray, PARAMS)
    first = train(ema(0.8), params=params, epochs=1)
    train(ema(0.8), state=first.state, epochs=2)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((params, first.average, first.state.average_state)))


@pytest.mark.parametrize(("before", "after"), [(None, ema(0.8)), (weighted_sum(), None)], ids=["none", "one"])
def test_a_state_must_come_from_a_run_with_the_same_average(before, after):
    state = train(before, epochs=1).state
    with pytest.raises((ValueError, TypeError), match="`(state|average)` must"):
        train(after, state=state, epochs=2)


def test_decays_can_be_mapped_over():
    def end(decay):
        run = gdjax.training(loss, average=ema(decay), **SETTINGS)
        return run.epoch(run.init(PARAMS), DATA)[0].average["w"]

    averages = jax.jit(jax.vmap(end))(jnp.array([0.0, 0.5, 0.8], jnp.float32))
    for average, decay in zip(averages, (0.0, 0.5, 0.8), strict=True):
        np.testing.assert_allclose(average, weighted(ALL * float(decay) ** np.maximum(AGES, 0))[4, :2], rtol=1e-5)


@pytest.mark.parametrize(
    "average",
    [
        0.999,
        "ema",
        gdjax.adam,
        ema,
        gdjax.adam(0.1),
        optax.ema(0.9),
        transforms.bias_corrected(ema(0.9)),
        transforms.nesterov(ema(0.9)),
        transforms.running_max(ema(0.9)),
        transforms.ema_of_max(0.9),
        transforms.additive_squares(0.9),
        transforms.ema_of_squares(0.9),
        transforms.sum_of_squares(),
        transforms.ema_of_variance(0.9),
    ],
    ids=lambda average: getattr(average, "__name__", repr(average).split("(")[0]),
)
def test_anything_else_is_refused(average):
    """Also filters that remember no parameters but their squares, whose root nobody takes."""
    with pytest.raises(TypeError, match="`average` must be a filter such as"):
        gdjax.training(loss, average=average, **SETTINGS)
