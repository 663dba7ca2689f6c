"""One device: optimizer updates as a share of its copy bandwidth, and the compiled run beside a loop of steps.

    python -m benchmarks.gpu [--small] [--json FILE]

An update cannot be faster than its bytes: the parameters and moments are read and written, the gradient is read.
Needs jax, optax, numpy and, for PyTorch's rows, torch. Runs on a CPU too (`--small`).
"""

import argparse
import functools
import itertools
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two libraries share the device

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gdjax
from benchmarks.contest import enough, repeated

BYTES = {"gd": 12, "momentum": 20, "rmsprop": 20, "adam": 28, "adamw": 28, "lion": 20}
"""Bytes a float32 parameter."""

RATE = 1e-3

OPTAX = {
    "gd": lambda: optax.sgd(RATE),
    "momentum": lambda: optax.sgd(RATE, momentum=0.9),
    "rmsprop": lambda: optax.rmsprop(RATE),
    "adam": lambda: optax.adam(RATE),
    "adamw": lambda: optax.adamw(RATE),
    "lion": lambda: optax.lion(RATE),
}

TORCH = {
    "gd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
}
"""Names and arguments; lion is not PyTorch's."""


def sizes(small: bool) -> dict[str, list[int]]:
    """Trees, as sizes of leaves."""
    scale = 64 if small else 1
    hundred = [30 * 10**6 // (100 * scale)] * 100
    many = 200 if small else 2000  # a CPU takes half a minute to compile the latter
    return {"1 leaf": [64 * 2**20 // scale], "100 leaves": hundred, f"{many:,} leaves of 64": [64] * many}


def seconds(run: Callable[[int], Any], least: float = 0.2, turns: int = 5) -> float:
    """Seconds per unit of work: the median over turns."""
    run(3)
    units, times = enough(run, least), []
    for _ in range(turns):
        started = time.perf_counter()
        run(units)
        times.append((time.perf_counter() - started) / units)
    return statistics.median(times)


def copy_bandwidth(small: bool) -> float:
    """Bytes a second, read and written, of a large addition in place."""
    x = jnp.zeros((4 if small else 256) * 2**20, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run(times: int) -> None:
        nonlocal x
        for _ in range(times):
            x = add(x)
        x.block_until_ready()

    return 2 * x.nbytes / seconds(run)


def jax_update(rule: Any, leaves: list[int], hold: Callable = lambda tree: tree) -> Callable[[int], Any]:
    """The jitted update, parameters and state given away."""
    params, gradients = (hold([jnp.full(n, value, jnp.float32) for n in leaves]) for value in (1.0, 0.1))
    moving = params, jax.jit(rule.init)(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, gradients: Any) -> tuple:
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return repeated(step, moving, gradients)


def torch_update(name: str, leaves: list[int], device: str, kind: str) -> Callable[[int], Any]:
    """PyTorch's update; `kind` is "fused" or "foreach"."""
    import torch

    params = [torch.full((n,), 1.0, device=device, requires_grad=True) for n in leaves]
    for leaf in params:
        leaf.grad = torch.full_like(leaf, 0.1)
    maker, arguments = TORCH[name]
    optimizer = getattr(torch.optim, maker)(params, lr=RATE, **arguments, **{kind: True})

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def torch_device() -> str | None:
    """Where PyTorch can stand beside JAX; None, and a line that says so, where it cannot."""
    try:
        import torch
    except ImportError:
        print("PyTorch is left out: it is not installed.")
        return None
    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        print(f"PyTorch is left out: torch {torch.__version__} has no CUDA here.")
        return None
    return "cuda"


def updates(small: bool, bandwidth: float) -> list[dict[str, Any]]:
    """A row for each optimizer, tree and library."""
    device, rows = torch_device(), []
    for tree, leaves in sizes(small).items():
        for name, bytes_each in BYTES.items():
            runs = {
                "gdjax": lambda name=name, leaves=leaves: jax_update(getattr(gdjax, name)(RATE), leaves),
                "optax": lambda name=name, leaves=leaves: jax_update(OPTAX[name](), leaves),
            }
            if len(leaves) > 1:
                runs["gdjax, packed"] = lambda name=name, leaves=leaves: jax_update(
                    getattr(gdjax, name)(RATE), leaves, hold=gdjax.pack
                )
            kinds = ("foreach",) if name == "rmsprop" else ("fused", "foreach")
            for kind in kinds if device and name in TORCH else ():
                runs[f"torch {kind}"] = functools.partial(torch_update, name, leaves, device, kind)
            for library, make in runs.items():
                took = seconds(make(), least=0.05 if small else 0.2)
                share = bytes_each * sum(leaves) / took / bandwidth
                rows.append({"tree": tree, "optimizer": name, "library": library, "µs": 1e6 * took, "share": share})
                print(
                    f"{tree:20}{name:10}{library:15}{1e6 * took:12,.1f} µs{share:10.1%} of copy bandwidth", flush=True
                )
    return rows


def network(sizes: tuple[int, ...], rows: int, classes: int) -> tuple[list, tuple, Callable]:
    """Weights, data and loss of a classification by a ReLU network; the labels are a random linear rule's."""
    draw = np.random.default_rng(0).standard_normal
    pairs = list(itertools.pairwise(sizes))
    weights = [(np.float32(draw((a, b)) * np.sqrt(2 / a)), np.zeros(b, np.float32)) for a, b in pairs]
    x = draw((rows, sizes[0]), np.float32)
    data = jnp.asarray(x), jnp.asarray(np.argmax(x @ draw((sizes[0], classes), np.float32), axis=1))

    def loss(weights: Any, batch: tuple) -> jax.Array:
        x, y = batch
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w + b)
        logits = x @ weights[-1][0] + weights[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return weights, data, loss


def loop(weights: list, data: tuple, loss: Callable, batch: int) -> Callable[[int], Any]:
    """A jitted optax step in a Python loop, over shuffled epochs."""
    rule, order, n = optax.adam(RATE), np.random.default_rng(0), len(data[0])

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(weights: Any, state: Any, data: tuple, ids: Any) -> tuple:
        gradients = jax.grad(loss)(weights, jax.tree.map(lambda x: x[ids], data))
        updates, state = rule.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state

    def run(epochs: int) -> None:
        params = jax.tree.map(jnp.array, weights)
        state = rule.init(params)
        for _ in range(epochs):
            ids = order.permutation(n).astype(np.int32)
            for first in range(0, n, batch):
                params, state = step(params, state, data, ids[first : first + batch])
        jax.block_until_ready(params)

    return run


def runs(small: bool) -> list[dict[str, Any]]:
    """`gdjax.fit`, shuffled, beside that loop, per step."""
    rows = []
    shapes = {"moons-sized, 2-5-2-2": ((2, 5, 2, 2), 300, 2), "digits-sized, 64-128-10": ((64, 128, 10), 1797, 10)}
    for work, (layers, examples, classes) in shapes.items():
        weights, data, loss = network(layers, examples, classes)
        for batch in (1, 64):

            def fit(epochs: int, case: tuple = (weights, data, loss, batch)) -> None:
                weights, data, loss, batch = case
                rule, regime = gdjax.adam(RATE), gdjax.mini_batch(batch)
                result = gdjax.fit(loss, weights, data, optimizer=rule, regime=regime, epochs=epochs)
                jax.block_until_ready(result.params)

            steps, least = -(-examples // batch), 0.1 if small else 1.0
            ours = seconds(fit, least, turns=3) / steps
            theirs = seconds(loop(weights, data, loss, batch), least, turns=3) / steps
            rows.append({"work": work, "batch": batch, "gdjax µs": 1e6 * ours, "loop µs": 1e6 * theirs})
            print(
                f"{work:25}batch {batch:<4}fit {1e6 * ours:9,.2f} µs a step, loop of jitted optax steps "
                f"{1e6 * theirs:9,.2f} µs: {theirs / ours:,.1f}x",
                flush=True,
            )
    return rows


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller trees, shorter turns")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured")
    arguments = parser.parse_args()
    device = jax.devices()[0].device_kind
    bandwidth = copy_bandwidth(arguments.small)
    print(f"{device}: {bandwidth / 1e9:,.0f} GB/s copied; jax {jax.__version__}, optax {optax.__version__}")
    figures = {"device": device, "copy GB/s": bandwidth / 1e9, "jax": jax.__version__, "optax": optax.__version__}
    figures["updates"] = updates(arguments.small, bandwidth)
    figures["runs"] = runs(arguments.small)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
