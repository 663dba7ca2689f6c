"""The learning-rate test: every rate is tried at once, and the middle of those that do well is suggested.

The range test raises the rate within one run, since a run a rate was too expensive; its losses then depend on the rates
before. In one program all rates are trained side by side from the same start, each as it would be used.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from gdjax import checks
from gdjax.data.regimes import Regime
from gdjax.sweeps.figures import BLUE, ORANGE, figure
from gdjax.sweeps.results import Sweep
from gdjax.sweeps.sweep import sweep
from gdjax.types import Batch, LossFn, Params

RATES = tuple(float(f"{rate:.3g}") for rate in np.logspace(-6, 2, 64))
"""What is tried where nothing else is asked for: eight decades."""

AS_GOOD = 0.05
"""A loss is as good as the lowest if it lies at most this share above it."""


@dataclasses.dataclass(frozen=True)
class RateTest:
    """What the rates came to."""

    sweep: Sweep
    """All runs; its `hyperparameters["learning_rate"]` ascend."""
    suggestion: float
    reason: str
    """Of the suggestion, in one sentence."""
    lowest: float
    """The lowest of the rates that do as well as the best."""
    highest: float
    """Likewise the highest."""

    def plot(self) -> Any:
        """Loss against rate: mean and range over the seeds, diverged rates, and the suggestion.

        Raises:
          ImportError: if matplotlib is not installed.
        """
        paper, (axes,) = figure()
        rates, losses, mean = self.sweep.hyperparameters["learning_rate"], self.sweep.loss, self.sweep.mean
        kept = np.isfinite(mean)
        axes.plot(rates[kept], mean[kept], color=BLUE, marker=".", label="mean over the seeds")
        axes.fill_between(rates[kept], losses[kept].min(1), losses[kept].max(1), color=BLUE, alpha=0.15, linewidth=0)
        top = mean[kept].max()
        axes.plot(
            rates[~kept], np.full((~kept).sum(), top), color=ORANGE, marker="x", linestyle="none", label="diverged"
        )
        axes.axvspan(self.lowest, self.highest, color="grey", alpha=0.15, linewidth=0, label="as good as the best")
        axes.axvline(self.suggestion, color="black", linewidth=1, label=f"suggested, {self.suggestion:g}")
        judged = "training" if self.sweep.history.validation_loss is None else "validation"
        scale = "log" if losses[kept].min() > 0 else "linear"
        axes.set(xscale="log", yscale=scale, xlabel="learning rate", ylabel=f"{judged} loss at the end")
        axes.legend(fontsize=8)
        return paper


def find_learning_rate(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Callable[[Any], Any],
    regime: Regime,
    epochs: int,
    learning_rates: Iterable[float] = RATES,
    seeds: Iterable[int] = range(5),
    model_state: Any = None,
    validation: Batch | None = None,
    memory: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: bool = False,
    check_finite: bool = True,
) -> RateTest:
    """Try many learning rates at once and suggest one.

    Each rate is trained from the same starts for `epochs`. Around the rate of the lowest mean loss lie others that are
    as good, within 5 %: the suggestion is the middle of them, so that neither a lucky seed nor the edge to divergence
    decides.

    Args:
      loss_fn: as in `gdjax.sweep`; likewise all arguments that are not named here.
      params: as in `gdjax.sweep`.
      data: as in `gdjax.sweep`.
      optimizer: learning rate to optimizer, such as `gdjax.adam`, or `lambda rate: gdjax.momentum(rate, 0.95)`.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`; the best rate is another in each.
      epochs: how long each is trained, best as long as the run that is planned: a shorter test prefers rates that are
        fast at first, and knows nothing of overfitting.
      learning_rates: what is tried, positive and at least two; by default 64 from 1e-6 to 100.
      seeds: runs a rate.
      model_state: as in `gdjax.sweep`.
      validation: rates are judged by the loss on it; without it by the training loss.
      memory: as in `gdjax.sweep`.
      mesh: as in `gdjax.sweep`.
      progress: as in `gdjax.sweep`.
      check_finite: as in `gdjax.sweep`.

    Returns:
      A `RateTest`: `suggestion`, `reason`, `plot()`, and the whole `sweep`.

    Raises:
      ValueError, TypeError: if an argument is wrong, or all rates diverge.

    >>> import jax.numpy as jnp, gdjax
    >>> x = jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> found = gdjax.find_learning_rate(loss, jnp.array(0.0), (x, 3 * x + x % 2), optimizer=gdjax.gd,
    ...                                  regime=gdjax.full_batch(), epochs=20)
    >>> found.lowest < found.suggestion < found.highest < 2 / 35    # beyond 2 / L, gradient descent diverges
    True

    Source: the question is that of Smith (2017), "Cyclical learning rates for training neural networks", section 3.3.
    """
    if not callable(optimizer):
        raise TypeError(f"`optimizer` must be a factory, learning rate to optimizer, got {optimizer!r}.")
    if isinstance(regime, list | tuple):
        raise TypeError(f"`regime` must be one regime, since rates suit one, got {regime!r}.")
    rates = _rates(learning_rates)
    found = sweep(
        loss_fn, params, data, optimizer=_ByRate(optimizer), regime=regime, epochs=epochs,
        grid={"learning_rate": rates}, seeds=seeds, model_state=model_state, validation=validation, memory=memory,
        mesh=mesh, progress=progress, check_finite=check_finite,
    )  # fmt: skip
    return rate_test(found)


@dataclasses.dataclass(frozen=True)
class _ByRate:
    """A factory whose first argument, whatever its name, is the learning rate."""

    factory: Callable

    def __call__(self, learning_rate: Any) -> Any:
        return self.factory(learning_rate)


def _rates(given: Any) -> list[float]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`learning_rates` must be a list of numbers, got {given!r}.")
    rates = sorted({float(checks.positive("learning_rates", rate)) for rate in given})
    if len(rates) < 2:
        raise ValueError(f"`learning_rates` must hold at least two rates, got {given!r}.")
    return rates


def rate_test(found: Sweep) -> RateTest:
    """What a sweep over learning rates suggests; they must ascend.

    Raises:
      ValueError: if every rate diverged with some seed.
    """
    rates, mean = found.hyperparameters["learning_rate"], found.mean
    finite = np.flatnonzero(np.isfinite(mean))
    if not finite.size:
        raise ValueError(
            f"`learning_rates` must hold a rate that converges with every seed, got none from {rates[0]:g} to "
            f"{rates[-1]:g}."
        )
    best = int(np.argmin(mean))
    good = mean <= mean[best] + AS_GOOD * abs(mean[best])
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    middle = (low + high) // 2
    judged = "training" if found.history.validation_loss is None else "validation"
    reason = (
        f"{rates[middle]:g} is the middle of {rates[low]:g} to {rates[high]:g}, whose {judged} losses lie within "
        f"{AS_GOOD:.0%} of the lowest, {mean[best]:.4g} at {rates[best]:g}"
    )
    if finite[-1] < len(rates) - 1:
        reason += f"; above {rates[finite[-1]]:g} runs diverge"
    if low == 0 or high == len(rates) - 1:
        reason += "; that is the edge of what was tried, so try more"
    return RateTest(found, float(rates[middle]), reason + ".", float(rates[low]), float(rates[high]))
