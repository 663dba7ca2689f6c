"""Which batch size reaches a loss soonest: what noise asks for, joined with what a step costs on this machine.

Batches of B examples need about S (1 + N/B) steps, N the gradient noise scale and S the steps of noiseless descent. A
small batch makes many cheap steps in doubtful directions, a large one few and dear ones in nearly the same direction;
the time (1 + N/B) · t(B) has its least where neither is wasted.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.data.placement import placed
from gdjax.data.regimes import Regime, full_batch, mini_batch
from gdjax.engine.evaluation import evaluate
from gdjax.engine.fit import RECORD_STEPS, advance
from gdjax.engine.progress import progress_bar
from gdjax.engine.training import Training, TrainingState, training
from gdjax.sweeps.figures import BLUE, GREEN, ORANGE, figure
from gdjax.sweeps.noise_scale import NoiseScale, noise_scale
from gdjax.types import Batch, LossFn, Params

PILOT = 64
"""Rows of a batch in the pilot run, at most a tenth of the data."""

LOOKS = 10
"""Places of the pilot run at which noise is measured, its start among them."""

DRAWS = 8
"""Draws of a look."""

TIMED_SECONDS, ROUNDS = 0.03, 5
"""A step's time is measured over so long, so often."""


@dataclasses.dataclass(frozen=True)
class BatchSizes:
    """An estimate of what each batch size takes."""

    sizes: np.ndarray
    """Ascending [sizes]."""
    seconds_per_step: np.ndarray
    """Measured [sizes]."""
    steps: np.ndarray
    """Estimated, in steps of noiseless descent, at least 1 [sizes]."""
    suggestion: int
    """The size whose steps take the least time together."""
    lowest: int
    """The least size that the noise scale's interval allows."""
    highest: int
    """Likewise the largest."""
    noise_scale: float
    """Of the pilot run as a whole, in examples."""
    looks: tuple[NoiseScale, ...]
    """Along the pilot run, evenly."""
    reason: str
    """Of the suggestion, in one sentence."""

    @property
    def relative_seconds(self) -> np.ndarray:
        """Estimated time to the same loss, that of the suggestion being 1 [sizes]."""
        seconds = self.steps * self.seconds_per_step
        return seconds / seconds[list(self.sizes).index(self.suggestion)]

    def plot(self) -> Any:
        """Time, and the steps and the time of a step that it is made of, against the batch size; noise along the run.

        Raises:
          ImportError: if matplotlib is not installed.
        """
        paper, (left, right) = figure(2, size=(9.6, 4.2))
        step = self.seconds_per_step / self.seconds_per_step[0]
        left.plot(self.sizes, self.relative_seconds, color=BLUE, marker="o", linewidth=2, label="time, suggestion = 1")
        left.plot(self.sizes, self.steps / self.steps[-1], color=ORANGE, linestyle="--", label="steps, largest = 1")
        left.plot(self.sizes, step, color=GREEN, linestyle=":", label="time of a step, smallest = 1")
        left.axvspan(self.lowest, self.highest, color="grey", alpha=0.15, linewidth=0)
        left.axvline(self.suggestion, color="black", linewidth=1, label=f"suggested, {self.suggestion}")
        left.set(xscale="log", yscale="log", xlabel="batch size", title="to the same loss (estimated)")
        left.legend(fontsize=8)
        place = np.linspace(0, 1, len(self.looks))
        estimate, low, high = (np.asarray([look[i] for look in self.looks]) for i in range(3))
        shown = np.isfinite(estimate)
        right.plot(place[shown], estimate[shown], color=BLUE, marker="o")
        most = np.where(np.isfinite(high), high, 10 * estimate)
        right.fill_between(place[shown], low[shown], most[shown], color=BLUE, alpha=0.15, linewidth=0)
        right.set(yscale="log", xlabel="share of the pilot run", ylabel="examples", title="gradient noise scale")
        return paper


