import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import schedules, transforms
from gdjax.transforms import bias_corrected, ema_of_squares, rectified, root

DRAWN = np.random.default_rng(0).normal(size=(60, 3))


def size(decay):
    return root(bias_corrected(ema_of_squares(decay)), eps=1e-3)


@jax.jit
def scanned(transform, gradients):
    """(sizes, lengths) after each step."""

    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, (updates, 2 * getattr(state, "inner", state).age.value - 1)

    return jax.lax.scan(step, transform.init(gradients[0]), gradients)[1]


def paper(decay, steps, dtype=np.float64):
    """Liu et al.: ρ∞ − 2tβᵗ/(1 − βᵗ), every operation in `dtype`."""
    t, beta, one, two = np.arange(1, steps + 1).astype(dtype), dtype(decay), dtype(1), dtype(2)
    power = beta**t
    return (two / (one - beta) - one) - two * t * power / (one - power)


def exact(decay, steps):
    """The same in float64, without the cancellation of 1 − βᵗ."""
    t = np.arange(1, steps + 1)
    power = t * np.log1p(-(1 - decay))
    return 2 / (1 - decay) - 1 + 2 * t * np.exp(power) / np.expm1(power)


def by_weights(decays):
    """2c − 1, c the mean age of the gradients under the weights that an average of these decays gives them."""
    lengths, weights = [], np.zeros(0)
    for decay in decays:
        weights = np.append(weights * decay, 1 - decay)
        lengths.append(2 * np.average(np.arange(len(weights), 0, -1), weights=weights) - 1)
    return np.array(lengths)


def rectifier(length, longest):
    return np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.999])
def test_the_length_is_the_papers(decay):
    lengths = scanned(rectified(size(decay)), jnp.zeros((200, 1)))[1]
    np.testing.assert_allclose(by_weights([decay] * 200), exact(decay, 200), rtol=1e-9)
    np.testing.assert_allclose(lengths, exact(decay, 200), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_length_under_a_scheduled_decay():
    decays = np.interp(np.arange(60), [0, 40], [0.5, 0.99])
    transform = transforms.clocked(rectified(size(schedules.linear(0.5, 0.99, 40))))
    sizes, seen = scanned(transform, jnp.asarray(DRAWN))
    lengths = by_weights(decays)
    np.testing.assert_allclose(seen, lengths, rtol=1e-9)
    longest = 2 / (1 - decays) - 1
    weights = np.array(
        [np.prod(decays[i + 1 : t + 1]) * (1 - decays[i]) * (i <= t) for t in range(60) for i in range(60)]
    )
    weights = weights.reshape(60, 60)
    roots = np.sqrt(weights @ DRAWN**2 / weights.sum(axis=1, keepdims=True)) + 1e-3
    counts = lengths >= 5
    assert 0 < counts.sum() < 60
    expected = roots[counts] / rectifier(lengths[counts], longest[counts])[:, None]
    np.testing.assert_allclose(sizes[counts], expected, rtol=1e-9)
    assert np.all(sizes[~counts] == 1)


@pytest.mark.parametrize("decay", [0.999, 0.9999])
def test_the_length_in_float32(decay):
    steps = 20_000
    lengths = np.float64(scanned(rectified(size(decay)), jnp.ones((steps, 1)))[1])
    error, of_paper = (np.abs(each / exact(decay, steps) - 1) for each in (lengths, paper(decay, steps, np.float32)))
    assert error.max() < 1e-6
    assert of_paper.max() > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("threshold", [0.0, 4.0, 5.0, 6.5])
def test_the_size_counts_from_the_threshold_on(threshold):
    lengths = exact(0.9, 60)
    counts = (lengths >= threshold) & (lengths > 4)
    sizes = np.asarray(scanned(rectified(size(0.9), threshold=threshold), jnp.asarray(DRAWN))[0])
    shares = 0.9 ** np.maximum(np.arange(60)[:, None] - np.arange(60), 0) * np.tri(60)
    roots = np.sqrt(shares @ DRAWN**2 / shares.sum(axis=1, keepdims=True)) + 1e-3
    with np.errstate(invalid="ignore"):
        expected = np.where(counts[:, None], roots / rectifier(lengths, 19)[:, None], 1)
    np.testing.assert_allclose(sizes, expected, rtol=1e-9)
    assert 0 < counts.sum() < 60


def of_decays(decays):
    """(sizes, lengths) of gradients of 3, for each of these thresholds and decays."""

    def one(threshold, decay):
        return scanned(rectified(size(decay), threshold=threshold), jnp.full((300, 1), 3.0))

    thresholds, decays = (jnp.asarray(numbers, jnp.float32) for numbers in ([0, 4, 5], decays))
    return jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(thresholds, decays)


def test_below_a_length_of_four_nothing_is_divided():
    """No average of a decay below 0.6 is ever as long as four, whatever float32 makes of it."""
    sizes, lengths = of_decays(np.append(np.linspace(0, 0.59, 20), 0.6 - np.geomspace(1e-7, 1e-3, 20)))
    assert np.all(sizes == 1)
    assert np.isfinite(lengths).all()


def test_just_above_four_it_is_finite():
    sizes, lengths = of_decays(0.6 + np.geomspace(1e-7, 1e-1, 40))
    assert np.isfinite(sizes).all()
    assert np.isfinite(lengths).all()
    assert np.all(sizes >= 1)
    assert (sizes > 2.9).any(axis=(1, 2, 3)).all()


@pytest.mark.usefixtures("x64")
def test_the_threshold_may_follow_a_schedule():
    """Tractable from ρ ≥ 5, but not before step 20."""
    schedule = schedules.piecewise_constant(100.0, {20: 0.05})
    sizes, _ = scanned(transforms.clocked(rectified(size(0.9), threshold=schedule)), jnp.asarray(DRAWN))
    assert (np.asarray(sizes) == 1).all(axis=1).tolist() == [t < 20 for t in range(60)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rectified(transforms.sign()), ValueError, "`size` must have one moving average in it, got 0 in"),
        (lambda: rectified(root(transforms.sum_of_squares())), ValueError, "`size` must have one moving average in it"),
        (lambda: rectified(root(transforms.weighted_sum())), ValueError, "`size` must have one moving average in it"),
        (
            lambda: rectified(transforms.chain(ema_of_squares(0.9), ema_of_squares(0.9))),
            ValueError,
            "`size` must have one moving average in it, got 2 in",
        ),
        (lambda: rectified(size(0.9), threshold=-1.0), ValueError, "`threshold` must be finite and at least 0"),
        (lambda: rectified(0.9), TypeError, "`size` must be a gradient transformation of gdjax or optax, got 0.9"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
