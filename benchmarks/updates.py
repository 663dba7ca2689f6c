"""The update alone: Adam on given gradients, on a large model and on one of very many small leaves.

The small leaves are packed on gdjax's side, parameters and gradients alike, as a run of `pack(params)` has them.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contest import Contest, Peer, Proof, Work, repeated
from benchmarks.loops import fastest
from benchmarks.problems import small_loops

RATE = 1e-3


def large() -> list[tuple[int, ...]]:
    """A transformer of 12 layers and width 448: 76 leaves, 30 million parameters."""
    layer = [(448, 1344), (448, 448), (448, 1792), (1792, 448), (448,), (448,)]
    return [(2048, 448), (256, 448), *(12 * layer), (448,), (448,)]


def many() -> list[tuple[int, ...]]:
    """2,000 leaves of 64."""
    return 2000 * [(64,)]


def trees(shapes_of: Callable[[], list]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Parameters and gradients of these shapes."""
    draw = np.random.default_rng(0).standard_normal
    return tuple([draw(shape, np.float32) for shape in shapes_of()] for _ in range(2))


def jax_update(library: str, shapes_of: Callable[[], list]) -> tuple:
    """The jitted update of gdjax's or optax's Adam, which gives its parameters and state away, and its arguments."""
    small_loops()
    import jax
    import optax

    import gdjax

    rule = (optax if library == "optax" else gdjax).adam(RATE)
    params, gradients = jax.tree.map(jax.numpy.asarray, trees(shapes_of))
    if library == PACKED:
        params, gradients = gdjax.pack(params), gdjax.pack(gradients)

    def update(params: Any, state: Any, gradients: Any) -> tuple:
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return update, (params, jax.jit(rule.init)(params), gradients)


def jax_steps(library: str, shapes_of: Callable[[], list]) -> Work:
    """Updates one after another."""
    update, (params, state, gradients) = jax_update(library, shapes_of)
    import jax

    run = repeated(jax.jit(update, donate_argnums=(0, 1)), (params, state), gradients)
    return Work(run, 1, lambda made: Proof(made[0], size(jax.tree.leaves(made[1]))))


def jax_compilation(library: str, shapes_of: Callable[[], list]) -> Work:
    """The update traced and compiled."""
    update, arguments = jax_update(library, shapes_of)
    import jax

    def run(_: int) -> Any:
        return jax.jit(update, donate_argnums=(0, 1)).lower(*arguments).compile()

    return Work(run, 1, lambda compiled: Proof(1, size(jax.tree.leaves(compiled(*arguments)[0]))))


def torch_steps(shapes_of: Callable[[], list]) -> Work:
    """PyTorch's fused Adam, at its best number of threads."""
    import torch

    def made(threads: int) -> tuple[list, Callable]:
        params, gradients = ([torch.from_numpy(leaf) for leaf in tree] for tree in trees(shapes_of))
        for leaf, gradient in zip(params, gradients, strict=True):
            leaf.grad = gradient
        optimizer = torch.optim.Adam(params, lr=RATE, fused=True)

        def run(steps: int) -> tuple:
            torch.set_num_threads(threads)
            for _ in range(steps):
                optimizer.step()
            return steps, params

        return run

    note, _ = fastest({f"PyTorch at {n} thread{'s' * (n > 1)}": made(n) for n in (1, 2)})
    run = made(int(note.split()[2]))  # from the start again, for the proof
    return Work(run, 1, lambda made: Proof(made[0], size([leaf.numpy() for leaf in made[1]])), note)


def size(leaves: list) -> float:
    """The mean square of all numbers."""
    return float(np.mean(np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(float) ** 2))


PACKED = "gdjax, packed"
BIG, SMALL, OPTAX = "Adam update, 76 leaves, 30 M parameters", "Adam update, 2,000 leaves of 64", "optax, jitted"
partial = functools.partial
contest = partial(Contest, "updates", tolerance=1e-5)
CONTESTS = [
    contest(
        BIG,
        partial(jax_steps, "gdjax", large),
        (
            Peer(
                "PyTorch, fused",
                partial(torch_steps, large),
                0.7,
                "XLA:CPU makes three passes over a leaf, 40 bytes a parameter, where PyTorch's kernel makes one of 28: "
                "0.70x is the most. Tried: a loop over chunks (it copies whole buffers each turn, 50 times slower); a "
                "barrier between the passes (8 % faster here, but it would forbid the one pass that a GPU makes).",
            ),
            Peer(
                OPTAX,
                partial(jax_steps, "optax", large),
                1.1,
                "both are compiled to three passes over memory of the same 39.93 bytes a parameter; gdjax's passes "
                "take 0 to 9 % longer, since they also guard the root of 0 and keep 1 − β exact where it is traced. "
                "Tried: XLA's other scheduler, which would use a leaf while it lies in the cache (nothing).",
            ),
        ),
        units=3,
    ),
    contest(
        f"{SMALL}: a step",
        partial(jax_steps, PACKED, many),
        (Peer(OPTAX, partial(jax_steps, "optax", many), 50),),
        units=3,
        long=True,
    ),
    contest(
        f"{SMALL}: compilation",
        partial(jax_compilation, PACKED, many),
        (Peer(OPTAX, partial(jax_compilation, "optax", many), 10),),
        fresh=True,
        rounds=1,
        long=True,
    ),
]
