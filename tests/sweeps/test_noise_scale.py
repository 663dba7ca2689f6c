"""The noise scale against what plain NumPy says of every example's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.sweeps.noise_scale import _quotient


def quadratic(w, batch):
    """An example's gradient is w − x."""
    return jnp.mean(jnp.sum((w[None] - batch) ** 2, axis=1)) / 2


def examples(n=600, offset=1.0, noise=2.0, seed=0):
    return (offset + noise * np.random.default_rng(seed).standard_normal((n, 3))).astype(np.float32)


def exact(x):
    """(tr Σ, |G|²) of the whole dataset at w = 0."""
    x = x.astype(float)
    return x.var(axis=0, ddof=1).sum(), (x.mean(axis=0) ** 2).sum()


@pytest.mark.parametrize("batch_size", [1, 4, 60, 300])
def test_numerator_and_denominator_are_those_of_the_dataset(batch_size):
    x = examples()
    found = gdjax.gradient_noise_scale(quadratic, jnp.zeros(3), x, batch_size=batch_size, draws=200)
    noise, signal = exact(x)
    assert found.noise == pytest.approx(noise, rel=0.15 if batch_size == 300 else 0.03)
    assert found.signal == pytest.approx(signal, rel=0.01)
    assert found.estimate == pytest.approx(found.noise / found.signal)
    assert found.low < found.estimate < found.high


def test_a_draw_of_a_part_of_the_data_is_without_bias(monkeypatch):
    monkeypatch.setattr("gdjax.sweeps.noise_scale.LARGEST_DRAW", 96)
    x = examples()
    noise, signal = exact(x)
    found = gdjax.gradient_noise_scale(quadratic, jnp.zeros(3), x, batch_size=8, draws=3000)
    assert found.noise == pytest.approx(noise, rel=0.02)
    assert found.signal == pytest.approx(signal, rel=0.03)


def test_the_interval_covers_what_it_says(monkeypatch):
    monkeypatch.setattr("gdjax.sweeps.noise_scale.LARGEST_DRAW", 96)
    x = examples()
    noise, signal = exact(x)
    found = [gdjax.gradient_noise_scale(quadratic, jnp.zeros(3), x, batch_size=8, seed=seed) for seed in range(400)]
    inside = np.mean([each.low <= noise / signal <= each.high for each in found])
    assert 0.9 <= inside <= 0.99


def test_fieller_by_its_own_definition():
    draw = np.random.default_rng(0)
    above, below = 5 + draw.standard_normal(12), 1 + 0.4 * draw.standard_normal(12)
    estimate, low, high = _quotient(above, below)
    assert estimate == pytest.approx(above.mean() / below.mean())
    from scipy.stats import ttest_1samp

    for ratio in (low, high):
        assert ttest_1samp(above - ratio * below, 0).pvalue == pytest.approx(0.05)
    assert _quotient(above, below - 1)[2] == np.inf
    assert _quotient(above, -below)[0] == np.inf


def test_examples_that_agree_have_no_noise():
    found = gdjax.gradient_noise_scale(quadratic, jnp.zeros(3), np.ones((50, 3), np.float32))
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_no_signal_is_an_infinite_scale():
    x = examples(offset=0.0)
    x = np.concatenate([x, -x])
    found = gdjax.gradient_noise_scale(quadratic, jnp.zeros(3), x)
    assert found.high == np.inf
    assert found.estimate > 1e5


def test_all_kinds_of_parameters_and_losses():
    x = examples(64)

    def loss(params, batch, *, key, training, model_state):
        kept = jax.random.bernoulli(key, 0.5, batch.shape)
        w = params["w"].astype(jnp.float32) + params["z"].real
        value = jnp.mean((params["f"](w)[None] - jnp.where(kept, batch, 0.0)) ** 2)
        return value, model_state + 1

    params = {"w": jnp.zeros(3, jnp.bfloat16), "z": jnp.zeros(3, jnp.complex64), "f": jnp.tanh, "n": 3}
    found = gdjax.gradient_noise_scale(loss, params, x, model_state=jnp.zeros(()))
    assert 0 < found.low < found.estimate < found.high < np.inf


def test_another_point_compiles_nothing():
    traces = []

    def counted(w, batch):
        traces.append(1)
        return quadratic(w, batch)

    gdjax.gradient_noise_scale(counted, jnp.zeros(3), examples())
    count = len(traces)
    gdjax.gradient_noise_scale(counted, jnp.ones(3), examples(seed=3), seed=4)
    assert len(traces) == count > 0


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"data": np.ones((1, 3), np.float32)}, "`data` must have at least two rows"),
        ({"data": np.full((9, 3), np.nan, np.float32)}, "`data` must be finite"),
        ({"params": {"n": 3}}, "`params` must hold at least one float array"),
        ({"params": jnp.full(3, 1e30)}, "`params` must give finite gradients"),
        ({"draws": 1}, "`draws` must be at least 2"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"batch_size": 301}, "`batch_size` must be at most 300"),
        ({"seed": -1}, "`seed`"),
        ({"loss_fn": 3}, "`loss_fn` must be a function"),
        ({"loss_fn": lambda w, batch: w}, "must return a scalar"),
        ({"loss_fn": lambda w, batch, *, model_state: w}, "`model_state` must be given"),
    ],
)
def test_bad_input(settings, match):
    given = {"loss_fn": quadratic, "params": jnp.zeros(3), "data": examples()} | settings
    with pytest.raises((ValueError, TypeError), match=match):
        gdjax.gradient_noise_scale(given.pop("loss_fn"), given.pop("params"), given.pop("data"), **given)
