"""What saving a run costs it: a state of 50 MB, every epoch of about a second, beside the same run unsaved.

    python -m benchmarks.checkpoints [--folder /a/disk]
    python -m benchmarks.checkpoints --quick          # does it run? 2 MB, epochs of a tenth of a second

Saved and unsaved runs take turns. Beside gdjax's, the same state saved in the same run by orbax's own manager as its
guide has it, from the end of each epoch.
"""

import argparse
import functools
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import gdjax

BATCH = 64


def problem(width: int) -> tuple[Callable, dict, Callable[[int], tuple]]:
    """(loss, parameters, number of rows to data) of two layers of so many units."""
    draw = np.random.default_rng(0)
    params = {name: draw.normal(size=(width, width)).astype(np.float32) / width**0.5 for name in "ab"}

    def loss(params: dict, batch: tuple) -> jax.Array:
        return jnp.mean((jnp.tanh(batch[0] @ params["a"]) @ params["b"] - batch[1]) ** 2)

    def data(rows: int) -> tuple:
        x = draw.normal(size=(rows, width)).astype(np.float32)
        return x, np.tanh(x)

    return loss, params, data


def by_hand(run: Callable, epochs: int, folder: pathlib.Path) -> None:
    """A loop of epochs that saves with orbax's manager."""
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(max_to_keep=3)) as manager:
        state = None
        for epoch in range(epochs):
            state = run(epochs=epoch + 1, state=state).state
            tree = state._replace(keys=jax.tree.map(jax.random.key_data, state.keys))
            manager.save(epoch, args=ocp.args.StandardSave(dict(enumerate(jax.tree.leaves(tree)))))
        manager.wait_until_finished()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="where checkpoints are written, and deleted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    width, seconds, epochs, rounds = (300, 0.1, 3, 1) if given.quick else (1444, 1.0, 16, given.rounds)

    loss, params, data = problem(width)
    fit = functools.partial(
        gdjax.fit, loss, params, optimizer=gdjax.adam(1e-3), regime=gdjax.mini_batch(BATCH), check_finite=False
    )

    def timed(call: Callable, *arguments: object, **others: object) -> float:
        began = time.perf_counter()
        call(*arguments, **others)
        return time.perf_counter() - began

    steps = 16
    fit(data(steps * BATCH), epochs=1)  # compiles
    steps = max(1, round(steps * seconds * 2 / timed(fit, data(steps * BATCH), epochs=2)))
    run = functools.partial(fit, data(steps * BATCH))
    run(epochs=2)
    state_bytes = sum(x.nbytes for x in jax.tree.leaves(run(epochs=0).state) if hasattr(x, "nbytes"))
    found: dict[str, list[float]] = {"unsaved": [], "checkpoint=": [], "by hand": []}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for turn in range(rounds):
            folder = pathlib.Path(name) / str(turn)
            settings = gdjax.checkpoint(folder / "gdjax", every=1, unit="epochs")
            found["unsaved"].append(timed(run, epochs=epochs))
            found["checkpoint="].append(timed(run, epochs=epochs, checkpoint=settings))
            found["by hand"].append(timed(by_hand, run, epochs, folder / "orbax"))
            shutil.rmtree(folder)
    each = found["unsaved"][0] / epochs
    print(f"{state_bytes / 1e6:.0f} MB of state, {epochs} epochs of {each:.2f} s, saved after each")
    unsaved = np.asarray(found.pop("unsaved"))
    for kind, times in found.items():
        costs = np.asarray(times) / unsaved - 1
        print(f"{kind:<12} {np.median(costs):+.1%} of the run's time ({costs.min():+.1%} to {costs.max():+.1%})")


if __name__ == "__main__":
    main()
