import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import accumulate_gradients

ADAMW = gdjax.adamw(0.1, weight_decay=0.3)
ROWS = [3, 1, 2]
PARAMS = {"w": np.array([1.0, -2.0], np.float32), "b": np.array(0.5, np.float32)}


@jax.jit
def update(transform, gradients, state, params=None, **extra):
    return transform.update(gradients, state, params, **extra)


def draw(seed):
    random = np.random.default_rng(seed)
    return {"w": random.normal(size=2).astype(np.float32), "b": np.array(random.normal(), np.float32)}


def mean(gradients, rows):
    return jax.tree.map(lambda *parts: np.average(parts, axis=0, weights=rows).astype(np.float32), *gradients)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def anything(tree):
    return any(np.any(leaf) for leaf in jax.tree.leaves(tree))


def assert_close(tree, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), tree, expected)


def poisoned(gradient, leaf="w", value=np.nan):
    bad = gradient[leaf].copy()
    bad[(0,) * bad.ndim] = value
    return gradient | {leaf: bad}


@pytest.mark.parametrize("optimizer", [ADAMW, optax.sgd(0.1, momentum=0.9)], ids=["adamw", "optax"])
def test_it_is_one_update_of_the_mean_over_the_rows(optimizer):
    accumulating, bare = accumulate_gradients(optimizer, 3), gdjax.chain(optimizer)
    state, bare_state, params = accumulating.init(PARAMS), bare.init(PARAMS), PARAMS
    for group in range(3):
        gradients = [draw(10 * group + i) for i in range(3)]
        for i, (gradient, rows) in enumerate(zip(gradients, ROWS, strict=True)):
            updates, state = update(accumulating, gradient, state, params, rows=rows)
            assert anything(updates) == (i == 2)
        expected, bare_state = update(bare, mean(gradients, ROWS), bare_state, params)
        assert_close(updates, expected)
        assert_close(state.inner, bare_state[0])
        params = jax.tree.map(np.add, params, updates)


def test_without_rows_all_count_alike():
    accumulating = accumulate_gradients(gdjax.gd(1.0), 2)
    state = accumulating.init(np.float32(0))
    for gradient in (1, 4):
        updates, state = update(accumulating, np.float32(gradient), state)
    assert float(updates) == -2.5


@pytest.mark.parametrize("rows", [1, 7])
def test_every_one_is_the_bare_optimizer(rows):
    accumulating = accumulate_gradients(ADAMW, 1)
    state, bare_state = accumulating.init(PARAMS), ADAMW.init(PARAMS)
    for seed in range(4):
        updates, state = update(accumulating, draw(seed), state, PARAMS, rows=rows)
        expected, bare_state = update(ADAMW, draw(seed), bare_state, PARAMS)
        assert_close((updates, state.inner), (expected, bare_state), rtol=1e-6)


def test_the_optimizer_counts_its_own_updates():
    accumulating = accumulate_gradients(gdjax.gd(schedules.step_decay(1.0, 1, 0.5)), 3)
    state, seen, rates = accumulating.init(np.float32(0)), [], []
    for call in range(9):
        updates, state = update(accumulating, np.float32(1), state, rows=5)
        seen.append(float(updates))
        rates.append(float(transforms.learning_rate(state)))
        assert int(state.inner.count) == (call + 1) // 3
        assert int(state.calls) == (call + 1) % 3
    assert seen == [0, 0, -1, 0, 0, -0.5, 0, 0, -0.25]
    assert rates == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_the_optimizer_is_run_only_when_due():
    accumulating = accumulate_gradients(ADAMW, 2)
    jaxpr = jax.make_jaxpr(accumulating.update)(PARAMS, accumulating.init(PARAMS), PARAMS).jaxpr
    conditional = [equation.primitive.name == "cond" for equation in jaxpr.eqns]
    assert sum(conditional) == 1
    assert ["sqrt" in str(equation) for equation in jaxpr.eqns] == conditional


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("leaf", ["w", "b"])
@pytest.mark.parametrize("place", range(3))
def test_a_poisoned_micro_batch_is_dropped_with_its_rows(place, leaf, value):
    accumulating = accumulate_gradients(ADAMW, 3)
    gradients, state = [draw(i) for i in range(3)], accumulating.init(PARAMS)
    for i, (gradient, rows) in enumerate(zip(gradients, ROWS, strict=True)):
        given = poisoned(gradient, leaf, value) if i == place else gradient
        updates, state = update(accumulating, given, state, PARAMS, rows=rows)
    sound = [i for i in range(3) if i != place]
    average = mean([gradients[i] for i in sound], [ROWS[i] for i in sound])
    assert_close((updates, state.inner), update(ADAMW, average, ADAMW.init(PARAMS), PARAMS))


def test_a_poisoned_group_updates_nothing():
    accumulating = accumulate_gradients(ADAMW, 2)
    state = accumulating.init(PARAMS)
    for seed in range(2):  # a sound group, so that there is something to lose
        _, state = update(accumulating, draw(seed), state, PARAMS, rows=2)
    before = state
    for seed in range(2):
        updates, state = update(accumulating, poisoned(draw(seed)), state, PARAMS, rows=2)
        assert not anything(updates)
    assert bits(state) == bits(before)
    _, state = update(accumulating, draw(2), state, PARAMS, rows=2)
    assert float(state.rows) == 2


