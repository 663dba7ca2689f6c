"""The small network that a table is learned with: layers of ReLU, He's initialization."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="sizes")
def init_network(key: jax.Array, sizes: tuple[int, ...]) -> list[dict[str, jax.Array]]:
    """Parameters of a fully connected network.

    Args:
      key: a PRNG key.
      sizes: inputs, hidden layers, outputs.

    Returns:
      One {"w": [in, out], "b": [out]} a layer; weights normal with variance 2/in, biases 0.

    Source: He et al. (2015), "Delving deep into rectifiers".
    """
    shapes = list(itertools.pairwise(sizes))
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    draws = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])  # one draw: a second would be compiled as well
    return [
        {"w": draw.reshape(shape) * math.sqrt(2 / shape[0]), "b": jnp.zeros(shape[1])}
        for draw, shape in zip(draws, shapes, strict=True)
    ]


def apply_network(params: Any, x: jax.Array) -> jax.Array:
    """Outputs [rows, out] of a network for inputs [rows, in]; the last layer is linear."""
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"][None])
    return x @ last["w"] + last["b"][None]


def softmax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy of logits [rows, classes] and labels [rows], safe at any logits."""
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)
