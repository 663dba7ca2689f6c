"""How the cost of a run grows: with the batch size, with the leaves, with the examples.

    python -m benchmarks.growth [--out docs] [--quick]

Writes growth.md and growth.png. Runs are `gdjax.fit`, shuffled, Adam; sizes take turns, so that all meet the same
noise of the machine; compilation is apart.
"""

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import gdjax
from benchmarks.contest import enough, repeated
from benchmarks.problems import digits, small_loops, softmax_loss, weights
from benchmarks.report import machine_line

POWERS = tuple(2**k for k in range(4, 13))
BATCHES = (1, 2, 4, 8, *(size + step for size in POWERS for step in (-1, 0, 1)))
LEAVES = (1, 10, 100, 1000)
EXAMPLES = tuple(10**k for k in range(3, 8))
BATCH = 64
"""Rows of a batch where the examples grow."""

KINDS = {"a leaf each": lambda tree: tree, "packed": gdjax.pack}
"""How the leaves are held."""


class Spread(NamedTuple):
    """Quartiles of a time, seconds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, times: list[float]) -> "Spread":
        """The quartiles of these times."""
        return cls(*statistics.quantiles(times, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{1e6 * self.median:.3g} ({1e6 * self.low:.3g}–{1e6 * self.high:.3g})"


def by_turns(runs: dict[Any, tuple[Callable[[int], Any], int]], seconds: float, turns: int) -> dict[Any, Spread]:
    """Seconds per step of each run: `run(units)` does so many units of work, each of so many steps."""
    units = {}
    for name, (run, _) in runs.items():
        run(1)  # compilation
        units[name] = enough(run, seconds)
    times: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, (run, steps) in runs.items():
            started = time.perf_counter()
            run(units[name])
            times[name].append((time.perf_counter() - started) / (units[name] * steps))
    return {name: Spread.of(values) for name, values in times.items()}


def fitting(loss: Callable, params: Any, data: Any, regime: Any) -> tuple[Callable[[int], Any], int]:
    """A run of so many epochs, and the steps of one."""

    def run(epochs: int) -> None:
        result = gdjax.fit(loss, params, data, optimizer=gdjax.adam(1e-3), regime=regime, epochs=epochs)
        jax.block_until_ready(result.params)

    return run, regime.steps_per_epoch(len(data[0]))


def batch_sizes(sizes: Iterable[int], seconds: float, turns: int) -> dict[int, Spread]:
    """Time of a step by batch size: a 64-32-10 network on the digits, five times over."""
    data = jax.tree.map(lambda x: jnp.asarray(np.concatenate(5 * [x])), digits().data)
    params = weights(64, 32, 10)
    regimes = {size: gdjax.mini_batch(size, drop_remainder=True) for size in sizes}
    runs = {size: fitting(softmax_loss, params, data, regime) for size, regime in regimes.items()}
    return by_turns(runs, seconds, turns)


def leaves(counts: Iterable[int], seconds: float, turns: int) -> dict[tuple[str, int], tuple[Spread, float]]:
    """(time of an update, seconds of compilation) by how so many leaves of 64 are held."""
    rule, runs, compilation = gdjax.adam(1e-3), {}, {}
    for count in counts:
        for kind, hold in KINDS.items():
            params = hold([jnp.full(64, float(i)) for i in range(count)])
            gradients, state = jax.tree.map(jnp.ones_like, params), rule.init(params)

            def update(params: Any, state: Any, gradients: Any) -> tuple:
                updates, state = rule.update(gradients, state, params)
                return optax.apply_updates(params, updates), state

            step = jax.jit(update, donate_argnums=(0, 1))
            started = time.perf_counter()
            step.lower(params, state, gradients).compile()
            compilation[kind, count] = time.perf_counter() - started
            runs[kind, count] = (repeated(step, (params, state), gradients), 1)
    times = by_turns(runs, seconds, turns)
    return {name: (times[name], compilation[name]) for name in runs}


class OfExamples(NamedTuple):
    """What so many examples cost."""

    step: Spread
    """Time of a step, order of the epoch included."""
    permutation: float
    """Seconds of `jax.random.permutation`, per step of the epoch that it orders."""
    bytes: int
    """Memory of the run beside data and state: its temporaries, the order's among them."""
    permutation_bytes: int
    """Memory of the permutation."""


