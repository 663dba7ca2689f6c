"""Is the suggested learning rate as good as the best of a grid? On three tables, for four optimizers.

Rates are suggested from five seeds and judged on ten others: the mean validation loss after 30 epochs, over that of the
best of 64 rates. A test of the whole length stands beside tests of a third and of a tenth of it.

    python docs/learning_rates.py         # prints the first table of docs/sweeps.md, draws docs/learning_rates.png
"""

import pathlib

import numpy as np

import gdjax
from gdjax import tasks

TABLES = ("digits", "breast_cancer", "diabetes")
FACTORIES = (gdjax.gd, gdjax.momentum, gdjax.rmsprop, gdjax.adam)
EPOCHS = 30
GRID = np.logspace(-5, 1.5, 64)
FRESH = range(100, 110)
PICTURED = ("digits", gdjax.adam)


def main():
    print(
        "| data | optimizer | suggested | as good as the best | best of 64 | loss there | suggestion | third | tenth |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in TABLES:
        task = tasks.load(name)
        given = {"regime": gdjax.mini_batch(64), "validation": task.validation}
        for factory in FACTORIES:
            tests = [
                gdjax.find_learning_rate(task.loss, task.init, task.train, optimizer=factory, epochs=epochs, **given)
                for epochs in (EPOCHS, EPOCHS // 3, EPOCHS // 10)
            ]
            if (name, factory) == PICTURED:
                tests[0].plot().savefig(pathlib.Path(__file__).with_suffix(".png"), dpi=110)
            rates = np.append(GRID, [test.suggestion for test in tests])
            fresh = gdjax.sweep(
                task.loss, task.init, task.train, optimizer=factory, grid={"learning_rate": rates}, epochs=EPOCHS,
                seeds=FRESH, **given,
            )  # fmt: skip
            grid, suggested = np.split(fresh.mean, [len(GRID)])
            whole, *shorter = suggested / grid.min()
            print(
                f"| {name} | `{factory.__name__}` | {tests[0].suggestion:.3g} | {tests[0].lowest:.3g} to "
                f"{tests[0].highest:.3g} | {GRID[grid.argmin()]:.3g} | {grid.min():.3f} | {whole:.3f} | "
                f"{' | '.join(f'{ratio:.2f}' for ratio in shorter)} |",
                flush=True,
            )


if __name__ == "__main__":
    gdjax.compile_small_loops()
    main()
