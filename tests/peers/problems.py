"""Two problems written once for any array library, and gdjax's path over them.

Two programs that compute the same formula in another order part by one rounding a step, so a path can only
be compared where it isn't chaotic: the learning rates stay below the edge of stability, and the network's
batches contradict each other, so that no gradient fades and no root of squares with it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

STEPS = 300

_draw = np.random.default_rng(0)
_ROWS = np.tile(_draw.normal(size=(8, 3)), (2, 1)).reshape(4, 4, 3)  # each row twice, with two targets
_TARGETS = _draw.normal(size=(4, 4, 1))


class Problem(NamedTuple):
    """A start and a loss."""

    start: dict[str, np.ndarray]
    """Float64 leaves in the order of their names, as JAX sorts them."""
    loss: Callable[[dict, Any, Any], Any]
    """(leaves, number of the update, the leaves' array library) -> scalar."""


def _network(params: dict, step: Any, library: Any) -> Any:
    """Mean squared error of 3-4-1 with tanh, on the next four of sixteen rows."""
    rows, targets = (library.asarray(array)[step % 4] for array in (_ROWS, _TARGETS))
    hidden = library.tanh(rows @ params["a"] + params["b"])
    return ((hidden @ params["c"] + params["d"] - targets) ** 2).mean()


def _rosenbrock(params: dict, step: Any, library: Any) -> Any:
    """The chained valley of five coordinates."""
    x = params["x"]
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


_SHAPES = {"a": (3, 4), "b": (1, 4), "c": (4, 1), "d": (1, 1)}
PROBLEMS = {
    "network": Problem({name: _draw.normal(size=shape) for name, shape in _SHAPES.items()}, _network),
    "rosenbrock": Problem({"x": np.array([-1.2103, 0.9817, -0.4129, 0.7211, 1.3307])}, _rosenbrock),
}


# Hundreds of small programs of 300 steps: on one core XLA's full optimization takes five times the whole run.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}


@functools.partial(jax.jit, static_argnames=("problem", "sign"), compiler_options=QUICKLY)
def _path(optimizer: Any, start: dict, problem: str, sign: int) -> jax.Array:
    loss = PROBLEMS[problem].loss

    def update(carry: tuple, step: jax.Array) -> tuple:
        params, state = carry
        value, grads = jax.value_and_grad(lambda p: sign * loss(p, step, jax.numpy))(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
        return (params, state), flat(jax.numpy, params)

    return jax.lax.scan(update, (start, optimizer.init(start)), jax.numpy.arange(STEPS))[1]


def path(optimizer: Any, problem: str, *, maximize: bool = False) -> np.ndarray:
    """gdjax's parameters after every update, float64 (STEPS, size); with `maximize` those of the negated loss."""
    return np.asarray(_path(optimizer, PROBLEMS[problem].start, problem, -1 if maximize else 1))


def flat(library: Any, params: dict) -> Any:
    """All leaves in one vector."""
    return library.concatenate([params[name].reshape(-1) for name in sorted(params)])


def assert_same_path(mine: np.ndarray, peers: np.ndarray, problem: str, bound: float) -> None:
    """‖θ − θ̂‖ / ‖θ̂‖ is within the bound after every update, on a path that leads somewhere."""
    assert mine.dtype == peers.dtype == np.float64
    assert mine.shape == peers.shape
    start = flat(np, PROBLEMS[problem].start)
    moved = np.linalg.norm(peers[-1] - start) / np.linalg.norm(start)
    assert 0.02 <= moved <= 30, f"the peer's path is none to compare, it moved by {moved:.1e} of its start"
    errors = np.linalg.norm(mine - peers, axis=1) / np.linalg.norm(peers, axis=1)
    beyond = np.flatnonzero(~(errors <= bound))
    assert not beyond.size, (
        f"apart from update {beyond[0] + 1} on: {errors[beyond[0]]:.1e}, at the end {errors[-1]:.1e}"
    )
