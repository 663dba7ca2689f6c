"""Does Adam beat gradient descent on two moons, or does its learning rate?

A 2-5-2-1 ReLU network on 300 noisy moons, batch 64, 10,000 epochs, ten seeds in one program; every optimizer
at the rate 7e-4 that course notebooks use for all of them, and at the best of its own grid.

    python docs/moons.py            # prints the table of docs/moons.md
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import make_moons

import gdjax
from gdjax.tasks.networks import apply_network, init_network

SEEDS, BATCH, FIXED = 10, 64, 7e-4
STUCK = 0.6
"""A run that classifies no more than this share right has learned next to nothing."""


def loss(params, batch):
    x, y = batch
    logits = apply_network(params, x)[:, 0]
    return jnp.mean(jax.nn.softplus(logits) - y * logits)


def accuracies(factory, rates, data, epochs):
    """Training accuracies [rates, seeds] of all rates and seeds, trained in one program, and its seconds."""

    def run(rate, seed):
        training = gdjax.training(loss, optimizer=factory(rate), regime=gdjax.mini_batch(BATCH))
        state = training.init(lambda key: init_network(key, (2, 5, 2, 1)), seed)
        state, _ = jax.lax.scan(lambda state, _: (training.epoch(state, data)[0], None), state, length=epochs)
        return jnp.mean((apply_network(state.params, data[0])[:, 0] > 0) == (data[1] > 0.5))

    by_seed = jax.vmap(run, (None, 0))
    started = time.perf_counter()
    result = jax.jit(jax.vmap(by_seed, (0, None)))(jnp.asarray(rates), jnp.arange(SEEDS))
    return np.asarray(result), time.perf_counter() - started


def main(epochs):
    x, y = make_moons(300, noise=0.2, random_state=0)
    data = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    grids = {"gd": (gdjax.gd, -2, 1), "momentum": (gdjax.momentum, -2, 1), "adam": (gdjax.adam, -4, -1)}
    print("| optimizer | rate | median accuracy | lowest to highest | stuck | seconds, compilation included |")
    print("|---|---|---|---|---|---|")
    for name, (factory, low, high) in grids.items():
        fixed, fixed_seconds = accuracies(factory, [FIXED], data, epochs)
        rates = np.logspace(low, high, 2 * (high - low) + 1, dtype=np.float32)
        tuned, tuned_seconds = accuracies(factory, rates, data, epochs)
        best = int(np.lexsort((-tuned.mean(axis=1), -np.median(tuned, axis=1)))[0])
        rows = [(f"{FIXED:g} for all", fixed[0], f"{fixed_seconds:.1f}")]
        rows += [(f"{rates[best]:.3g}, best of {len(rates)}", tuned[best], f"{tuned_seconds:.1f} for all {len(rates)}")]
        for label, values, seconds in rows:
            spread = f"{values.min():.3f} to {values.max():.3f}"
            stuck = f"{(values <= STUCK).sum()} of {SEEDS}"
            print(f"| `{name}` | {label} | {np.median(values):.3f} | {spread} | {stuck} | {seconds} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10_000)
    main(parser.parse_args().epochs)