def test_a_group_without_rows_updates_nothing():
    accumulating = accumulate_gradients(ADAMW, 2)
    state = accumulating.init(PARAMS)
    for seed in range(2):
        updates, state = update(accumulating, draw(seed), state, PARAMS, rows=0)
    assert not anything(updates)
    assert int(state.inner.count) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_gradients_are_summed_in_float32(dtype):
    small = 2.0**-12
    accumulating = accumulate_gradients(gdjax.gd(1.0), 1025)
    assert jnp.asarray(1, dtype) + jnp.asarray(small, dtype) == 1
    state = accumulating.init(jnp.zeros((), dtype))
    assert state.mean.dtype == jnp.float32

    def step(state, gradient):
        updates, state = accumulating.update(gradient, state)
        return state, updates

    updates = jax.lax.scan(step, state, jnp.asarray([1.0] + [small] * 1024, dtype))[1]
    assert updates.dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(-float(updates[-1]), (1 + 1024 * small) / 1025, rtol=2**-8)


@pytest.mark.parametrize("gradient", [1e-37, 1e20, 1e37])
def test_finite_gradients_have_a_finite_mean(gradient):
    accumulating = accumulate_gradients(gdjax.gd(1.0), 2)
    state = accumulating.init(np.float32(0))
    for _ in range(2):
        updates, state = update(accumulating, np.float32(gradient), state, rows=64)
    np.testing.assert_allclose(updates, -gradient, rtol=1e-6)


def test_mapped_one_poisoned_member_leaves_the_others_alone():
    accumulating = accumulate_gradients(gdjax.gd(0.1), 2)

    def run(first, second, rows):
        _, state = accumulating.update(first, accumulating.init(first), rows=3)
        return accumulating.update(second, state, rows=rows)[0]

    updates = jax.jit(jax.vmap(run))(
        jnp.array([1.0, np.nan, 3.0, np.inf]), jnp.array([5.0, -5.0, np.nan, np.nan]), jnp.array([1, 1, 2, 2])
    )
    np.testing.assert_allclose(updates, [-0.2, 0.5, -0.3, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((gdjax.gd(0.1), 0), ValueError, "`every` must be at least 1, got 0"),
        ((gdjax.gd(0.1), 1.5), TypeError, "`every` must be an integer, got 1.5"),
        ((gdjax.gd(0.1), True), TypeError, "`every` must be an integer, got True"),
        ((gdjax.adam, 2), TypeError, "`optimizer` must be a gradient transformation of gdjax or optax"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        accumulate_gradients(*arguments)


def test_a_string_leaf_is_an_error_with_its_path():
    accumulating = accumulate_gradients(gdjax.gd(0.1), 2)
    state = accumulating.init({"w": jnp.ones(2), "name": jnp.ones(())})
    with pytest.raises(TypeError, match=r"updates\['name'\].*must be an array, got 'float32'"):
        accumulating.update({"w": jnp.ones(2), "name": "float32"}, state)


def squares(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def table(rows):
    x = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    return x, x @ np.array([1, -2], np.float32) + 3


def train(optimizer, batch_size, data, *, epochs=4, **settings):
    regime = gdjax.mini_batch(batch_size, shuffle=False)
    return gdjax.fit(squares, PARAMS, data, optimizer=optimizer, regime=regime, epochs=epochs, **settings)


@pytest.mark.parametrize("rows", [12, 11])
def test_micro_batches_in_a_run_are_the_larger_batch(rows):
    """Six micro-batches of two rows; the last of one row where there are 11."""
    small = train(accumulate_gradients(gdjax.heavy_ball(0.05), 3), 2, table(rows))
    large = train(gdjax.heavy_ball(0.05), 6, table(rows))
    assert_close(small.params, large.params)
    assert int(small.state.optimizer_state.inner.count) == large.history.step_loss.size == 8


@pytest.mark.parametrize("rows", [7, 13])
def test_groups_across_epochs_weigh_every_row_alike(rows):
    """Where the micro-batches don't divide, a group takes the first ones of the next epoch."""
    x, y = (part.astype(np.float64) for part in table(rows))
    result = train(accumulate_gradients(gdjax.heavy_ball(0.05), 3), 2, table(rows))
    w, b, v = np.array([1.0, -2.0]), 0.5, np.zeros(3)
    batches = [slice(start, start + 2) for start in range(0, rows, 2)] * 4
    for first in range(0, len(batches) - 2, 3):
        ids = np.concatenate([np.arange(rows)[batch] for batch in batches[first : first + 3]])
        rest = x[ids] @ w + b - y[ids]
        v = 0.9 * v + np.append(2 * x[ids].T @ rest, 2 * rest.sum()) / len(ids)
        w, b = w - 0.05 * v[:2], b - 0.05 * v[2]
    np.testing.assert_allclose(result.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(result.params["b"], b, rtol=1e-5)


def test_a_poisoned_micro_batch_in_a_run_is_left_out():
    x, y = table(12)
    bad = y.copy()
    bad[4] = np.nan  # the third micro-batch, twice a run
    result = train(
        accumulate_gradients(gdjax.heavy_ball(0.05), 3), 2, (x, bad), epochs=2, check_finite=False, non_finite="keep"
    )
    w, b, v = np.array([1.0, -2.0]), 0.5, np.zeros(3)
    for ids in ([0, 1, 2, 3], [6, 7, 8, 9, 10, 11]) * 2:
        rest = x[ids] @ w + b - y[ids]
        v = 0.9 * v + np.append(2 * x[ids].T @ rest, 2 * rest.sum()) / len(ids)
        w, b = w - 0.05 * v[:2], b - 0.05 * v[2]
    np.testing.assert_allclose(result.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(result.params["b"], b, rtol=1e-5)


def test_a_run_goes_on_within_a_group():
    optimizer = accumulate_gradients(gdjax.heavy_ball(0.05), 3)
    whole, part = train(optimizer, 2, table(7)), train(optimizer, 2, table(7), epochs=1)
    assert int(part.state.optimizer_state.calls) == 1
    part = train(optimizer, 2, table(7), state=part.state)
    assert bits((part.params, part.state.optimizer_state)) == bits((whole.params, whole.state.optimizer_state))
