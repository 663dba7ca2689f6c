import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.transforms import chain, negate, sign


@jax.jit
def update(transform, updates):
    return transform.update(updates, transform.init(updates))[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_signs(dtype):
    given = jnp.asarray([-3.0, 0.0, -0.0, 6e-5, np.inf, -np.inf], dtype)
    assert update(sign(), given).tolist() == [-1, 0, 0, 1, 1, -1]
    assert update(negate(), given).tolist() == (-given).tolist()


def test_the_sign_of_nan_is_nan():
    assert np.isnan(update(sign(), jnp.array([np.nan]))).all()


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_sign_of_a_complex_number_has_length_one(size):
    given = np.array([3 + 4j, -2j, -5, 0]) * size
    np.testing.assert_allclose(update(sign(), given.astype(np.complex64)), [0.6 + 0.8j, -1j, -1, 0], rtol=1e-6)


def test_negating_turns_both_parts():
    assert update(negate(), np.complex64([1 - 2j])).tolist() == [-1 + 2j]


def test_other_leaves_stay():
    given = {"count": np.arange(-1, 2), "none": None, "w": np.float32(-7)}
    for transform, expected in ((sign(), -1), (negate(), 7)):
        updates = update(transform, given)
        assert updates["count"].tolist() == [-1, 0, 1]
        assert updates["none"] is None
        assert float(updates["w"]) == expected


def test_before_an_optimizer_it_climbs():
    climbing, w = chain(negate(), gdjax.heavy_ball(0.1)), jnp.float32(0.1)
    state = climbing.init(w)
    heights = [float(w)]
    for _ in range(5):
        updates, state = climbing.update(jax.grad(lambda w: w**2)(w), state)
        w = w + updates
        heights.append(float(w) ** 2)
    assert heights[1:] == sorted(heights[1:])
    assert heights[-1] > 4 * heights[1]


def test_lion_steps_equally_far_everywhere():
    lion, gradients = gdjax.lion(0.1, weight_decay=0.0), jnp.array([1e-20, -3.0, 0.0, 1e20])
    updates, _ = lion.update(gradients, lion.init(gradients), gradients)
    np.testing.assert_allclose(updates, [-0.1, 0.1, 0, -0.1], rtol=1e-6)
