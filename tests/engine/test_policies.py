"""What becomes of a step that is not finite: `non_finite=` of `fit` and `training`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules, transforms

PARAMS = {"w": np.array([0.5, -0.5], np.float32), "b": np.float32(0)}
FIELDS = ("trainable", "optimizer_state", "model_state", "average_state")
SOUND, LOSS, GRADIENT, LEAF, UPDATE = range(5)
"""What a row of the data spoils."""


@jax.custom_vjp
def spoil(leaf, gradient):
    """0, whose gradient in every coordinate of the leaf is said to be `gradient`."""
    return jnp.zeros(())


spoil.defvjp(
    lambda leaf, gradient: (jnp.zeros(()), (leaf, gradient)),
    lambda kept, _: (jnp.full_like(kept[0], kept[1]), jnp.zeros_like(kept[1])),
)


def loss(params, batch, *, model_state):
    """Least squares, with a batch norm's mean; a bad row spoils one thing or another, and the model state always."""
    x, y, kinds = batch
    kind = jnp.max(kinds)
    nan = jnp.where(kind == SOUND, 0.0, jnp.nan)
    value = jnp.mean((x @ params["w"] + params["b"] - y) ** 2) + jnp.where(kind == LOSS, nan, 0.0)
    value += spoil(params["w"], jnp.where(kind == GRADIENT, nan, jnp.where(kind == UPDATE, 3e38, 0.0)))
    value += spoil(params["b"], jnp.where(kind == LEAF, nan, 0.0))
    return value, {"mean": 0.9 * model_state["mean"] + 0.1 * jnp.mean(x) + nan, "calls": model_state["calls"] + 1}


def data(rows, bad=None):
    """Rows of which one in `bad`, {row: kind}, spoils its batch."""
    x = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    kinds = np.zeros(rows, np.int32)
    for row, kind in (bad or {}).items():
        kinds[row] = kind
    return x, x @ np.array([1, -2], np.float32) + 3, kinds


def without(table, rows):
    return tuple(np.delete(column, rows, axis=0) for column in table)


MOMENTUM = gdjax.chain(  # counts its updates, remembers gradients, and judges the epochs' losses
    gdjax.heavy_ball(schedules.step_decay(0.05, 5, 0.5)), transforms.reduce_on_plateau(0.5, patience=1, rtol=0.9)
)
AVERAGE = transforms.ema(0.9)
REGIME = gdjax.mini_batch(2, shuffle=False)


def model_state():
    return {"mean": jnp.zeros(()), "calls": jnp.int32(0)}


def train(table, *, policy="skip", epochs=3, **settings):
    settings = {"optimizer": MOMENTUM, "average": AVERAGE, "model_state": model_state()} | settings
    return gdjax.fit(loss, PARAMS, table, regime=REGIME, epochs=epochs, non_finite=policy, **settings)


def bits(tree):
    leaves = jax.tree.leaves(tree)
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if key else x).tobytes() for x, key in zip(leaves, keys, strict=True)]


def moved(state):
    return {name: bits(getattr(state, name)) for name in FIELDS}


@pytest.mark.parametrize("kind", [LOSS, GRADIENT, LEAF], ids=["loss", "gradient", "leaf"])
@pytest.mark.parametrize("batch", range(4))
def test_a_skipped_step_is_as_if_its_batch_were_absent(batch, kind):
    result = train(data(8, {2 * batch + 1: kind}))
    expected = train(without(data(8), [2 * batch, 2 * batch + 1]))
    assert moved(result.state) == moved(expected.state)
    np.testing.assert_array_equal(result.history.loss, expected.history.loss)
    clock, plateau = result.state.optimizer_state
    assert int(clock.count) == int(result.state.model_state["calls"]) == 9
    assert plateau.plateau_scale < 1
    assert (int(result.state.skipped), int(expected.state.skipped)) == (3, 0)
    assert result.history.recorded["skipped"].tolist() == [epoch + (i >= batch) for epoch in range(3) for i in range(4)]


