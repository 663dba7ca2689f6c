"""Updates that 16-bit parameters would lose, and memories that are asked for in 16 bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import transforms
from gdjax.transforms import kahan, stochastic_rounding

SIXTEEN = ["bfloat16", "float16"]


@jax.jit
def update(transform, updates, state, params):
    return transform.update(updates, state, params)


@functools.partial(jax.jit, static_argnames="updates_dtype")
def walk(transform, params, updates, updates_dtype):
    """(parameters, state) after all updates, as one scan."""

    def step(carry, update):
        params, state = carry
        moves, state = transform.update(update.astype(updates_dtype), state, params)
        return (optax.apply_updates(params, moves), state), None

    with jax.numpy_dtype_promotion("standard"):  # optax adds a float32 update to 16-bit parameters
        return jax.lax.scan(step, (params, transform.init(params)), updates)[0]


def spacing(params):
    """How far the next number away from zero is."""
    params = jnp.abs(params)
    return np.float64(jnp.nextafter(params, jnp.asarray(np.inf, params.dtype))) - np.float64(params)


def hundred_times(transform, dtype, updates_dtype, size=1):
    """Where ones arrive after a hundred updates of −1e-3."""
    params, _ = walk(transform, jnp.ones(size, dtype), jnp.full((100, size), -1e-3), updates_dtype)
    assert params.dtype == jnp.dtype(dtype)
    return np.float64(params)


@pytest.mark.parametrize("updates_dtype", ["bfloat16", "float32"])
def test_a_hundred_small_updates_arrive(updates_dtype):
    assert hundred_times(transforms.chain(), "bfloat16", updates_dtype) == 1
    for memory in (None, "bfloat16"):
        np.testing.assert_allclose(
            hundred_times(kahan(accumulator_dtype=memory), "bfloat16", updates_dtype), 0.9, atol=2**-9
        )
    rounded = hundred_times(stochastic_rounding(), "bfloat16", updates_dtype, size=1000)
    assert len(set(rounded.tolist())) > 5
    # A step is 2⁻⁸ with probability 0.256: the deviation is √(100 · 0.256 · 0.744) of these.
    np.testing.assert_allclose(rounded.mean(), 0.9, atol=4 * 2**-8 * np.sqrt(19 / 1000) + 1e-4)
    np.testing.assert_allclose(rounded.std(), 2**-8 * np.sqrt(19), rtol=0.2)


@pytest.mark.parametrize("updates_dtype", ["float16", "float32"])
def test_float16_drifts_without_help(updates_dtype):
    """It is finer, so updates are not lost, but each is rounded the same way."""
    assert abs(hundred_times(transforms.chain(), "float16", updates_dtype) - 0.9) > 2e-3
    assert abs(hundred_times(kahan(), "float16", updates_dtype) - 0.9) < 2.5e-4
    assert abs(hundred_times(stochastic_rounding(), "float16", updates_dtype, size=1000).mean() - 0.9) < 2e-4


@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize(
    ("dtype", "updates_dtype"),
    [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float16", "float16"), ("float32", "float32")],
)
def test_parameters_and_debt_hold_all_that_was_given(dtype, updates_dtype, scale):
    random = np.random.default_rng(0)
    start = jnp.asarray(random.normal(size=40) * 10 ** random.uniform(-3, 1, 40), dtype)
    updates = jnp.asarray(random.normal(size=(200, 40)) * scale, updates_dtype)
    params, state = walk(kahan(), start, updates.astype(jnp.float32), updates_dtype)
    assert state.owed.dtype == jnp.float32
    total = np.float64(start) + np.float64(updates).sum(axis=0)
    np.testing.assert_allclose(np.float64(params) + np.float64(state.owed), total, rtol=0, atol=2e-6 * scale + 1e-8)
    plain, _ = walk(transforms.chain(), start, updates.astype(jnp.float32), updates_dtype)
    lost, kept = (np.abs(np.float64(each) - total) for each in (plain, params))
    assert np.median(lost) > 3 * np.median(kept)


def test_a_debt_that_an_update_alone_was_compiled_for():
    """The sum θ + u then is another program's, and rounds by itself."""
    random = np.random.default_rng(1)
    params = start = jnp.asarray(random.normal(size=40), jnp.bfloat16)
    updates = jnp.asarray(random.normal(size=(30, 40)), jnp.bfloat16)
    state = kahan().init(start)
    for each in updates:
        moves, state = update(kahan(), each, state, params)
        params = params + moves
    total = np.float64(start) + np.float64(updates).sum(axis=0)
    np.testing.assert_allclose(np.float64(params) + np.float64(state.owed), total, rtol=0, atol=1e-5)


