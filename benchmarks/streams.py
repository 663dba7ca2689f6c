"""A dataset larger than memory beside the same rows in memory: speed, and the memory that it takes.

    python -m benchmarks.streams --folder /a/disk     # 8 GiB; needs as much room there
    python -m benchmarks.streams --quick              # does it run? 64 MiB, in a temporary folder

The second epoch of mini-batches over a file of rows mapped into memory, each process by itself; beside it epochs of a
part of the rows in memory. The page cache then holds what of the file it has room for. Linux only: the process's own
pages are what /proc counts as anonymous.
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

FEATURES, CLASSES, BATCH = 784, 10, 256
ROW_BYTES = 4 * (FEATURES + 1)
BLOCK = 2**15
"""Rows made at once."""


def write(folder: pathlib.Path, rows: int) -> None:
    """The rows, on a disk: pixels and labels."""
    draw = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int32, (rows,))
    block = draw.random((BLOCK, FEATURES), np.float32)
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        x[start : start + count] = np.roll(block, start // BLOCK, axis=1)[:count]
        y[start : start + count] = draw.integers(0, CLASSES, count)
    for each in (x, y):
        each.flush()


class Anonymous:
    """The most anonymous memory that this process has had."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = pathlib.Path("/proc/self/status").read_text()
            self.most = max(self.most, int(status.split("RssAnon:")[1].split()[0]) * 1024)
            time.sleep(0.02)


def train(kind: str, folder: pathlib.Path, part: int) -> None:
    """A process's work: prints its figures as JSON."""
    memory = Anonymous()
    import jax
    import jax.numpy as jnp
    import optax

    import gdjax

    def start(key: jax.Array) -> dict:
        a, b = jax.random.split(key)
        return {"a": jax.random.normal(a, (FEATURES, 128)) / 28, "b": jax.random.normal(b, (128, CLASSES)) / 11}

    def loss(params: dict, batch: tuple) -> jax.Array:
        hidden = jax.nn.relu(batch[0] @ params["a"])
        return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["b"], batch[1]).mean()

    mapped = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")
    data = gdjax.stream(mapped) if kind == "stream" else tuple(jnp.asarray(leaf[:part]) for leaf in mapped)
    optimizer, regime = gdjax.adam(1e-3), gdjax.mini_batch(BATCH)
    run = functools.partial(gdjax.fit, loss, start, data, optimizer=optimizer, regime=regime, check_finite=False)
    first = run(epochs=1)  # compiles
    epochs = 1 if kind == "stream" else max(1, len(mapped[0]) // (4 * part))
    began = time.perf_counter()
    result = run(epochs=1 + epochs, state=first.state)
    seconds = time.perf_counter() - began
    steps = len(result.history.step_loss)
    print(json.dumps({"rows_a_second": steps * BATCH / seconds, "seconds": seconds, "anonymous": memory.most}))


def measured(kind: str, folder: pathlib.Path, part: int) -> dict:
    """The figures of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", "--kind", kind, "--folder", str(folder), "--part", str(part)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="where the file is made, and deleted; by default temporary")
    parser.add_argument("--gib", type=float, default=8.0, help="of the file")
    parser.add_argument("--part", type=int, default=300_000, help="rows in memory beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="64 MiB, one round")
    parser.add_argument("--kind", choices=("stream", "memory"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        train(given.kind, given.folder, given.part)
        return
    size, rounds, part = (0.0625, 1, 10_000) if given.quick else (given.gib, given.rounds, given.part)
    rows = int(size * 2**30) // ROW_BYTES
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = pathlib.Path(name)
        write(folder, rows)
        print(f"{rows:,} rows of {ROW_BYTES:,} bytes, {size:g} GiB; batches of {BATCH}; 784-128-10, Adam")
        ratios = []
        for _ in range(rounds):
            stream, memory = measured("stream", folder, part), measured("memory", folder, part)
            ratios.append(stream["rows_a_second"] / memory["rows_a_second"])
            print(
                f"stream {stream['rows_a_second']:>9,.0f} rows/s, anonymous {stream['anonymous'] / 2**20:,.0f} MiB; "
                f"{part:,} rows in memory {memory['rows_a_second']:>9,.0f} rows/s; ratio {ratios[-1]:.2f}"
            )
        print(f"{np.median(ratios):.2f} of the speed in memory ({min(ratios):.2f}–{max(ratios):.2f})")


if __name__ == "__main__":
    main()
