"""Writes the table of docs/optimizers/index.md: every optimizer at its own best learning rate, on three datasets.

`python docs/which_optimizer.py`: 16 optimizers, 25 rates from 1e-5 to 10, three seeds, mini-batches of 64, 30 epochs, a
network with 32 hidden units. Every other hyperparameter is the default.
"""

import pathlib
import re

import numpy as np

import gdjax
from gdjax import tasks

PAGE = pathlib.Path(__file__).parent / "optimizers" / "index.md"
NAMES = (
    *("gd", "momentum", "heavy_ball", "adagrad", "rmsprop", "adadelta", "adam", "adamw", "amsgrad", "adamax"),
    *("nadam", "radam", "adabelief", "yogi", "lamb", "lion"),
)
DATA = ("digits", "breast_cancer", "diabetes")
RATES = np.logspace(-5, 1, 25)
NEAR = 1.1
"""A rate is near the best one if its loss is at most so many times the least."""


def cells(name: str, data: str) -> str:
    """The best rate, its mean validation loss, and how many decades of rates come near it."""
    task = tasks.load(data)
    found = gdjax.sweep(
        task.loss, task.init, task.train, optimizer=getattr(gdjax, name), grid={"learning_rate": RATES},
        regime=gdjax.mini_batch(64), epochs=30, seeds=range(3), validation=task.validation,
    )  # fmt: skip
    best = found.best()
    near = np.count_nonzero(found.mean <= NEAR * best.loss)
    decades = near * float(np.diff(np.log10(RATES))[0])
    return f"{best.loss:.3f} | {best.hyperparameters['learning_rate']:.2g} | {decades:.2g}"


def table() -> str:
    """The Markdown table."""
    heads = " | ".join(f"{data.replace('_', ' ')} | rate | decades" for data in DATA)
    lines = [f"| | {heads} |", "|---" + "|---" * 3 * len(DATA) + "|"]
    lines += [f"| [{name}]({name}.md) | {' | '.join(cells(name, data) for data in DATA)} |" for name in NAMES]
    return "\n".join(lines)


if __name__ == "__main__":
    gdjax.compile_small_loops()
    text = PAGE.read_text("utf-8")
    new = re.sub(r"(<!-- table -->\n).*?(<!-- /table -->)", lambda m: f"{m[1]}{table()}\n{m[2]}", text, flags=re.DOTALL)
    PAGE.write_text(new, "utf-8")