def test_float32_parameters_gain_too():
    params, _ = walk(kahan(), jnp.ones(1), jnp.full((1000, 1), 2e-8), "float32")
    plain, _ = walk(transforms.chain(), jnp.ones(1), jnp.full((1000, 1), 2e-8), "float32")
    assert float(plain[0]) == 1
    np.testing.assert_allclose(params, 1 + 2e-5, rtol=1e-7)


@pytest.mark.parametrize("updates_dtype", ["bfloat16", "float32"])
def test_a_16_bit_debt(updates_dtype):
    start, updates = jnp.linspace(0.5, 2, 16, dtype=jnp.bfloat16), jnp.full((300, 16), 3e-4)
    params, state = walk(kahan(accumulator_dtype="bfloat16"), start, updates, updates_dtype)
    given = np.float64(jnp.asarray(3e-4, updates_dtype)) * 300
    assert state.owed.dtype == jnp.bfloat16
    np.testing.assert_array_less(np.abs(np.float64(params) - np.float64(start) - given), spacing(params))


def neighbours(exact, dtype):
    """The numbers of `dtype` below and above, in float64."""
    nearest = jnp.asarray(exact, dtype)
    up, down = (np.float64(jnp.nextafter(nearest, jnp.asarray(end, dtype))) for end in (np.inf, -np.inf))
    nearest = np.float64(nearest)
    return np.where(nearest <= exact, nearest, down), np.where(nearest >= exact, nearest, up)


@pytest.mark.parametrize(
    ("dtype", "updates_dtype", "size"),
    [
        *(("bfloat16", "bfloat16", 0.05), ("bfloat16", "float32", 0.05), ("bfloat16", "float32", 50.0)),
        *(("float16", "float16", 0.05), ("float16", "float32", 0.05), ("float16", "float32", 50.0)),
    ],  # 16-bit updates larger than the parameter cannot hold the move: the docstring says so
)
def test_stochastic_rounding_is_to_a_neighbour_and_right_in_the_mean(dtype, updates_dtype, size):
    """150 pairs of parameter and update, up to `size` times as large, each rounded 2000 times."""
    random, count = np.random.default_rng(0), 2000
    params = random.normal(size=150) * 10 ** random.uniform(-2, 1, 150)
    updates = jnp.asarray(params * size * random.uniform(-1, 1, 150), updates_dtype)
    params = jnp.asarray(params, dtype)
    many = jnp.repeat(params, count), jnp.repeat(updates, count)[None].astype(jnp.float32)
    reached = np.float64(walk(stochastic_rounding(3), *many, updates_dtype)[0]).reshape(150, count)
    exact = np.float64(params) + np.float64(updates)
    below, above = neighbours(exact, dtype)
    assert np.all((reached == below[:, None]) | (reached == above[:, None]))
    gap = np.where(above > below, above - below, 1)
    share = (exact - below) / gap
    error = gap * np.sqrt(share * (1 - share) / count)
    off = (reached.mean(axis=1) - exact) / np.maximum(error, gap / count)
    assert np.abs(off).max() < 4.5
    assert np.sqrt(np.mean(off**2)) < 1.2


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_nothing_becomes_infinite_at_the_largest_number(dtype):
    largest = float(jnp.finfo(dtype).max)
    params = jnp.asarray([largest, -largest] * 500, dtype)
    updates = np.tile([[0.0], [1e-3], [1e-4 * largest], [-1e-4 * largest]], 1000).astype(np.float32)
    for each in updates:
        reached, _ = walk(stochastic_rounding(), params, each[None], "float32")
        assert np.isfinite(np.float64(reached)).all()


def test_an_overflow_or_nan_is_what_it_would_be():
    params = jnp.asarray([3e38, 1, 1], jnp.bfloat16)
    reached, _ = walk(stochastic_rounding(), params, jnp.asarray([[3e38, np.nan, np.inf]]), "float32")
    np.testing.assert_array_equal(np.float64(reached), [np.inf, np.nan, np.inf])