def test_an_update_that_is_not_finite_is_skipped():
    """A finite 3e38 times a rate of 2 is no number."""
    result = train(data(8, {3: UPDATE}), optimizer=gdjax.gd(2.0), average=None, epochs=1)
    assert int(result.state.skipped) == 1
    assert int(result.state.optimizer_state.count) == int(result.state.model_state["calls"]) == 3
    assert all(np.isfinite(leaf).all() for leaf in result.params.values())
    assert np.isfinite(result.history.step_loss).all()


def test_the_loss_of_a_skipped_step_is_told():
    losses = train(data(8, {3: LOSS, 5: GRADIENT}), epochs=2).history.step_loss
    assert np.isnan(losses[[1, 5]]).all()
    assert np.isfinite(losses[[0, 2, 3, 4, 6, 7]]).all()


def test_an_epoch_of_bad_steps_only():
    bad = data(8, dict.fromkeys(range(8), LOSS))
    result = train(bad)
    start = train(bad, epochs=0)
    assert moved(result.state) == moved(start.state)
    assert np.isnan(result.history.loss).all()
    assert int(result.state.skipped) == 12


def test_a_run_goes_on_after_skipped_steps():
    table = data(8, {1: LOSS, 4: LEAF})
    whole, part = train(table), train(table, epochs=1)
    part = train(table, state=part.state)
    assert bits(part.state) == bits(whole.state)
    assert part.history.recorded["skipped"].tolist() == [3, 3, 4, 4, 5, 5, 6, 6]


@functools.cache
def of_seven_rows():
    """(the start of a run, its `steps` and its `epoch` as programs), four batches of which the last is of one row."""
    run = gdjax.training(loss, optimizer=MOMENTUM, regime=REGIME, average=AVERAGE, non_finite="skip")
    steps = jax.jit(lambda state, table, stop: run.steps(state, table, stop, capacity=12))
    return run.init(PARAMS, model_state=model_state()), steps, jax.jit(run.epoch)


@pytest.mark.parametrize("cuts", [range(1, 13), [2, 12], [3, 12], [3, 4, 12], [0, 7, 11, 12]], ids=str)
def test_every_way_of_cutting_a_run_gives_the_same_bits(cuts):
    start, steps, _ = of_seven_rows()
    table = data(7, {2: GRADIENT, 6: LEAF})
    (end, record), state, parts = steps(start, table, 12), start, []
    for stop in cuts:
        state, part = steps(state, table, stop)
        parts.append(jax.tree.map(lambda column, n=int(part.count): column[:n], part._replace(count=part.loss)))
    assert bits(state) == bits(end)
    assert bits(jax.tree.map(lambda *columns: jnp.concatenate(columns), *parts)) == bits(
        record._replace(count=record.loss)
    )


def test_epoch_agrees_with_steps():
    start, steps, epoch = of_seven_rows()
    table, state = data(7, {2: GRADIENT, 6: LEAF}), start
    for _ in range(3):
        state, scanned = epoch(state, table)
    end, record = steps(start, table, 12)
    for name in FIELDS:
        both = getattr(state, name), getattr(end, name)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), *both)
    np.testing.assert_allclose(scanned.loss, record.loss[8:], rtol=1e-5)
    assert scanned.recorded["skipped"].tolist() == record.recorded["skipped"][8:].tolist() == [4, 5, 5, 6]


@pytest.mark.parametrize("bad", [2, 6], ids=["a full batch", "the remainder"])
def test_the_epoch_loss_weighs_the_rows_that_were_seen(bad):
    start, steps, _ = of_seven_rows()
    record = steps(start, data(7, {bad: GRADIENT}), 4)[1]
    losses, weights = np.asarray(record.step_loss[:4]), np.array([2, 2, 2, 1])
    sound = np.arange(4) != bad // 2
    np.testing.assert_allclose(record.loss[3], np.average(losses[sound], weights=weights[sound]), rtol=1e-6)


def diverging(params, batch, *, model_state):
    """Whose gradient is no number from the step on that the data name."""
    x, last = batch
    nan = jnp.where(model_state == last[0], jnp.nan, 0.0)
    return jnp.mean((params["w"] - x) ** 2) + spoil(params["w"], nan), model_state + 1


