"""The gradient noise scale: how many examples a batch needs before its gradient is more signal than noise."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.data.feeds import feed
from gdjax.data.placement import placed
from gdjax.data.regimes import mini_batch, run_keys
from gdjax.dtypes import accumulator_dtype, float_dtype
from gdjax.engine.loss import Callee, callee
from gdjax.engine.native import SmallJit
from gdjax.engine.parameters import Held, merge, split
from gdjax.types import Batch, LossFn, Params

CONFIDENCE = 0.95

LARGEST_DRAW = 8192
"""Examples that a draw takes, at most."""

BATCHES = 64
"""Small batches that a draw is cut into, at most."""


class NoiseScale(NamedTuple):
    """An estimate of tr(Σ) / |G|² at some parameters, in examples."""

    estimate: float
    """Infinite where no signal was found."""
    low: float
    """Of its 95 % interval."""
    high: float
    """Likewise; infinite where the signal may be none."""
    noise: float
    """Numerator: the variance of an example's gradient, summed over all parameters."""
    signal: float
    """Denominator: the squared norm of the mean gradient of all data."""


def gradient_noise_scale(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    draws: int = 16,
    batch_size: int | None = None,
    seed: int = 0,
    model_state: Any = None,
    check_finite: bool = True,
) -> NoiseScale:
    """Estimate the simple noise scale tr(Σ) / |G|²: the batch size at which noise and signal are alike.

    Batches much smaller than it give gradients that are mostly noise, so that twice the batch needs half the steps;
    batches much larger give nearly the same gradient each, and twice the batch is twice the work for nothing. It
    changes as training goes on, and mostly grows.

    Each draw takes min(n, 8192) examples of an epoch's order and cuts them into small batches, whose scatter gives the
    noise and whose mean the signal, both without bias for this dataset. Both are averaged over the draws, apart, and
    only then divided; the interval of the quotient is Fieller's.

    Args:
      loss_fn: as in `gdjax.fit`, the mean over a batch's rows.
      params: where the gradients are taken; a pytree.
      data: a pytree of arrays with a common leading axis, at least two rows.
      draws: how many, at least 2.
      batch_size: rows of a small batch, 1 to half of the data; by default a 64th of a draw.
      seed: what the draws follow from.
      model_state: for a loss that takes one.
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `NoiseScale`.

    Raises:
      ValueError, TypeError: if an argument is wrong, or gradients are not finite.

    >>> import jax, jax.numpy as jnp, gdjax
    >>> x = 3 + 6 * jax.random.normal(jax.random.key(0), (5000,))       # an example's gradient at 0 is −x
    >>> found = gdjax.gradient_noise_scale(lambda w, x: jnp.mean((w - x) ** 2) / 2, jnp.array(0.0), x)
    >>> found.low < float(jnp.var(x) / jnp.mean(x) ** 2) < found.high
    True

    Source: McCandlish, Kaplan & Amodei (2018), "An empirical model of large-batch training", section 2.2 and
    appendix A; Fieller (1954), "Some problems in interval estimation".
    """
    loss = callee("loss_fn", loss_fn)
    draws = checks.integer("draws", draws, least=2)
    n = checks.rows("data", data)
    if n < 2:
        raise ValueError(f"`data` must have at least two rows, whose gradients may differ, got {n}.")
    if batch_size is None:
        batch_size = max(1, min(n, LARGEST_DRAW) // BATCHES)
    batch_size = checks.integer("batch_size", batch_size, least=1, most=n // 2)
    seed = checks.integer("seed", seed, least=0, most=2**32 - 1)
    if loss.has_model_state and model_state is None:
        raise TypeError("`model_state` must be given, since the loss takes it, got None.")
    (data,) = placed(data, check_finite=check_finite)
    trainable, held = split(params)
    if not jax.tree.leaves(trainable):
        raise ValueError(f"`params` must hold at least one float array, got {params!r}.")
    return noise_scale(loss, (trainable, held), model_state, data, draws, batch_size, seed)


def noise_scale(
    loss: Callee, params: tuple[Params, Held], model_state: Any, data: Batch, draws: int, batch_size: int, seed: int
) -> NoiseScale:
    """As `gradient_noise_scale`, of what was checked and split.

    Raises:
      ValueError: if gradients are not finite.
    """
    batches = max(2, min(len(jax.tree.leaves(data)[0]), LARGEST_DRAW) // batch_size)
    noise, signal = _draws(loss, params, model_state, data, np.uint32(seed), draws, batch_size, batches)
    noise, signal = np.asarray(noise, float), np.asarray(signal, float)
    if not np.isfinite([noise, signal]).all():
        raise ValueError("`params` must give finite gradients on `data`, got NaN or infinite ones.")
    return NoiseScale(*_quotient(noise, signal), float(noise.mean()), float(signal.mean()))


@functools.partial(SmallJit, static_argnums=(0, 5, 6, 7))
def _draws(
    loss: Callee, params: tuple, model_state: Any, data: Batch, seed: Any, draws: int, batch_size: int, batches: int
) -> tuple[jax.Array, jax.Array]:
    """(noise, signal) of each draw [draws], both without bias over the orders of this dataset.

    K batches of b examples without replacement have the variance S²/b between them, S² that of single examples, and a
    mean whose squared norm exceeds the whole dataset's by S² (1/Kb − 1/n).
    """
    trainable, held = params
    n, rows = len(jax.tree.leaves(data)[0]), batch_size * batches
    keys, regime = run_keys(seed), mini_batch(batch_size)

    def gradient(batch: Batch, key: jax.Array) -> Params:
        def objective(trainable: Params) -> jax.Array:
            state = jax.tree.map(lambda x: x, model_state)
            return loss.loss(merge(trainable, held), batch, key=key, training=True, model_state=state)[0]

        found = jax.grad(objective)(trainable)
        return jax.tree.map(lambda g: g.astype(accumulator_dtype(g)), found)

    def draw(_: None, number: Any) -> tuple[None, tuple]:
        batches_of_draw = feed(regime, regime.slices(n), data, keys.order, number)
        key = jax.random.fold_in(keys.step, number)

        def batch(carry: tuple, i: Any) -> tuple[tuple, None]:
            mean, scatter = carry
            ((rows_of_batch, _),) = batches_of_draw.block(i, 1)(i)
            new = gradient(rows_of_batch, jax.random.fold_in(key, i))
            # Welford's update: no difference of large sums.
            moved = jax.tree.map(lambda m, g: m + (g - m) / (i + 1).astype(m.dtype), mean, new)
            away = jax.tree.map(lambda g, m: g - m, new, mean)
            after = jax.tree.map(lambda g, m: g - m, new, moved)
            return (moved, scatter + _inner(away, after)), None

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, accumulator_dtype(x)), trainable)
        start = (zeros, jnp.zeros((), float_dtype()))
        (mean, scatter), _ = jax.lax.scan(batch, start, jnp.arange(batches, dtype=jnp.int32))
        noise = batch_size * scatter / (batches - 1)
        return None, (noise, _inner(mean, mean) - noise * (1 / rows - 1 / n))

    return jax.lax.scan(draw, None, jnp.arange(draws, dtype=jnp.int32))[1]


def _inner(a: Params, b: Params) -> jax.Array:
    """The real inner product of two trees."""
    parts = jax.tree.map(lambda x, y: jnp.vdot(x, y).real.astype(float_dtype()), a, b)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _quotient(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """(mean of `above` over mean of `below`, and Fieller's interval) for paired draws.

    The interval holds every ratio r for which the mean of above − r · below is no surprise: a quadratic in r. Where it
    has no bound above, the signal may as well be none.
    """
    from scipy.special import stdtrit  # what JAX itself stands on; slow to import

    count = len(above)
    a, b = above.mean(), below.mean()
    estimate = float(a / b) if b > 0 else np.inf
    t2 = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) ** 2 / count
    (aa, ab), (_, bb) = np.cov(above, below)
    square, half, rest = b**2 - t2 * bb, a * b - t2 * ab, a**2 - t2 * aa
    root = np.sqrt(max(half**2 - square * rest, 0.0))
    bounded = b > 0 and square > 0
    low = float((half - root) / square) if bounded or (square < 0 and rest > 0) else 0.0
    return estimate, max(low, 0.0), float((half + root) / square) if bounded else np.inf
