"""A sweep: 1,024 learning rates of the 2-5-2-1 network in one call of `gdjax.sweep`; times are per setting and step."""

import functools
from typing import Any

import numpy as np

from benchmarks.contest import Contest, Peer, Proof, Work
from benchmarks.loops import torch_loop
from benchmarks.problems import moons, small_loops

RATES = np.logspace(-4, -1, 1024, dtype=np.float32)
FEW = RATES[::128]
"""What the peers, which do one setting after another, go through; the proof is the mean loss of these."""


def together() -> Work:
    """All settings in one call of `gdjax.sweep`."""
    small_loops()
    import gdjax

    problem = moons()

    def run(epochs: int) -> tuple:
        swept = gdjax.sweep(
            problem.loss, problem.weights, problem.data, optimizer=gdjax.adam, grid={"learning_rate": RATES},
            regime=gdjax.mini_batch(1), epochs=epochs,
        )  # fmt: skip
        return epochs * problem.steps(1), swept

    def prove(made: tuple) -> Proof:
        steps, swept = made
        few = range(0, len(RATES), len(RATES) // len(FEW))
        return Proof(steps, float(np.mean([problem.final(swept.params_of(place)) for place in few])))

    return Work(run, problem.steps(1) * len(RATES), prove)


def one_by_one() -> Work:
    """One compiled program, called for one setting after another."""
    small_loops()
    import jax

    import gdjax

    problem = moons()
    data = jax.tree.map(jax.numpy.asarray, problem.data)

    @jax.jit
    def train(rate: Any, epochs: Any) -> Any:
        run = gdjax.training(problem.loss, optimizer=gdjax.adam(rate), regime=gdjax.mini_batch(1))
        state = run.init(problem.weights, 0)
        state = jax.lax.fori_loop(0, epochs, lambda _, state: run.epoch(state, data)[0], state)
        return problem.loss(state.params, data)

    def run(epochs: int) -> tuple:
        return epochs * problem.steps(1), np.asarray([train(rate, epochs) for rate in FEW])

    return Work(run, problem.steps(1) * len(FEW), lambda made: Proof(made[0], float(np.mean(made[1]))))


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
            ),
            Peer(
                "PyTorch loop, best of threads and fused",
                functools.partial(torch_loop, moons, 1, tuple(map(float, FEW))),
                2500,
            ),
        ),
        units=2,
        seconds=2.0,  # what a sweep costs once, its optimizers above all, is then a small part
        tolerance=0.1,
    )
]