def examples(counts: Iterable[int], seconds: float, turns: int) -> dict[int, OfExamples]:
    """What a step of a 4-8-1 regression costs by the number of examples."""
    regime, params, runs, memory, orders = gdjax.mini_batch(BATCH), weights(4, 8, 1), {}, {}, {}
    for count in counts:
        x = jnp.sin(jnp.arange(4 * count, dtype=jnp.float32)).reshape(count, 4)
        data = (x, x.sum(axis=1))
        runs[count] = fitting(_squares, params, data, regime)
        run = gdjax.training(_squares, optimizer=gdjax.adam(1e-3), regime=regime)
        memory[count] = _memory(jax.jit(run.steps, static_argnames="capacity"), run.init(params), data, 1, capacity=1)
        order = jax.jit(lambda key, count=count: jax.random.permutation(key, count))
        key = jax.random.key(0)
        order(key).block_until_ready()
        started = time.perf_counter()
        order(key).block_until_ready()
        orders[count] = (time.perf_counter() - started) / runs[count][1], _memory(order, key)
    times = by_turns(runs, seconds, turns)
    return {count: OfExamples(times[count], orders[count][0], memory[count], orders[count][1]) for count in runs}


def _squares(params: Any, batch: tuple) -> jax.Array:
    (a, b), (c, d) = params
    return jnp.mean(((jnp.tanh(batch[0] @ a + b) @ c + d)[:, 0] - batch[1]) ** 2)


def _memory(function: Any, *arguments: Any, **settings: Any) -> int:
    """Bytes that a compiled function needs beside its arguments."""
    analysis = function.lower(*arguments, **settings).compile().memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def page(by_batch: dict, by_leaves: dict, by_examples: dict) -> str:
    """The page: what one sees, then the figures."""
    steps = [step for size, step in by_batch.items() if size in POWERS]
    excess = [
        by_batch[size].median / statistics.mean(by_batch[size + step].median for step in (-1, 1)) - 1
        for size in by_batch
        if size in POWERS
    ]
    spread = statistics.median((step.high - step.low) / step.median for step in steps)
    first, last = min(by_batch), max(by_batch)
    per_example = by_batch[first].median / (by_batch[last].median / last)
    fewest, most = min(by_examples), max(by_examples)
    least, many = by_examples[fewest], by_examples[most]
    count = max(count for _, count in by_leaves)
    (each, compiling), (packed, packed_compiling) = (by_leaves[kind, count] for kind in KINDS)
    matters = max(map(abs, excess)) > 2 * spread and max(map(abs, excess)) > 0.1
    return "\n".join(
        [
            "# How cost grows",
            "",
            machine_line(),
            "",
            "Made by `python -m benchmarks.growth`. Runs are `gdjax.fit`, shuffled, Adam; times are the median and the "
            "quartiles over turns in which all sizes alternate, compilation apart.",
            "",
            "![Time per step against batch size, leaves and examples](growth.png)",
            "",
            "## Batch size",
            "",
            f"An example costs {per_example:.0f} times as much at batch {first} as at batch {last:,}. Powers of two "
            f"{'stand out' if matters else 'do not stand out'}: against the mean of its two neighbours a power of two "
            f"took {100 * statistics.median(excess):+.1f} % in the median ({100 * min(excess):+.0f} to "
            f"{100 * max(excess):+.0f} %), where the quartiles of one size lie {100 * spread:.0f} % apart.",
            "",
            "A 64-32-10 network on the digits. Small programs run as one native function, large ones kernel by kernel; "
            "where the one ends and the other begins, the time jumps.",
            "",
            *_table(
                ("batch size", "µs a step", "µs an example"),
                [(f"{size:,}", str(step), f"{1e6 * step.median / size:.3g}") for size, step in by_batch.items()],
            ),
            "## Leaves",
            "",
            f"{count:,} leaves of 64 take {each.median / packed.median:.0f} times the time of the same numbers in one "
            f"buffer (`gdjax.pack`), and {compiling / packed_compiling:.0f} times the compilation. Each update is a "
            "call from Python, whose own cost is in the figure and is most of it where leaves are few.",
            "",
            *_table(
                ("leaves", *(f"{kind}: {what}" for kind in KINDS for what in ("µs an update", "compilation, s"))),
                [
                    (
                        f"{number:,}",
                        *(
                            text
                            for kind in KINDS
                            for text in (str(by_leaves[kind, number][0]), f"{by_leaves[kind, number][1]:.2f}")
                        ),
                    )
                    for number in sorted({number for _, number in by_leaves})
                ],
            ),
            "## Examples",
            "",
            f"From {fewest:,} to {most:,} examples a step grows from {1e6 * least.step.median:.3g} to "
            f"{1e6 * many.step.median:.3g} µs, the order of the epoch included, while the run's memory beside the data "
            f"goes from {_bytes(least.bytes)} to {_bytes(many.bytes)}. Ordering {most:,} examples by "
            f"`jax.random.permutation` alone takes {1e6 * many.permutation:.3g} µs for each step and "
            f"{_bytes(many.permutation_bytes)}.",
            "",
            f"A 4-8-1 network, batches of {BATCH}. Memory is what XLA plans, not what the process then holds.",
            "",
            *_table(
                ("examples", "µs a step", "memory", "permutation, µs a step", "its memory"),
                [
                    (
                        f"{number:,}",
                        str(cost.step),
                        _bytes(cost.bytes),
                        f"{1e6 * cost.permutation:.3g}",
                        _bytes(cost.permutation_bytes),
                    )
                    for number, cost in by_examples.items()
                ],
            ),
        ]
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [*(f"| {' | '.join(cells)} |" for cells in (header, len(header) * ("---:",), *rows)), ""]


def _bytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} KB"


