"""What a sweep leaves: arrays with the axes settings and seeds, and the best of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.data.regimes import Regime
from gdjax.engine.history import History
from gdjax.types import Params


def joined(*parts: Any) -> Any:
    """Arrays of NumPy, or keys of JAX, one after another."""
    if len(parts) == 1:
        return parts[0]
    return jnp.concatenate(parts) if isinstance(parts[0], jax.Array) else np.concatenate(parts)


def at_epoch(values: np.ndarray, epochs: np.ndarray | None) -> np.ndarray:
    """Of values [settings, seeds, epochs] those of each run's epoch, counted from 1; of the last where none is told."""
    if epochs is None:
        return values[..., -1]
    place = np.clip(epochs, 1, values.shape[-1])[..., None] - 1
    return np.take_along_axis(values, place, -1)[..., 0]


@dataclasses.dataclass(frozen=True)
class Best:
    """The best setting of a sweep."""

    hyperparameters: dict[str, Any]
    params: Params
    """Those of its best seed."""
    loss: float
    """Mean over its seeds of the last validation loss, or of the last epoch's training loss where nothing was
    validated."""
    index: int
    """Its place among the settings."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The runs of a sweep in one regime."""

    hyperparameters: dict[str, np.ndarray]
    """{name: [settings, ...]}"""
    seeds: np.ndarray
    """[seeds]"""
    regime: Regime
    history: History
    """As a run's, each array with two more axes in front, [settings, seeds, ...]."""
    params: Params
    """The parameters after the last step, each array with two more axes in front; other leaves are what they were."""
    diverged: np.ndarray
    """Runs whose parameters or last losses are not finite, or that ended above the loss they started from, bool
    [settings, seeds]."""
    seconds: float
    """Wall time of all steps together, compilation and evaluation apart."""
    compile_seconds: float
    """Wall time of compiling what trains; next to nothing where that was done before."""
    epochs: np.ndarray | None = None
    """With early stopping: the epoch, counted from 1, whose parameters these are, the best or the last of the run
    [settings, seeds]. What a history tells of epochs after the run had stopped is NaN."""

    @property
    def loss(self) -> np.ndarray:
        """The last validation loss, or the last epoch's training loss where nothing was validated [settings, seeds].

        With early stopping, that of the epoch whose parameters these are. Infinite where a run diverged: it is what
        settings are judged by.
        """
        losses = self.history.loss if self.history.validation_loss is None else self.history.validation_loss
        return np.where(self.diverged, np.inf, at_epoch(losses, self.epochs))

    @property
    def mean(self) -> np.ndarray:
        """Mean of `loss` over the seeds; infinite where one diverged [settings]."""
        return self.loss.mean(axis=1)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of `loss` over the seeds; NaN for one seed, or where one diverged [settings]."""
        if len(self.seeds) == 1:
            return np.full(len(self.loss), np.nan)
        kept = np.where(self.diverged, np.nan, self.loss)
        return kept.std(axis=1, ddof=1, dtype=np.float64)  # squares of large losses are no float32

    def best(self) -> Best:
        """The setting of the lowest mean loss; one that diverged never wins.

        Raises:
          ValueError: if every setting diverged.
        """
        mean = self.mean
        index = int(np.argmin(mean))
        if not np.isfinite(mean[index]):
            raise ValueError(f"`best` must have a setting whose runs all converge, got {len(mean)} that diverged.")
        seed = int(np.argmin(self.loss[index]))
        return Best(
            {name: values[index] for name, values in self.hyperparameters.items()},
            self.params_of(index, seed),
            float(mean[index]),
            index,
        )

    def params_of(self, setting: int, seed: int = 0) -> Params:
        """The parameters of one run, by its places among settings and seeds."""
        return jax.tree.map(lambda x: x[setting, seed] if isinstance(x, np.ndarray | jax.Array) else x, self.params)

    def to_pandas(self) -> Any:
        """A table with a row for each run: hyperparameters, seed, loss, the last of each metric, diverged.

        Raises:
          ImportError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("`to_pandas` needs pandas, got none: pip install pandas, or 'gdjax[demo]'.") from None
        settings, seeds = self.diverged.shape
        table = {name: list(np.repeat(values, seeds, axis=0)) for name, values in self.hyperparameters.items()}
        table |= {"seed": np.tile(self.seeds, settings), "loss": self.loss.ravel()}
        table |= {name: values[..., -1].ravel() for name, values in self.history.metrics.items()}
        return pd.DataFrame(table | {"diverged": self.diverged.ravel()})