def test_float32_parameters_are_left_alone():
    params = {"wide": jnp.ones(3), "narrow": jnp.ones(3, jnp.bfloat16), "count": jnp.arange(3)}
    updates = {"wide": jnp.full(3, 1e-3), "narrow": jnp.full(3, 1e-3), "count": jnp.arange(3)}
    moves, _ = update(stochastic_rounding(), updates, stochastic_rounding().init(params), params)
    assert moves["wide"].tolist() == updates["wide"].tolist()
    assert moves["count"].tolist() == [0, 1, 2]
    assert set(moves["narrow"].tolist()) <= {0.0, 2.0**-7}


@jax.jit
def roundings(seed):
    """[leaves · steps, coordinates]: which of them were rounded up."""
    rounding, params = stochastic_rounding(seed), {name: jnp.ones(64, jnp.bfloat16) for name in "ab"}
    updates = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0**-8), params)

    def step(state, _):
        moves, state = rounding.update(updates, state, params)
        return state, jnp.stack([moves["a"] > 0, moves["b"] > 0])

    return jax.lax.scan(step, rounding.init(params), length=3)[1].reshape(6, 64)


def test_roundings_follow_from_seed_step_and_leaf_alone():
    ways = [np.asarray(roundings(seed)) for seed in (0, 1, 2**31 - 1)]
    assert np.array_equal(ways[0], roundings(0))
    rows = np.concatenate(ways)
    agreement = (rows[:, None] == rows[None]).mean(axis=-1)[~np.eye(len(rows), dtype=bool)]
    assert agreement.max() < 0.8  # 0.5 ± 0.06 where they are independent
    assert abs(agreement.mean() - 0.5) < 0.03


def test_the_largest_seed_runs():
    params, _ = walk(stochastic_rounding(2**32 - 1), jnp.ones(8, jnp.bfloat16), jnp.full((1, 8), 2.0**-8), "float32")
    assert set(params.tolist()) <= {1.0, 1 + 2.0**-7}


def test_seeds_can_be_mapped_over():
    mapped = jax.vmap(roundings)(jnp.array([5, 6]))
    for way, seed in zip(mapped, (5, 6), strict=True):
        assert np.array_equal(way, roundings(seed))


def test_the_count_wraps_around():
    rounding, params = stochastic_rounding(), jnp.ones(4, jnp.bfloat16)
    state = rounding.init(params)._replace(count=jnp.int32(2**31 - 1))
    _, state = update(rounding, params, state, params)
    assert int(state.count) == -(2**31)
    moves, _ = update(rounding, params, state, params)
    assert np.isfinite(np.float64(moves)).all()


