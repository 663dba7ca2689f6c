"""The work: a dataset, a network's first weights and a loss, the same numbers for every library."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets

import gdjax

Weights = list[tuple[np.ndarray, np.ndarray]]
"""One (matrix [in, out], bias [out]) a layer."""


def small_loops() -> None:
    """Let XLA compile small loops into one native function. Every JAX side calls it before its first operation."""
    gdjax.compile_small_loops()


class Problem(NamedTuple):
    """What is to be learned."""

    data: tuple[np.ndarray, np.ndarray]
    """Inputs [rows, features] float32; targets [rows], float32 0 or 1, or int32 classes."""
    weights: Weights
    loss: Callable
    """JAX's `loss(weights, batch)`, the mean over the batch's rows."""

    def steps(self, batch: int | None) -> int:
        """Steps in an epoch of batches of so many rows; None is all of them."""
        return 1 if batch is None else -(-len(self.data[0]) // batch)

    def final(self, weights: Any) -> float:
        """The loss on all the data."""
        return float(self.loss(weights, self.data))


def moons() -> Problem:
    """A 2-5-2-1 network on 300 noisy moons."""
    x, y = sklearn.datasets.make_moons(300, noise=0.2, random_state=0)
    return Problem((x.astype(np.float32), y.astype(np.float32)), weights(2, 5, 2, 1), sigmoid_loss)


def digits() -> Problem:
    """A 64-128-10 network on the 1,797 digits."""
    return Problem(_digits(), weights(64, 128, 10), softmax_loss)


def digits_softmax() -> Problem:
    """Softmax regression, 64-10, on the same; from zero, as scikit-learn starts."""
    return Problem(_digits(), [(np.zeros((64, 10), np.float32), np.zeros(10, np.float32))], softmax_loss)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int32)


def weights(*sizes: int) -> Weights:
    """He's initialization of a fully connected network; biases a little above 0, so that no unit starts dead."""
    draw = np.random.default_rng(0).normal
    return [
        (np.float32(draw(size=(a, b)) * np.sqrt(2 / a)), np.full(b, 0.1, np.float32))
        for a, b in itertools.pairwise(sizes)
    ]


def outputs(weights: Any, x: jax.Array) -> jax.Array:
    """Outputs [rows, out] of the ReLU network."""
    *hidden, (last, bias) = weights
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ last + bias


def sigmoid_loss(weights: Any, batch: tuple) -> jax.Array:
    """Mean cross entropy of one output."""
    x, y = batch
    logits = outputs(weights, x)[:, 0]
    return jnp.mean(jax.nn.softplus(logits) - y * logits)


def softmax_loss(weights: Any, batch: tuple) -> jax.Array:
    """Mean cross entropy of ten."""
    x, y = batch
    logits = outputs(weights, x)
    picked = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)
