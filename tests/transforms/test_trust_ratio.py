import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.transforms import trust_ratio
from gdjax.transforms.trust_ratio import norm


@jax.jit
def scaled(updates, params):
    return trust_ratio().update(updates, trust_ratio().init(params), params)[0]


@pytest.mark.usefixtures("x64")
def test_each_leaf_steps_as_far_as_it_is_long():
    random = np.random.default_rng(0)
    shapes = {"w": (3, 4), "b": (4,), "scale": ()}
    params, updates = ({name: random.normal(size=shape) for name, shape in shapes.items()} for _ in range(2))
    for name, step in scaled(updates, params).items():
        ratio = np.sqrt(np.sum(params[name] ** 2)) / np.sqrt(np.sum(updates[name] ** 2))
        np.testing.assert_allclose(step, ratio * updates[name], rtol=1e-14)


@pytest.mark.parametrize(
    ("update", "param"), [([3.0, 4.0], [0.0, 0.0]), ([0.0, 0.0], [3.0, 4.0]), ([0, 0.0], [0, 0.0])]
)
def test_where_either_is_zero_the_update_stays(update, param):
    assert scaled(np.float32(update), np.float32(param)).tolist() == update


@pytest.mark.parametrize("of_update", [1e30, 1e-30, 1.0])
@pytest.mark.parametrize("of_param", [1e30, 1e-30, 1.0])
def test_huge_and_tiny_leaves(of_update, of_param):
    """No square fits into float32, and the ratio itself may not, but the step does."""
    step = scaled(np.float32([3, -4]) * np.float32(of_update), np.float32([0, 5]) * np.float32(of_param))
    np.testing.assert_allclose(step, np.array([3.0, -4.0]) * of_param, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_leaves_are_measured_in_float32(dtype):
    """300² is too large for float16, 2000 numbers too many to count for bfloat16."""
    param, update = jnp.full(2000, 300, dtype), jnp.full(2000, 0.5, dtype)
    step = scaled(update, param)
    assert step.dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(np.float64(step), 300)


def test_a_complex_leaf_has_one_length():
    step = scaled(np.complex64([3j, 4]), np.complex64([0, 6 + 8j]))
    np.testing.assert_allclose(step, [6j, 8], rtol=1e-6)


def test_an_empty_leaf_and_one_that_does_not_train():
    params = {"empty": np.zeros((0, 2), np.float32), "count": np.arange(2), "none": None, "w": np.float32([2.0])}
    step = scaled(params | {"w": np.float32([0.5])}, params)
    assert step["empty"].shape == (0, 2)
    assert step["count"].tolist() == [0, 1]
    assert step["none"] is None
    assert step["w"].tolist() == [2.0]


NORM = jax.jit(jax.value_and_grad(norm))


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e30])
def test_the_norm_and_its_gradient(size):
    value, slope = NORM(np.float32([3, 0, -4]) * np.float32(size))
    np.testing.assert_allclose(value, 5 * size, rtol=1e-6)
    np.testing.assert_allclose(slope, [0.6, 0, -0.8] if size else [0, 0, 0], rtol=1e-6, atol=1e-7)


def test_what_is_not_finite_stays_so():
    for bad in (np.nan, np.inf):
        assert not np.isfinite(scaled(np.float32([1, bad]), np.float32([1, 1]))).all()


def test_without_parameters_is_an_error():
    with pytest.raises(
        ValueError, match="`params` must be given to `update`, whose norms set the trust ratio, got None"
    ):
        jax.eval_shape(lambda u: trust_ratio().update(u, trust_ratio().init(u)), jnp.ones(2))


def test_another_shape_is_an_error():
    with pytest.raises(
        ValueError, match=r"`updates\['w'\]` must have the shape of `params\['w'\]`, \(3, 1\), got \(3, 4\)"
    ):
        trust_ratio().update({"w": jnp.ones((3, 4))}, trust_ratio().init(None), {"w": jnp.ones((3, 1))})


def test_lamb_is_scaled_before_the_rate():
    """A first step of Adam is of ones, so that each coordinate moves by the rate times ‖θ‖/√n."""
    optimizer, params = gdjax.lamb(0.01, eps=0.0), {"a": jnp.full(4, 3.0), "b": jnp.array([5.0])}
    gradients = {"a": jnp.full(4, 1e-3), "b": jnp.array([-7.0])}
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], np.full(4, -0.03), rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [0.05], rtol=1e-6)