def plot(by_batch: dict, by_leaves: dict, by_examples: dict) -> Figure:
    """Three panels, logarithmic."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(list(by_batch), [1e6 * step.median for step in by_batch.values()], "-", color="0.7", zorder=1)
    for powers, label, marker in ((True, "power of two", "o"), (False, "its neighbours", ".")):
        shown = {size: step for size, step in by_batch.items() if (size & (size - 1) == 0) is powers}
        left.plot(list(shown), [1e6 * step.median for step in shown.values()], marker, label=label)
    left.set(xlabel="batch size", ylabel="µs a step")
    for kind in KINDS:
        counts = sorted(count for name, count in by_leaves if name == kind)
        middle.plot(counts, [1e6 * by_leaves[kind, count][0].median for count in counts], "o-", label=kind)
    middle.set(xlabel="leaves of 64", ylabel="µs an update")
    right.plot(
        list(by_examples), [1e6 * cost.step.median for cost in by_examples.values()], "o-", label="a step, whole"
    )
    orders = [1e6 * cost.permutation for cost in by_examples.values()]
    right.plot(list(by_examples), orders, "s--", label="jax.random.permutation alone")
    right.set(xlabel="examples", ylabel="µs a step")
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=8)
    return figure


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs"), metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="few sizes, short runs: a test, no measurement")
    arguments = parser.parse_args()
    small_loops()
    if arguments.quick:
        figures = batch_sizes((1, 15, 16, 17), 0.01, 2), leaves((1, 10), 0.01, 2), examples((1000, 10000), 0.01, 2)
    else:
        figures = batch_sizes(BATCHES, 0.15, 5), leaves(LEAVES, 0.1, 5), examples(EXAMPLES, 0.3, 3)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "growth.md").write_text(page(*figures))
    plot(*figures).savefig(arguments.out / "growth.png", dpi=120)


if __name__ == "__main__":
    main()
