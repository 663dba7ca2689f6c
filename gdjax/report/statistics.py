"""What is a difference, and what is not: t intervals over seeds."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


def mean_interval(values: np.ndarray) -> Interval:
    """Mean and Student-t interval of independent values [seeds]; without bounds (NaN) where there is but one.

    Source: Student (1908), "The probable error of a mean".
    """
    from scipy.special import stdtrit  # what JAX itself stands on; slow to import, and only a report asks

    values = np.asarray(values, float)
    count = values.size
    if count == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if count == 1:
        return Interval(mean, np.nan, np.nan)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def tied(values: np.ndarray, best: np.ndarray) -> bool | None:
    """Whether `values` are no worse than `best`, paired seed by seed: the interval of the difference holds 0.

    NaN is a run that diverged. None where one seed alone cannot tell; False where a run diverged that the best
    did not lose.
    """
    values, best = np.asarray(values, float), np.asarray(best, float)
    both = np.isfinite(values) & np.isfinite(best)
    if (np.isfinite(best) & ~np.isfinite(values)).any() or not both.any():
        return False
    difference = mean_interval(values[both] - best[both])
    if difference.mean == 0:
        return True
    return None if np.isnan(difference.low) else difference.low <= 0
