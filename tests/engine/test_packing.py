"""Packed parameters train as the tree does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import gdjax
from gdjax import transforms

DRAW = np.random.default_rng(0).standard_normal


def tree():
    return {
        "layers": [{"w": jnp.asarray(DRAW((3, 4)), jnp.float32), "b": jnp.zeros(4)} for _ in range(3)],
        "half": jnp.ones((2, 2), jnp.bfloat16),
        "large": jnp.asarray(DRAW((100, 50)), jnp.float32),
        "empty": jnp.zeros((0, 3)),
        "steps": jnp.arange(3),
        "name": "net",
        "scale": jnp.array(2.0),
    }


def test_the_tree_comes_back_as_it_was():
    params = tree()
    packed = gdjax.pack(params)
    assert {name: (buffer.shape, buffer.dtype.name) for name, buffer in packed.buffers.items()} == {
        "float32": ((3 * 16 + 1,), "float32"),
        "bfloat16": ((4,), "bfloat16"),
    }
    assert jax.tree.structure(packed.tree) == jax.tree.structure(params)
    for there, here in zip(jax.tree.leaves(packed.tree), jax.tree.leaves(params), strict=True):
        if isinstance(here, str):
            assert there == here
        else:
            assert there.dtype == here.dtype
            np.testing.assert_array_equal(there, here)
    assert packed.tree["large"] is params["large"]


def test_what_counts_as_small_is_the_callers():
    params = {"a": jnp.ones(5), "b": jnp.ones(6)}
    assert gdjax.pack(params, largest=5).buffers["float32"].shape == (5,)
    assert gdjax.pack(params, largest=6).buffers["float32"].shape == (11,)
    assert gdjax.pack({"a": jnp.ones(9)}, largest=8).buffers == {}
    for wrong in (0, 2.5, True):
        with pytest.raises((TypeError, ValueError), match="`largest` must"):
            gdjax.pack(params, largest=wrong)


@pytest.mark.parametrize(
    "optimizer",
    [
        gdjax.gd(0.05),
        gdjax.momentum(0.05),
        gdjax.adam(0.05),
        gdjax.adamw(0.05, weight_decay=0.1),
        gdjax.lion(0.01),
        gdjax.chain(optax.clip_by_global_norm(0.5), gdjax.rmsprop(0.02)),
    ],
    ids=["gd", "momentum", "adam", "adamw", "lion", "clipped"],
)
def test_a_run_of_packed_parameters_is_the_run_of_the_tree(optimizer):
    x = jnp.asarray(DRAW((50, 3)), jnp.float32)
    y = jnp.sin(x.sum(1))
    params = {"a": {"w": jnp.asarray(DRAW((3, 8)), jnp.float32), "b": jnp.zeros(8)}, "v": jnp.ones(8) / 8}

    def loss(params, batch):
        hidden = jnp.tanh(batch[0] @ params["a"]["w"] + params["a"]["b"][None])
        return jnp.mean((batch[1] - hidden @ params["v"]) ** 2)

    def run(loss, params):
        return gdjax.fit(loss, params, (x, y), optimizer=optimizer, regime=gdjax.mini_batch(8), epochs=5)

    packed = run(lambda packed, batch: loss(packed.tree, batch), gdjax.pack(params))
    plain = run(loss, params)
    np.testing.assert_allclose(packed.history.step_loss, plain.history.step_loss, rtol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), packed.params.tree, plain.params)


def test_gradients_are_one_concatenation_without_pads():
    packed = gdjax.pack([jnp.full(4, float(i)) for i in range(20)])
    gradient = jax.grad(lambda packed: sum(jnp.sum(leaf**3) for leaf in packed.tree))
    np.testing.assert_array_equal(gradient(packed).buffers["float32"], 3.0 * np.repeat(np.arange(20.0), 4) ** 2)
    text = str(jax.make_jaxpr(gradient)(packed))
    assert " pad[" not in text
    assert text.count(" concatenate[") == 1


def test_batches_of_models_and_second_derivatives():
    def loss(packed):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(packed.tree))

    models = jax.vmap(lambda key: gdjax.pack({"a": jax.random.normal(key, (2, 3)), "b": jnp.ones(2)}))(
        jax.random.split(jax.random.key(0), 5)
    )
    assert models.tree["a"].shape == (5, 2, 3)
    assert jax.vmap(loss)(models).shape == (5,)
    one = jax.tree.map(lambda x: x[0], models)
    buffer = one.buffers["float32"]
    _, slope = jax.jvp(jax.grad(loss), (one,), (jax.tree.map(jnp.ones_like, one),))
    np.testing.assert_allclose(slope.buffers["float32"], -jnp.sin(buffer), rtol=1e-5)


def test_sharded_leaves_stay_apart():
    mesh = jax.make_mesh((8,), ("x",))
    spread = jax.device_put(jnp.ones(16), NamedSharding(mesh, PartitionSpec("x")))
    copies = jax.device_put(jnp.ones(4), NamedSharding(mesh, PartitionSpec()))
    packed = gdjax.pack({"spread": spread, "copies": copies, "more": copies})
    assert packed.buffers["float32"].shape == (8,)
    assert packed.tree["spread"] is spread


def test_moments_have_a_tree_as_well():
    params = gdjax.pack([jnp.ones(3), jnp.ones((2, 2))])
    gradients = jax.tree.map(lambda x: jnp.arange(x.size, dtype=x.dtype), params)
    _, memory = transforms.ema(0.9).update(gradients, transforms.ema(0.9).init(params), params)
    trees = jax.tree.leaves(memory, is_leaf=lambda x: hasattr(x, "tree"))
    assert [[leaf.shape for leaf in each.tree] for each in trees if hasattr(each, "tree")] == [[(3,), (2, 2)]]
