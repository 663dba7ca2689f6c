"""Does the noise scale find the batch size that is soonest? The suggestion beside what was measured, task by task.

For every batch size gradient descent gets the best of 24 learning rates, the mean of four seeds decides; the time to
the target is the updates until the training loss is there, times the measured time of one.

    python docs/batch_sizes.py            # prints the second table of docs/sweeps.md, draws docs/batch_sizes.png
"""

import argparse
import pathlib

import jax.numpy as jnp
import numpy as np

import gdjax
from gdjax import tasks

RATES = np.logspace(-3, 1.5, 24)
SEEDS = range(4)


def epochs_for(size):
    """Enough for the target at a good rate: large batches make few steps an epoch."""
    return int(np.clip(40 * np.sqrt(size), 40, 400))


def regression(rows, features, noise, seed=0):
    """Linear regression: (loss, init, data); the target is 10 % above what least squares leaves."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, features)).astype(np.float32)
    truth = draw.standard_normal(features)
    y = (x @ truth + noise * draw.standard_normal(rows)).astype(np.float32)

    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    left = np.mean((x @ np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0] - y) ** 2)
    return loss, jnp.zeros(features), (x, y), 1.1 * left + 1e-4


def table(name, target, **options):
    """A network on a table: (loss, init, data, target)."""
    task = tasks.load(name, **options)
    return task.loss, task.init, task.train, target


TASKS = {
    "digits, 64-32-10": lambda: table("digits", 0.2),
    "digits, linear": lambda: table("digits", 0.15, hidden=()),
    "breast_cancer, 30-32-2": lambda: table("breast_cancer", 0.05),
    "diabetes, 10-32-1": lambda: table("diabetes", 0.35),
    "moons, 2-32-2": lambda: table("moons", 0.1),
    "regression, all directions alike": lambda: regression(4096, 16, 4.0),
}


PICTURED = "digits, 64-32-10"


def updates_to(target, found, n):
    """Updates until the mean loss over the seeds is at the target, at the best rate; between epochs interpolated."""
    per_epoch = found.regime.steps_per_epoch(n)
    best = np.inf
    for losses in found.history.validation_loss.mean(axis=1)[~found.diverged.any(axis=1)]:
        reached = np.flatnonzero(losses <= target)
        if not reached.size:
            continue
        epoch = reached[0]
        if epoch == 0:
            share = 1.0
        else:
            above, below = np.log(losses[epoch - 1]), np.log(losses[epoch])
            share = (above - np.log(target)) / (above - below)
        best = min(best, (epoch + share) * per_epoch)
    return best


def measure(name):
    """(the suggestion, sizes, seconds to the target of each)."""
    loss, init, data, target = TASKS[name]()
    n = len(data[1])
    pilot = gdjax.find_learning_rate(
        loss, init, data, optimizer=gdjax.gd, regime=gdjax.mini_batch(min(64, n // 10)), epochs=10, seeds=(0,)
    )
    found = gdjax.suggest_batch_size(loss, init, data, optimizer=gdjax.gd(pilot.suggestion), epochs=60, target=target)
    seconds = []
    for size, step in zip(found.sizes, found.seconds_per_step, strict=True):
        regime = gdjax.full_batch() if size == n else gdjax.mini_batch(int(size))
        runs = gdjax.sweep(
            loss,
            init,
            data,
            optimizer=gdjax.gd,
            grid={"learning_rate": RATES},
            regime=regime,
            epochs=epochs_for(size),
            seeds=SEEDS,
            validation=data,
        )
        seconds.append(updates_to(target, runs, n) * step)
    return found, np.asarray(seconds), target


def main(names):
    print("| task | target | noise scale | suggested | soonest measured | time at the suggestion | at 64 |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        found, seconds, target = measure(name)
        if name == PICTURED:
            found.plot().savefig(pathlib.Path(__file__).with_suffix(".png"), dpi=110)
        least = seconds.min()
        sizes = list(found.sizes)
        own, usual = (seconds[sizes.index(size)] / least for size in (found.suggestion, 64))
        soonest = f"{sizes[int(seconds.argmin())]}, {least * 1e3:.2g} ms"
        suggested = f"{found.suggestion} ({found.lowest}–{found.highest})"
        print(
            f"| {name} | {target:.3g} | {found.noise_scale:.3g} | {suggested} | {soonest} | {own:.2f} | {usual:.2f} |"
        )
        measured = " ".join(f"{size}:{second / least:.2f}" for size, second in zip(sizes, seconds, strict=True))
        print(f"    measured {measured}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(TASKS))
    gdjax.compile_small_loops()
    main(parser.parse_args().names)
