"""Sweeps of models whose leaves are more than arrays of floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
DATA = (X, X @ np.array([1.0, -1.0, 0.5], np.float32))


def init(key):
    a, b = jax.random.split(key)
    return {"w": jax.random.normal(a, (3,)), "activation": jnp.tanh, "name": "net", "key": b, "order": jnp.arange(3)}


def loss(params, batch):
    x, y = batch
    noise = 0.1 * jax.random.normal(params["key"], y.shape)
    return jnp.mean((params["activation"](x[:, params["order"]] @ params["w"]) + noise - y) ** 2)


@pytest.mark.parametrize("memory", [None, 4000], ids=["at once", "in pieces"])
def test_functions_words_and_keys_are_held(memory):
    rates = np.linspace(0.01, 0.2, 7)
    given = {"regime": gdjax.mini_batch(8), "epochs": 3}
    found = gdjax.sweep(
        loss, init, DATA, optimizer=gdjax.gd, grid={"learning_rate": rates}, seeds=(0, 5), memory=memory, **given
    )
    for setting, seed in ((2, 0), (6, 1)):
        one = gdjax.fit(loss, init, DATA, optimizer=gdjax.gd(rates[setting]), seed=(0, 5)[seed], **given)
        params = found.params_of(setting, seed)
        assert (params["activation"], params["name"]) == (jnp.tanh, "net")
        np.testing.assert_allclose(params["w"], one.params["w"], rtol=1e-5)
        assert (jax.random.key_data(params["key"]) == jax.random.key_data(one.params["key"])).all()
        np.testing.assert_allclose(loss(params, DATA), loss(one.params, DATA), rtol=1e-5)
    assert found.best().params["activation"] is jnp.tanh
