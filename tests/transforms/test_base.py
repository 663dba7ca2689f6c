"""Transforms as pytrees, and what they say about trees that do not match."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import transforms


def test_leaves_are_the_hyperparameters_once_each():
    chain = gdjax.chain(optax.clip(1.0), gdjax.adam(0.1, b1=0.75, b2=0.5, eps=0.25), transforms.ema(0.875))
    assert sorted(jax.tree.leaves(chain)) == [0.0, 0.1, 0.125, 0.25, 0.25, 0.5]


def test_a_schedules_numbers_are_leaves_too():
    assert sorted(jax.tree.leaves(gdjax.gd(gdjax.schedules.inverse_time_decay(0.1, 2.0, transition_steps=3)))) == [
        0.1,
        2,
        3,
    ]


def test_any_object_may_stand_for_a_leaf():
    mapped = jax.tree.map(lambda leaf: "anything", gdjax.adam(0.1))
    assert jax.tree.leaves(mapped) == ["anything"] * 5
    assert isinstance(mapped, optax.GradientTransformationExtraArgs)


def test_a_vector_leaf_is_an_error_outside_vmap():
    optimizer = jax.tree.map(lambda leaf: jnp.full(3, leaf), gdjax.gd(0.1))
    with pytest.raises(ValueError, match=r"`learning_rate` must be a scalar, got an array of shape \(3,\)"):
        optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))


def test_chain_applies_in_order():
    chain = gdjax.chain(optax.clip(1.0), transforms.scale_by_learning_rate(0.5), optax.scale(3.0))
    updates, state = chain.update(jnp.array([4.0, 0.5]), chain.init(jnp.zeros(2)))
    assert updates.tolist() == [-1.5, -0.75]
    assert len(state) == 3


def test_the_empty_chain_is_the_identity():
    updates, _ = gdjax.chain().update(jnp.array([4.0]), gdjax.chain().init(jnp.zeros(1)))
    assert updates.tolist() == [4.0]


def test_chain_hands_on_params_and_extra_arguments():
    def update(updates, state, params=None, *, value, **extra):
        return jax.tree.map(lambda p: p * value, params), state

    foreign = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    chain = gdjax.chain(gdjax.gd(0.1), foreign)
    updates, _ = chain.update(jnp.ones(2), chain.init(jnp.ones(2)), jnp.full(2, 3.0), value=2.0, other=1)
    assert updates.tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("transform", "shown"),
    [(gdjax.adam, "still has to be called"), (0.1, "got 0.1"), (None, "got None"), ("adam", "got 'adam'")],
)
def test_chain_takes_transforms_only(transform, shown):
    with pytest.raises(
        TypeError, match=rf"`transforms\[1\]` must be a gradient transformation of gdjax or optax.*{shown}"
    ):
        gdjax.chain(optax.identity(), transform)


PARAMS = {"layer": {"w": jnp.ones((3, 1)), "b": jnp.ones(2)}}
MISMATCHES = {
    "missing": ({"layer": {"w": jnp.ones((3, 1))}}, ValueError, r"has nothing at `updates\['layer'\]\['b'\]`"),
    "none": ({"layer": {"w": jnp.ones((3, 1)), "b": None}}, ValueError, r"nothing at `updates\['layer'\]\['b'\]`"),
    "extra": (
        {"layer": {"w": jnp.ones((3, 1)), "b": jnp.ones(2), "c": jnp.ones(2)}},
        ValueError,
        r"extra leaf at `updates\['layer'\]\['c'\]`",
    ),
    "shape": (
        {"layer": {"w": jnp.ones((3, 4)), "b": jnp.ones(2)}},
        ValueError,
        r"`updates\['layer'\]\['w'\]` must have the shape of `params\['layer'\]\['w'\]`, \(3, 1\), got \(3, 4\)",
    ),
    "string": (
        {"layer": {"w": jnp.ones((3, 1)), "b": "float32"}},
        TypeError,
        r"`updates\['layer'\]\['b'\]` must be an array, got 'float32'",
    ),
    "container": ([jnp.ones((3, 1)), jnp.ones(2)], ValueError, "`updates` must match `params`"),
}
OPTIMIZERS = [gdjax.gd, gdjax.momentum, gdjax.heavy_ball, gdjax.adagrad, gdjax.rmsprop, gdjax.adam]


@pytest.mark.parametrize("mismatch", MISMATCHES)
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_gradients_that_do_not_match_the_parameters(make, mismatch):
    updates, error, message = MISMATCHES[mismatch]
    optimizer = make(0.1)
    state = optimizer.init(PARAMS)
    with pytest.raises(error, match=message):
        optimizer.update(updates, state, PARAMS)
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda state: optimizer.update(updates, state, PARAMS), state)


@pytest.mark.parametrize("mismatch", MISMATCHES)
@pytest.mark.parametrize("make", OPTIMIZERS[1:])
def test_gradients_that_do_not_match_the_memory(make, mismatch):
    updates, error, message = MISMATCHES[mismatch]
    with pytest.raises(error, match=message):
        make(0.1).update(updates, make(0.1).init(PARAMS))


@pytest.mark.parametrize("make", OPTIMIZERS[1:])
def test_parameters_that_are_no_arrays(make):
    with pytest.raises(TypeError, match=r"`params\['name'\]` must be an array, got 'relu'"):
        make(0.1).init({"w": jnp.ones(2), "name": "relu"})


def test_numpy_leaves_are_arrays():
    optimizer = gdjax.adam(0.1)
    updates, _ = optimizer.update({"w": np.ones(2, np.float32)}, optimizer.init({"w": np.ones(2, np.float32)}))
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_scale_by_learning_rate_steps_downhill(rate):
    scale = transforms.scale_by_learning_rate(rate)
    updates, _ = scale.update(jnp.array([1.0, -2.0]), scale.init(None))
    assert updates.tolist() == [-rate, 2 * rate]
