"""Metrics for plateaus, made to tell one rule of judging from another, and gdjax's rates under them."""

from typing import Any

import jax
import numpy as np

from gdjax import transforms

LENGTH = 60
_draw = np.random.default_rng(1)
_walk = _draw.normal(size=LENGTH).cumsum()
_falling = np.geomspace(3.0, 1e-3, LENGTH)
_stairs = np.repeat(np.array([5.0, 3.0, 3.2, 1.0, -1.0, -1.05, -2.0, -0.5, -4.0, -4.0]), 6)


def _ties(threshold, length=LENGTH):
    """Each the best so far less exactly the threshold, as a relative rule computes it: never an improvement on it."""
    best, seen = 2.0, []
    for step in range(length):
        seen.append(best)
        best = best * (1 - threshold) if step % 3 else best * (1 - threshold) * (1 - 1e-12)
    return np.array(seen)


METRICS = {
    "normal": _draw.normal(size=LENGTH),
    "uniform": _draw.uniform(1.0, 2.0, size=LENGTH),
    "negative": -_draw.uniform(1.0, 2.0, size=LENGTH),
    "walk": _walk,
    "tiny": 1e-6 * _draw.normal(size=LENGTH),
    "large": 1e12 * _draw.normal(size=LENGTH),
    "one": np.full(LENGTH, 1.0),
    "minus-one": np.full(LENGTH, -1.0),
    "zero": np.zeros(LENGTH),
    "signed-zeros": np.where(np.arange(LENGTH) % 2, -0.0, 0.0),
    "alternating": np.where(np.arange(LENGTH) % 2, -1.0, 1.0),
    "falling": _falling,
    "rising": _falling[::-1].copy(),
    "rising-negative": -_falling,
    "falling-negative": -_falling[::-1].copy(),
    "falling-within-the-threshold": 1 - 1e-5 * np.arange(LENGTH),
    "rising-within-the-threshold": -1 + 1e-5 * np.arange(LENGTH),
    "falling-by-about-the-threshold": 1 - 1e-4 * np.arange(LENGTH) * _draw.uniform(0.98, 1.02, size=LENGTH),
    "relative-ties": _ties(0.1),
    "absolute-ties": 1 - 0.125 * np.arange(LENGTH),
    "stairs": _stairs,
    "mirrored-stairs": -_stairs,
    "sawtooth": np.arange(LENGTH) % 7 - 0.05 * np.arange(LENGTH),
    "infinite-first": np.concatenate([[np.inf, np.inf], _walk[2:]]),
    "infinite-between": np.where(np.arange(LENGTH) % 5 == 3, np.inf, _walk),
    "nan-between": np.where(np.arange(LENGTH) % 5 == 3, np.nan, _walk),
    "nan-first": np.concatenate([[np.nan, np.nan], _walk[2:]]),
}


@jax.jit
def _rates(optimizer: Any, metrics: jax.Array) -> jax.Array:
    gradient = jax.numpy.ones(())

    def judge(state: Any, metric: jax.Array) -> tuple:
        update, state = optimizer.update(gradient, state, gradient, value=metric)
        return state, jax.numpy.stack([transforms.learning_rate(state), -update])

    return jax.lax.scan(judge, optimizer.init(gradient), metrics)[1]


def rates_on_plateau(optimizer: Any) -> dict[str, np.ndarray]:
    """Name to gdjax's rates, (LENGTH, 2): as its state tells them, and as the steps of plain descent show them.

    In a peer's loop the judge comes after the step, so that a cut acts on the next; in gdjax a judgement acts on
    the update that it is told with. So rate k is the one after judgement k on both sides.
    """
    return {name: np.asarray(_rates(optimizer, metrics)) for name, metrics in METRICS.items()}