def suggest_batch_size(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Any,
    epochs: int,
    target: float | None = None,
    batch_sizes: Iterable[int] | None = None,
    seed: int = 0,
    model_state: Any = None,
    progress: bool = False,
    check_finite: bool = True,
) -> BatchSizes:
    """Estimate the batch size that reaches a loss soonest on this machine.

    A pilot run measures the gradient noise scale along its way, and then a step of each batch size is timed as `fit`
    makes it. What comes out is an estimate: it takes for granted that each batch size gets the learning rate that suits
    it (`find_learning_rate` finds that), and that noise and signal are alike in all directions.

    Args:
      loss_fn: as in `gdjax.fit`.
      params: as in `gdjax.fit`.
      data: as in `gdjax.fit`, at least two rows.
      optimizer: the pilot's, at a rate that suits batches of 64 (or a tenth of the data, if that is less).
      epochs: how long the pilot is, at least 1: as far as the run that is planned, since noise grows as the loss falls.
      target: a training loss at which the pilot ends, if it comes so far.
      batch_sizes: the sizes to choose from; by default the powers of two below the number of examples, and that.
      seed: what the pilot's initialization and order follow from.
      model_state: as in `gdjax.fit`.
      progress: show a bar (needs tqdm).
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `BatchSizes`: `suggestion`, `reason`, `plot()`, and what they follow from.

    Raises:
      ValueError, TypeError: if an argument is wrong, or the pilot diverges.

    >>> import jax, jax.numpy as jnp, gdjax
    >>> x = jax.random.normal(jax.random.key(0), (512, 4))
    >>> y = x @ jnp.arange(4.0) + jax.random.normal(jax.random.key(1), (512,))
    >>> loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    >>> found = gdjax.suggest_batch_size(loss, jnp.zeros(4), (x, y), optimizer=gdjax.gd(0.05), epochs=3,
    ...                                  batch_sizes=[4, 32, 256])
    >>> found.suggestion in found.sizes, bool(found.relative_seconds.min() == 1)
    (True, True)

    Source: McCandlish, Kaplan & Amodei (2018), "An empirical model of large-batch training", section 2.
    """
    epochs = checks.integer("epochs", epochs, least=1)
    n = checks.rows("data", data)
    if n < 2:
        raise ValueError(f"`data` must have at least two rows, whose gradients may differ, got {n}.")
    sizes = _sizes(batch_sizes, n)
    if target is not None:
        target = float(checks.number("target", target, "be finite", math.isfinite))
    (data,) = placed(data, check_finite=check_finite)
    small = max(1, min(PILOT, n // 10))
    run = training(loss_fn, optimizer=optimizer, regime=mini_batch(small))
    seed = checks.integer("seed", seed, least=0, most=2**32 - 1)
    begin = functools.partial(run.init, params, seed, model_state=model_state, epochs=epochs)
    begin()  # what is wrong with parameters is said before anything is compiled
    rows = max(1, min(n, 4096) // 64)
    with progress_bar(1 + len(sizes), 0, unit="sizes", shown=progress) as bar:
        bar.say(f"pilot run, {run.regime}")
        looks = [
            noise_scale(run.loss, (state.trainable, state.held), state.model_state, data, DRAWS, rows, seed)
            for state in _pilot(run, begin, data, epochs, target)
        ]
        times = _seconds_per_step(run, sizes, begin(), data, bar)
    scale, low, high = (_of_the_run([look[i] for look in looks], small) for i in range(3))

    def soonest(noise: float) -> int:
        return int(sizes[np.argmin(_steps(noise, sizes) * times)])

    best = soonest(scale)
    at = times[list(sizes).index(best)]
    reason = (
        f"Batches of {best} are estimated to be the soonest: the gradient noise scale of the pilot run is {scale:.3g} "
        f"examples (95 % interval {low:.3g} to {high:.3g}), and a step of {best} takes {at * 1e6:.3g} µs, of "
        f"{sizes[0]} {times[0] * 1e6:.3g}, of {sizes[-1]} {times[-1] * 1e6:.3g}."
    )
    return BatchSizes(
        sizes, times, _steps(scale, sizes), best, soonest(low), soonest(high), scale, tuple(looks), reason
    )


def _sizes(given: Any, n: int) -> np.ndarray:
    if given is None:
        return np.asarray([*(2**i for i in range((n - 1).bit_length())), n])
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`batch_sizes` must be a list of integers, got {given!r}.")
    sizes = sorted({checks.integer("batch_sizes", size, least=1, most=n) for size in given})
    if not sizes:
        raise ValueError("`batch_sizes` must hold at least one size, got none.")
    return np.asarray(sizes)


def _regime(size: int, n: int) -> Regime:
    return full_batch() if size == n else mini_batch(int(size))


_judge = jax.jit(evaluate, static_argnames=("loss", "metrics"))


def _pilot(
    run: Training, begin: Callable[[], TrainingState], data: Batch, epochs: int, target: float | None
) -> Iterator[TrainingState]:
    """The states of a run at even distances, from its start to its end or the target."""
    per_epoch = run.regime.steps_per_epoch(len(jax.tree.leaves(data)[0]))
    total = epochs * per_epoch

    def advanced(state: TrainingState, made: int, stop: int) -> TrainingState:
        for part in (*range(made + RECORD_STEPS, stop, RECORD_STEPS), stop):
            state, *_ = advance(run, state, data, part, RECORD_STEPS)
        return state

    def loss_of(state: TrainingState, made: int) -> float:
        parts = state.trainable, state.held
        loss = float(_judge(parts, state.model_state, data, loss=run.loss, metrics=())["loss"])
        if not math.isfinite(loss):
            raise ValueError(
                f"`optimizer` must converge on batches of {run.regime.batch_size}, but the loss was {loss} "
                f"after {made} steps."
            )
        return loss

    if target is not None:
        state, made = begin(), 0
        while made < total and loss_of(state, made) > target:
            stop = min(total, made + 1 + made // 16)  # so finely that the looks lie where they should
            state, made = advanced(state, made, stop), stop
        total = max(made, 1)
    state, made = begin(), 0
    for stop in np.linspace(0, total, LOOKS).astype(int):
        if stop > made:
            state, made = advanced(state, made, int(stop)), int(stop)
        loss_of(state, made)
        yield state


def _of_the_run(scales: list[float], batch_size: int) -> float:
    """The noise scale that stands for a whole run, of those at equal distances of its steps.

    A step of B examples is worth 1 / (1 + N/B) of a noiseless one, and the mean is to be over noiseless steps.
    """
    worth = np.asarray([batch_size / (batch_size + scale) for scale in scales])
    lost = 1 - worth  # worth · N / B, finite also where N is not
    return float(batch_size * lost.sum() / worth.sum()) if worth.sum() > 0 else math.inf


def _steps(scale: float, sizes: np.ndarray) -> np.ndarray:
    """Steps to the same loss, in those of noiseless descent, or, where noise is all, of the largest batch."""
    return 1 + scale / sizes if math.isfinite(scale) else sizes[-1] / sizes


def _seconds_per_step(run: Training, sizes: np.ndarray, state: TrainingState, data: Batch, bar: Any) -> np.ndarray:
    """Wall time of a step of each size as `fit` makes it, compilation apart [sizes].

    The least of several rounds through all sizes, since other jobs slow a machine down for seconds.
    """
    n = len(jax.tree.leaves(data)[0])
    runs = [dataclasses.replace(run, regime=_regime(int(size), n)) for size in sizes]
    zero = jnp.zeros((), jnp.int32)

    def timed(run: Training, steps: int) -> float:
        nonlocal state  # one for all, each time at the start of an epoch: a size changes nothing in it
        state = state._replace(epoch=zero + 0, step=zero + 0)
        program = advance.chosen(run, state, data, steps, RECORD_STEPS)
        started = time.perf_counter()
        state, *_ = jax.block_until_ready(program(run, state, data, steps, RECORD_STEPS))
        return time.perf_counter() - started

    counts = []
    for place, (size, own) in enumerate(zip(sizes, runs, strict=True)):
        bar.reach(1 + place)
        bar.say(f"a step of {size} examples")
        steps = 1
        timed(own, steps)  # compiles
        while timed(own, steps) < TIMED_SECONDS and steps < RECORD_STEPS:
            steps = min(RECORD_STEPS, 4 * steps)
        counts.append(steps)
    rounds = [[timed(own, steps) / steps for own, steps in zip(runs, counts, strict=True)] for _ in range(ROUNDS)]
    return np.min(rounds, axis=0)