def until(last, *, policy="raise", epochs=3, validation=False, **settings):
    """A run of five steps an epoch, whose step `last`, counted from 0 over all epochs, is bad."""
    x = np.linspace(-1, 1, 9, dtype=np.float32)
    held_out = {"validation": (x[:5], np.zeros(5, np.int32))} if validation else {}
    settings = {"optimizer": gdjax.heavy_ball(0.1), "regime": REGIME, "model_state": jnp.int32(0)} | settings
    table = x, np.full(9, last, np.int32)
    return gdjax.fit(diverging, {"w": np.float32(1)}, table, epochs=epochs, non_finite=policy, **held_out, **settings)


NEVER = -1


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("last", [0, 3, 4, 5, 12, 14])
def test_raised_is_where_and_the_run_before_it(last, validation):
    place = rf"epoch {last // 5}, step {last % 5} .*`params\['w'\]` became NaN or infinite;"
    with pytest.raises(gdjax.NonFiniteError, match=place) as caught:
        until(last, validation=validation)
    assert isinstance(caught.value, FloatingPointError)
    sound, result = until(NEVER, validation=validation), caught.value.result
    history, epochs = result.history, last // 5
    np.testing.assert_array_equal(history.step_loss, sound.history.step_loss[:last], strict=True)
    np.testing.assert_array_equal(history.learning_rate, sound.history.learning_rate[:last], strict=True)
    np.testing.assert_array_equal(history.loss, sound.history.loss[:epochs], strict=True)
    if validation:
        np.testing.assert_array_equal(history.validation_loss, sound.history.validation_loss[:epochs], strict=True)
    assert int(result.state.optimizer_state.count) == int(result.state.model_state) == last
    if last % 5 == 0:
        expected = until(NEVER, epochs=epochs, validation=validation)
        assert bits(result.params) == bits(expected.params)


def test_kept_a_bad_step_is_made():
    result = until(13, policy="keep")
    assert np.isnan(result.params["w"])
    assert np.isfinite(result.history.step_loss[:14]).all()
    assert int(result.state.optimizer_state.count) == int(result.state.model_state) == 15
    assert int(result.state.skipped) == 0
    assert "skipped" not in result.history.recorded


def test_a_sound_run_is_the_same_under_every_policy():
    kept, *others = (until(NEVER, policy=policy) for policy in ("keep", "skip", "raise"))
    for other in others:
        np.testing.assert_allclose(other.params["w"], kept.params["w"], rtol=1e-6)
        np.testing.assert_allclose(other.history.step_loss, kept.history.step_loss, rtol=1e-6)


@pytest.mark.parametrize("last", [0, 3, 4, 12])
def test_the_state_of_a_raised_run_stands_before_the_bad_step(last):
    with pytest.raises(gdjax.NonFiniteError) as caught:
        until(last)
    state = caught.value.result.state
    assert int(state.epoch) * 5 + int(state.step) == last


@pytest.mark.parametrize("last", [0, 3, 12])
def test_after_a_cure_a_raised_run_goes_on(last):
    with pytest.raises(gdjax.NonFiniteError) as caught:
        until(last)
    cured, sound = until(NEVER, state=caught.value.result.state), until(NEVER)
    assert bits((cured.params, cured.state.optimizer_state)) == bits((sound.params, sound.state.optimizer_state))
    np.testing.assert_array_equal(cured.history.step_loss, sound.history.step_loss[last:])


def test_a_run_that_has_skipped_steps_may_go_on_under_raise():
    skipping = until(2, policy="skip", epochs=1)
    assert int(skipping.state.skipped) == 3  # a skipped step is not counted by the loss, so all that follow are bad
    result = until(NEVER, state=skipping.state, epochs=2)
    assert result.history.step_loss.shape == (5,)
    assert int(result.state.optimizer_state.count) == 7


