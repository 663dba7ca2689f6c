"""Lanes are `jax.vmap` with the axis elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.sweeps import population
from gdjax.sweeps.lanes import in_lanes

LANES = 5


def cases():
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    w = jnp.linspace(0, 2, 8).reshape(4, 2)

    def products(x, w):
        return x @ w, w.T @ x.T, jnp.einsum("ij,ij->i", x, x), jnp.einsum("ij,kl->ijkl", x, w)

    def reductions(x):
        return x.sum(0), x.max(), jnp.argmax(x, 1), jnp.cumsum(x, 1), jnp.sort(x, 0), jnp.linalg.norm(x)

    def shapes(x):
        return x.T.reshape(2, 6), jnp.concatenate([x, jnp.ones((1, 4))]), x[:, None, 1:3], jnp.pad(x, 1), x[::-1]

    def bounded_loop(x):
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[2] * 2, jnp.sin(c[1])), (0, x, x + 1))

    def own_ends(x):
        return jax.lax.while_loop(lambda c: c[1].sum() < 50, lambda c: (c[0] + 1, c[1] + 1), (0, x))

    def scans(x):
        def body(carry, row):
            return carry * row + 1, (carry, row.sum(), 7.0)

        return jax.lax.scan(body, jnp.ones(4), x, reverse=True)

    def branches(x, i):
        return jax.lax.cond(i > 1, lambda x: (x + 1, 0.0), lambda x: (2 * x, x.sum()), x)

    def own_branches(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x + 1, lambda x: 2 * x, x)

    def places(x, i):
        row = jax.lax.dynamic_index_in_dim(x, i, keepdims=False)
        put = jax.lax.dynamic_update_index_in_dim(x, row * 2, 0, 0)
        return row, put, x.at[i].set(row + 1), x.at[i, 1].add(3.0), x[i], jnp.take(x, jnp.array([0, 2]), axis=1)

    def own_places(x):
        return x.at[jnp.argmax(x[:, 0])].set(9.0), x[jnp.argmin(x[:, 1])]

    def gradients(x, w):
        return jax.grad(lambda w: jnp.sum(jax.nn.relu(x @ w) ** 2) + jax.nn.softplus(w).sum())(w)

    def recomputed(x, w):
        return jax.grad(lambda w: jax.checkpoint(lambda w: jnp.sin(x @ w).sum())(w))(w)

    one, two = jnp.stack([x + k for k in range(LANES)]), jnp.stack([w * (k + 1) for k in range(LANES)])
    return [
        (products, (one, two), (0, 0)),
        (products, (one, w), (0, None)),
        (products, (x, two), (None, 0)),
        (reductions, (one,), (0,)),
        (shapes, (one,), (0,)),
        (bounded_loop, (one,), (0,)),
        (own_ends, (one,), (0,)),
        (scans, (one,), (0,)),
        (branches, (one, 2), (0, None)),
        (own_branches, (one,), (0,)),
        (places, (one, 1), (0, None)),
        (own_places, (one,), (0,)),
        (gradients, (one, two), (0, 0)),
        (gradients, (x, two), (None, 0)),
        (recomputed, (x, two), (None, 0)),
    ]


@pytest.mark.parametrize(("function", "args", "axes"), [pytest.param(*c, id=c[0].__name__) for c in cases()])
def test_lanes_are_vmap(function, args, axes):
    expected = jax.vmap(function, axes, 0)(*args)
    got = jax.jit(in_lanes(function, axes, 0))(*args)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_what_is_not_mapped_stays_single():
    counter, moved = in_lanes(lambda n, x: (n + 1, x * 2.0), (None, 0), (None, 0))(jnp.array(3), jnp.ones((LANES, 2)))
    assert counter.shape == ()
    assert moved.shape == (LANES, 2)


def test_no_array_of_the_record_is_transposed_in_a_loop():
    """A record is written a row a step, in place: what turned it round would cost its whole length each step."""

    def step(i, carry):
        x, record = carry
        return x * 0.5, record.at[i].set(x.sum(), mode="promise_in_bounds")

    mapped = in_lanes(lambda x, n: jax.lax.fori_loop(0, n, step, (x, jnp.zeros(999))), (0, None), 0)
    (loop,) = (e for e in jax.make_jaxpr(mapped)(jnp.ones((LANES, 3)), 10).jaxpr.eqns if e.primitive.name == "while")
    assert "transpose" not in str(loop)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("precision", ["x32", "x64"])
def test_a_small_sweep_is_done_in_lanes_and_comes_to_the_same(batch_size, precision, monkeypatch, request):
    if precision == "x64":
        request.getfixturevalue("x64")
    dtype, tolerance = (np.float64, 1e-12) if precision == "x64" else (np.float32, 1e-6)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((37, 4)).astype(dtype)
    data = (x, np.tanh(x @ np.asarray([1.0, -0.5, 0.2, 0.0], dtype)))
    lanes_at_once, chosen = population.Population.lanes_at_once, []

    def loss(params, batch):
        return jnp.mean((jnp.tanh(batch[0] @ params) - batch[1]) ** 2)

    def swept():
        return gdjax.sweep(
            loss, lambda key: jax.random.normal(key, (4,)), data, optimizer=gdjax.adam,
            grid={"learning_rate": np.logspace(-3, -2, 150)}, regime=gdjax.mini_batch(batch_size), epochs=10,
            seeds=(0, 1), validation=data,
        )  # fmt: skip

    def told(self):
        chosen.append(lanes_at_once(self))
        return chosen[-1]

    monkeypatch.setattr(population.Population, "lanes_at_once", told)
    lanes = swept()
    monkeypatch.setattr(population, "MOST_LANES", 0)
    rows = swept()
    assert chosen[0] >= 64
    assert chosen[1] == 0
    for name in ("loss", "validation_loss"):
        one, other = getattr(lanes.history, name), getattr(rows.history, name)
        # The data can be fitted without rest: losses near 0 are differences of numbers near 1.
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * other.mean())
    one, other = lanes.history.step_loss, rows.history.step_loss
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=10 * tolerance * other.mean())
    np.testing.assert_array_equal(lanes.history.learning_rate, rows.history.learning_rate)
    np.testing.assert_allclose(lanes.params, rows.params, atol=10 * tolerance)
