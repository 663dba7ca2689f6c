"""A sweep: 1,024 learning rates of the 2-5-2-1 network in one vmapped program; times are per setting and step."""

import functools
from typing import Any

import numpy as np

from benchmarks.contest import Contest, Peer, Proof, Work
from benchmarks.loops import torch_loop
from benchmarks.problems import moons, small_loops

RATES = np.logspace(-4, -1, 1024, dtype=np.float32)
FEW = RATES[::128]
"""What the peers, which do one setting after another, go through; the proof is the mean loss of these."""


def _runs(rates: np.ndarray) -> tuple:
    """`train(rate, epochs)`, a whole run of gdjax as a pure function that returns its loss."""
    small_loops()
    import jax

    import gdjax

    problem = moons()
    data = jax.tree.map(jax.numpy.asarray, problem.data)

    def train(rate: Any, epochs: Any) -> Any:
        run = gdjax.training(problem.loss, optimizer=gdjax.adam(rate), regime=gdjax.mini_batch(1))
        state = run.init(problem.weights, 0)
        state = jax.lax.fori_loop(0, epochs, lambda _, state: run.epoch(state, data)[0], state)
        return problem.loss(state.params, data)

    return train, problem.steps(1)


def together() -> Work:
    """All settings in one program."""
    train, steps = _runs(RATES)
    import jax

    sweep = jax.jit(jax.vmap(train, (0, None)))

    def run(epochs: int) -> tuple:
        return epochs * steps, np.asarray(sweep(RATES, epochs))

    return Work(run, steps * len(RATES), lambda made: Proof(made[0], float(np.mean(made[1][::128]))))


def one_by_one() -> Work:
    """One compiled program, called for one setting after another."""
    train, steps = _runs(FEW)
    import jax

    train = jax.jit(train)

    def run(epochs: int) -> tuple:
        return epochs * steps, np.asarray([train(rate, epochs) for rate in FEW])

    return Work(run, steps * len(FEW), lambda made: Proof(made[0], float(np.mean(made[1]))))


CONTESTS = [
    Contest(
        "sweeps",
        "1,024 rates, 2-5-2-1 network, 300 moons, Adam, batch 1",
        together,
        (
            Peer(
                "one compiled run after another",
                one_by_one,
                2,
                "a single run is itself one native function by now, 5 times faster than kernel by kernel, so that "
                "1,024 models have no cost of starting kernels left to share; only order, record and loop are shared.",
            ),
            Peer(
                "PyTorch loop, best of threads and fused",
                functools.partial(torch_loop, moons, 1, tuple(map(float, FEW))),
                2500,
            ),
        ),
        units=2,
        tolerance=0.1,
    )
]
