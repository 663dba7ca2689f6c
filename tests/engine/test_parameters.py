import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.engine.parameters import merge, split


def distance(params, batch):
    return jnp.mean((params["w"] - batch) ** 2)


def train(params, data=(1.0, 3.0), *, loss_fn=distance, optimizer=None, epochs=20):
    optimizer = gdjax.gd(0.25) if optimizer is None else optimizer
    data = np.asarray(data, np.float32) if isinstance(data, tuple) else data
    return gdjax.fit(loss_fn, params, data, optimizer=optimizer, regime=gdjax.full_batch(), epochs=epochs)


HELD = {
    "function": jnp.tanh,
    "string": "relu",
    "numpy string": np.str_("relu"),
    "bytes": b"relu",
    "float": 0.5,
    "integer": 3,
    "boolean": True,
    "none": None,
    "integer array": jnp.arange(3),
    "boolean array": jnp.array([True, False]),
    "numpy integer array": np.arange(3),
    "numpy integer": np.int64(2**40),
    "type": jnp.float32,
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_no_inexact_array_is_held(name):
    leaf = HELD[name]
    held = train({"w": jnp.zeros(3, jnp.float32)[0:1], "leaf": leaf}).params["leaf"]
    if hasattr(leaf, "shape"):
        assert held.dtype == leaf.dtype or isinstance(leaf, np.ndarray)  # JAX's integers may be narrower
        np.testing.assert_array_equal(held, leaf)
    else:
        assert held is leaf or (held == leaf and type(held) is type(leaf))


def test_prng_keys_are_held():
    key = jax.random.key(3)
    params = train({"w": jnp.zeros(1), "key": key}).params
    assert params["key"].dtype == key.dtype
    assert jnp.all(jax.random.key_data(params["key"]) == jax.random.key_data(key))


def test_equal_leaves_of_different_types_are_not_mixed_up():
    kinds = [type(train({"w": jnp.zeros(1), "n": n}, epochs=1).params["n"]) for n in (1, True, 1.0)]
    assert kinds == [int, bool, float]


def test_split_and_merge_are_inverse():
    params = {
        "a": (jnp.ones(2), "text"),
        "b": [None, np.float32(2.0), 3],
        "c": jnp.arange(2),
        "d": jnp.ones(1, jnp.complex64),
    }
    trainable, held = split(params)
    assert [leaf.shape for leaf in jax.tree.leaves(trainable)] == [(2,), (), (1,)]
    merged = merge(trainable, held)
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    assert all(one is other for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(params), strict=True))


def test_the_callers_parameters_stay_usable():
    params = {"w": jnp.zeros(1)}
    result = train(params)
    assert params["w"].tolist() == [0.0]
    assert (params["w"] + 1).tolist() == [1.0]
    np.testing.assert_allclose(result.params["w"], [2.0], rtol=1e-5)
    train(params)  # and a second time


def test_one_array_used_twice():
    shared = jnp.zeros(1)

    def loss(params, batch):
        return distance({"w": params["w"]}, batch) + distance({"w": 2 * params["v"]}, batch)

    params = train({"w": shared, "v": shared}, loss_fn=loss, optimizer=gdjax.gd(0.1), epochs=60).params
    np.testing.assert_allclose([params["w"][0], params["v"][0]], [2.0, 1.0], rtol=1e-4)
    assert shared.tolist() == [0.0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("optimizer", [gdjax.gd(0.25), gdjax.adam(0.125)], ids=["gd", "adam"])
def test_narrow_parameters_keep_their_dtype_and_learn(dtype, optimizer):
    data = jnp.array([1.0, 3.0], dtype)
    result = train({"w": jnp.zeros(1, dtype)}, data, optimizer=optimizer, epochs=60)
    assert result.params["w"].dtype == dtype
    assert abs(float(result.params["w"][0]) - 2) < 0.1
    assert result.history.step_loss.dtype == np.float32
    assert np.all(np.isfinite(result.history.step_loss))


@pytest.mark.parametrize("optimizer", [gdjax.gd(0.25), gdjax.adam(0.1)], ids=["gd", "adam"])
def test_complex_parameters_learn(optimizer):
    def loss(params, batch):
        return jnp.mean(jnp.abs(params["w"] - batch) ** 2)

    data = jnp.array([1 + 2j, 3 - 4j], jnp.complex64)
    result = train({"w": jnp.zeros(1, jnp.complex64)}, data, loss_fn=loss, optimizer=optimizer, epochs=150)
    np.testing.assert_allclose(result.params["w"], [2 - 1j], atol=0.05)
    assert result.history.loss[-1] < result.history.loss[0] - 4


def traces(weight):
    """How often a run traces its loss."""
    seen = []

    def loss(params, batch):
        seen.append(1)
        return distance(params, batch)

    train({"w": weight}, loss_fn=loss, epochs=5)
    return len(seen)


@pytest.mark.parametrize("weight", [jnp.array(0.0), jnp.asarray(0.0), np.float32(0.0), np.zeros(())], ids=repr)
def test_every_kind_of_array_is_traced_as_often(weight):
    assert traces(weight) == traces(jnp.zeros(())) > 0
