import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import skip_non_finite
from gdjax.transforms.non_finite import all_finite

PARAMS = {"w": np.array([1.0, -2.0], np.float32), "b": np.array(0.5, np.float32)}
OPTIMIZERS = {
    "radam": gdjax.radam(schedules.step_decay(0.1, 1, 0.5)),
    "accumulating": transforms.accumulate_gradients(gdjax.gd(0.1), 2),
    "rounding": gdjax.chain(gdjax.momentum(0.1), transforms.stochastic_rounding(), transforms.kahan()),
}


@jax.jit
def update(transform, gradients, state, params=None):
    return transform.update(gradients, state, params)


def draw(seed):
    random = np.random.default_rng(seed)
    return {"w": random.normal(size=2).astype(np.float32), "b": np.array(random.normal(), np.float32)}


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def walk(optimizer, gradients):
    """(parameters, the optimizer's own state, steps skipped) after all gradients."""
    skipping = skip_non_finite(optimizer)
    params, state = PARAMS, skipping.init(PARAMS)
    for gradient in gradients:
        updates, state = update(skipping, gradient, state, params)
        params = jax.tree.map(np.add, params, updates)
    return params, state.inner, int(state.skipped)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_skipped_step_leaves_no_trace(optimizer):
    sound = [draw(seed) for seed in range(6)]
    nan, infinite, negative = (draw(9) | {"b": np.array(bad, np.float32)} for bad in (np.nan, np.inf, -np.inf))
    params, inner, skipped = walk(optimizer, [nan, *sound[:3], infinite, nan, *sound[3:], negative])
    expected, expected_inner, none = walk(optimizer, sound)
    assert (skipped, none) == (4, 0)
    assert bits(params) == bits(expected) != bits(PARAMS)
    assert bits(inner) == bits(expected_inner)


def test_a_finite_gradient_whose_update_is_not_is_skipped():
    skipping = skip_non_finite(gdjax.heavy_ball(1e38))
    state = skipping.init(np.zeros(2, np.float32))
    updates, after = update(skipping, np.array([1, 1e5], np.float32), state)
    assert updates.tolist() == [0, 0]
    assert int(after.skipped) == 1
    assert bits(after.inner) == bits(state.inner)


def test_an_update_too_large_for_its_16_bits_is_skipped():
    skipping = skip_non_finite(gdjax.gd(1e3))
    updates, state = update(skipping, np.float16(100), skipping.init(np.float16(0)))
    assert (float(updates), int(state.skipped), int(state.inner.count)) == (0, 1, 0)


def test_mapped_one_bad_member_leaves_the_others_alone():
    skipping = skip_non_finite(gdjax.heavy_ball(0.1))

    def run(gradients):
        def step(state, gradient):
            updates, state = skipping.update(gradient, state)
            return state, updates

        state, updates = jax.lax.scan(step, skipping.init(jnp.zeros(())), gradients)
        return updates, state.skipped

    gradients = jnp.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0], [np.inf, 2.0, -3.0]])
    updates, skipped = jax.jit(jax.vmap(run))(gradients)
    assert skipped.tolist() == [0, 1, 1]
    np.testing.assert_allclose(
        updates, [[-0.1, -0.29, -0.561], [-0.1, 0, -0.39], [0, -0.2, 0.12]], rtol=1e-5, atol=1e-7
    )


@jax.numpy_dtype_promotion("standard")
def test_a_state_may_hold_a_key():
    skipping = skip_non_finite(optax.add_noise(0.1, 0.5, key=jax.random.key(0)))
    state = skipping.init(np.zeros(2, np.float32))
    _, same = update(skipping, np.full(2, np.nan, np.float32), state)
    updates, other = update(skipping, np.ones(2, np.float32), state)
    data = [jax.random.key_data(each.inner.rng_key).tolist() for each in (state, same, other)]
    assert data[0] == data[1] != data[2]
    assert not np.any(updates == 1)


def test_the_learning_rate_is_read_through_it():
    skipping = skip_non_finite(gdjax.gd(schedules.step_decay(1.0, 1, 0.5)))
    state, rates = skipping.init(np.float32(0)), []
    for gradient in (1, np.nan, 1):
        _, state = update(skipping, np.float32(gradient), state)
        rates.append(float(transforms.learning_rate(state)))
    assert rates == [1.0, 1.0, 0.5]


def test_only_transforms_are_taken():
    with pytest.raises(TypeError, match="`optimizer` must be a gradient transformation of gdjax or optax, got 0.1"):
        skip_non_finite(0.1)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, True),
        ({"a": None}, True),
        ({"a": np.ones((0, 3), np.float32)}, True),
        ({"a": np.ones(3, np.float32), "b": 2}, True),
        ({"a": np.ones(3, np.float32), "b": np.array([1, np.nan], np.float32)}, False),
        ({"a": jnp.array([1.0, -np.inf], jnp.bfloat16)}, False),
        ({"a": np.float16(65504)}, True),
        ({"a": np.array([1, complex(0, np.inf)], np.complex64)}, False),
        ({"a": np.array([1, complex(np.nan, 0)], np.complex64)}, False),
        ({"a": np.zeros(2, jax.dtypes.float0), "b": np.arange(3)}, True),
        ({"a": float("nan")}, False),
    ],
    ids=str,
)
def test_all_finite(tree, expected):
    finite = all_finite(tree)
    assert (finite.shape, finite.dtype) == ((), bool)
    assert bool(finite) == expected
