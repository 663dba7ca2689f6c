import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.tasks.networks import apply_network, init_network, softmax_loss


def test_initialization_is_he():
    hidden, last = init_network(jax.random.key(0), (50, 400, 3))
    assert (hidden["w"].shape, hidden["b"].shape, last["w"].shape, last["b"].shape) == (
        (50, 400),
        (400,),
        (400, 3),
        (3,),
    )
    np.testing.assert_allclose([hidden["w"].var(), last["w"].var()], [2 / 50, 2 / 400], rtol=0.1)
    assert not hidden["b"].any()
    assert not last["b"].any()


def test_network_is_its_formula():
    random = np.random.default_rng(0)
    (w1, b1), (w2, b2) = [(random.normal(size=(a, b)), random.normal(size=b)) for a, b in ((2, 5), (5, 3))]
    x = random.normal(size=(4, 2))
    params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), [{"w": w1, "b": b1}, {"w": w2, "b": b2}])
    expected = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(apply_network(params, jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("logits", "label", "expected"), [
    ((1e4, -1e4), 0, 0.0),
    ((1e4, -1e4), 1, 2e4),
    ((-1e4, -1e4), 1, np.log(2)),
    ((1e4, 1e4), 0, np.log(2)),
    ((1.0, -2.0), 0, np.log1p(np.exp(-3))),
])  # fmt: skip
def test_softmax_loss_at_any_logits(logits, label, expected):
    value, gradient = jax.value_and_grad(softmax_loss)(jnp.asarray([logits]), jnp.asarray([label]))
    np.testing.assert_allclose(value, expected, rtol=1e-3)  # a float32 of size 1e4 has no more digits
    assert np.isfinite(gradient).all()