@pytest.mark.parametrize("rounding", [kahan(), stochastic_rounding()], ids=["kahan", "stochastic"])
def test_without_parameters_is_an_error(rounding):
    with pytest.raises(ValueError, match="`params` must be given to `update`, whose rounding is at stake, got None"):
        rounding.update(jnp.ones(2), rounding.init(jnp.ones(2)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: kahan(accumulator_dtype="int32"), TypeError, "`accumulator_dtype` must be a float dtype, got 'int32'"),
        (lambda: kahan(accumulator_dtype=3), TypeError, "`accumulator_dtype` must be a float dtype, got 3"),
        (lambda: stochastic_rounding(-1), ValueError, "`seed` must be at least 0, got -1"),
        (lambda: stochastic_rounding(0.5), TypeError, "`seed` must be an integer, got 0.5"),
        (lambda: stochastic_rounding(2**32), ValueError, "`seed` must be at most 4294967295"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def wave():
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, size=(64, 1)).astype(np.float32)
    y = (np.sin(2 * x[:, 0]) + 0.1 * random.normal(size=64)).astype(np.float32)
    sizes = {"a": ((1, 16), 1), "b": ((16,), 0.25), "c": ((16,), 1)}
    return (x, y), {name: (random.normal(size=shape) * scale) for name, (shape, scale) in sizes.items()}


def wave_loss(params, batch):
    """A network of one hidden layer, computed in float32 whatever its parameters are kept in."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    hidden = jnp.tanh(batch[0] @ params["a"] + params["c"][None])
    return jnp.mean((hidden @ params["b"] - batch[1]) ** 2)


def wave_trained(dtype, *last):
    """The loss after 8000 steps of Adam, of parameters kept in `dtype`."""
    data, params = wave()
    optimizer = gdjax.chain(gdjax.adam(3e-4), *last)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    run = {"optimizer": optimizer, "regime": gdjax.full_batch(), "epochs": 8000}
    return float(wave_loss(gdjax.fit(wave_loss, params, data, **run).params, data))


def test_a_bfloat16_network_learns_what_a_float32_one_does():
    best, plain = wave_trained("float32"), wave_trained("bfloat16")
    assert plain > 10 * best
    for last in (kahan(), stochastic_rounding(1)):
        np.testing.assert_allclose(wave_trained("bfloat16", last), best, rtol=0.01)


MEMORIES = {
    "momentum": lambda dtype: gdjax.momentum(0.1, accumulator_dtype=dtype),
    "adam": lambda dtype: gdjax.adam(0.1, accumulator_dtype=dtype),
    "amsgrad": lambda dtype: gdjax.amsgrad(0.1, accumulator_dtype=dtype),
    "adamax": lambda dtype: gdjax.adamax(0.1, accumulator_dtype=dtype),
    "yogi": lambda dtype: gdjax.yogi(0.1, accumulator_dtype=dtype),
    "nadam": lambda dtype: gdjax.nadam(0.1, accumulator_dtype=dtype),
    "adadelta": lambda dtype: gdjax.adadelta(0.1, accumulator_dtype=dtype),
    "lion": lambda dtype: gdjax.lion(0.1, accumulator_dtype=dtype),
    "rmsprop": lambda dtype: gdjax.rmsprop(0.1, centered=True, momentum=0.9, accumulator_dtype=dtype),
    "kahan": lambda dtype: kahan(accumulator_dtype=dtype),
}
every_memory = pytest.mark.parametrize("make", MEMORIES.values(), ids=MEMORIES)


def dtypes_of_memories(transform, params):
    """Those of the state's arrays [2, 3], before and after an update, which must not change them."""

    def shapes(params):
        state = transform.init(params)
        return state, transform.update(params, state, params)[1]

    before, after = jax.eval_shape(shapes, params)
    assert jax.tree.map(lambda leaf: leaf.dtype, before) == jax.tree.map(lambda leaf: leaf.dtype, after)
    return {str(leaf.dtype) for leaf in jax.tree.leaves(before) if leaf.shape == (2, 3)}


@every_memory
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memories_are_kept_in_the_dtype_asked_for(make, dtype):
    assert dtypes_of_memories(make("bfloat16"), jax.ShapeDtypeStruct((2, 3), dtype)) == {"bfloat16"}


@pytest.mark.usefixtures("x64")
@every_memory
@pytest.mark.parametrize(
    ("dtype", "memory", "expected"),
    [
        ("float64", "float32", "float32"),
        ("float64", None, "float64"),
        ("bfloat16", "float64", "float64"),
        ("bfloat16", None, "float32"),
    ],
)
def test_with_x64_on_too(make, dtype, memory, expected):
    assert dtypes_of_memories(make(memory), jax.ShapeDtypeStruct((2, 3), dtype)) == {expected}


def test_the_mean_of_complex_gradients_stays_complex():
    dtypes = dtypes_of_memories(gdjax.adam(0.1, accumulator_dtype="bfloat16"), jnp.ones((2, 3), jnp.complex64))
    assert dtypes == {"complex64", "bfloat16"}


def test_mu_dtype_is_that_of_the_mean_alone():
    mean = gdjax.adam(0.1, mu_dtype="bfloat16").init(jnp.ones((2, 3))).inner[0]
    assert mean.direction.filter.memory.dtype == jnp.bfloat16
    assert mean.size.filter.memory.dtype == jnp.float32


@pytest.mark.parametrize(
    ("memory", "size"), [*(("bfloat16", size) for size in (1e-2, 1.0, 1e3)), ("float16", 1.0)]
)  # a float16 memory of squares holds gradients from 1e-2 to 255, as the docstring says
def test_a_16_bit_memory_walks_about_the_same_way(memory, size):
    gradients = jnp.asarray(np.random.default_rng(0).normal(1, 0.5, size=(50, 4)) * size, jnp.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def path(memory):
        optimizer = gdjax.adam(0.1, accumulator_dtype=memory)

        def step(state, gradient):
            updates, state = optimizer.update(gradient, state)
            return state, updates

        return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]

    np.testing.assert_allclose(path(memory), path(None), rtol=0.03)


def test_a_float16_memory_of_squares_that_it_cannot_hold_stays_finite():
    optimizer = gdjax.adam(0.1, accumulator_dtype="float16")
    state = optimizer.init(jnp.ones(1))
    for _ in range(5):
        updates, state = optimizer.update(jnp.full(1, 1e3), state)
    assert np.isfinite(updates).all()