def test_only_ctrl_c_interrupts():
    with pytest.raises(gdjax.NonFiniteError) as caught:
        until(3)
    assert not caught.value.result.interrupted


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_parameters_stay_finite_where_a_finite_update_takes_them_too_far(policy):
    """3e38 and 1e38 are numbers in float32, their sum is none."""

    arguments = (lambda w, batch: -jnp.mean(w * batch), np.float32(3e38), np.ones(1, np.float32))
    try:
        result = gdjax.fit(*arguments, optimizer=gdjax.gd(1e38), regime=gdjax.full_batch(), epochs=2, non_finite=policy)
    except gdjax.NonFiniteError as error:
        result = error.result
    assert np.isfinite(result.params)


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_never_was_finite_is_no_divergence(epochs):
    """A mask among the parameters, which no gradient moves."""

    def masked(params, batch):
        return jnp.mean((params["w"] - batch) ** 2) + jnp.exp(params["mask"]).sum() * 0

    def train(rate):
        params = {"w": jnp.zeros(()), "mask": jnp.array([-jnp.inf, 0.0])}
        return gdjax.fit(
            masked, params, np.ones(8, np.float32), optimizer=gdjax.adam(rate), regime=REGIME, epochs=epochs
        )

    assert np.isfinite(train(0.1).params["w"])
    with pytest.raises(gdjax.NonFiniteError, match="at epoch 0, step 1 .* the loss was inf"):
        train(1e30)


def test_the_parameter_that_turned_is_named():
    def loss(params, batch):
        return jnp.mean((params["a"] - batch) ** 2) + spoil(params["b"], jnp.where(params["a"] > 0.4, jnp.nan, 0.0))

    params = {"a": np.float32(0), "b": np.zeros(2, np.float32)}
    with pytest.raises(gdjax.NonFiniteError, match=r"step 1 .*, `params\['b'\]` became NaN or infinite; `.result`"):
        gdjax.fit(loss, params, np.ones(8, np.float32), optimizer=gdjax.gd(0.25), regime=REGIME, epochs=1)


def test_a_column_of_the_users_does_not_hide_a_bad_step():
    """Either it is refused, or the bad step is still found."""
    with pytest.raises((gdjax.NonFiniteError, ValueError)):
        until(3, epochs=1, record=lambda *_: {"skipped": jnp.zeros(())})


def test_columns_of_the_users_stand_beside():
    recorded = until(
        3, policy="skip", epochs=1, record=lambda params, gradients, *_: {"gradient": gradients["w"]}
    ).history.recorded
    assert np.isnan(recorded["gradient"]).tolist() == [False, False, False, True, True]
    assert recorded["skipped"].tolist() == [0, 0, 0, 1, 2]


def test_mapped_one_bad_member_leaves_the_others_alone():
    """A rate of 1e30 takes the parameters where their square is no number."""
    rates = np.array([0.1, 1e30, 0.01], np.float32)
    table = data(7)[:2]

    def squares(params, batch):
        return jnp.mean((batch[0] @ params["w"] + params["b"] - batch[1]) ** 2)

    def end(rate):
        run = gdjax.training(squares, optimizer=gdjax.heavy_ball(rate), regime=REGIME, non_finite="skip")
        state, record = run.epoch(run.init(PARAMS), table)
        return state.trainable, state.skipped, record.loss[-1]

    params, skipped, losses = jax.jit(jax.vmap(end))(rates)
    alone = jax.jit(end)
    for member in (0, 2):
        expected, none, expected_loss = alone(rates[member])
        jax.tree.map(lambda a, b, i=member: np.testing.assert_allclose(a[i], b, rtol=1e-5), params, expected)
        np.testing.assert_allclose(losses[member], expected_loss, rtol=1e-5)
        assert int(skipped[member]) == int(none) == 0
    assert 0 < int(skipped[1]) < 4
    assert all(np.isfinite(leaf[1]).all() for leaf in params.values())


@pytest.mark.parametrize("policy", ["ignore", True, None])
def test_another_policy_is_refused(policy):
    with pytest.raises(ValueError, match=f"`non_finite` must be one of 'raise', 'skip', 'keep', got {policy!r}"):
        train(data(8), policy=policy)
