"""Paper to draw on: matplotlib's figures, where it is installed."""

from typing import Any

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
"""Of Okabe & Ito (2008): told apart by everybody."""


def figure(panels: int = 1, *, size: tuple[float, float] = (6.4, 4.2)) -> tuple[Any, list]:
    """(a figure that belongs to nobody, its axes side by side); a notebook shows it.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # only here, since most sweeps draw nothing
    except ImportError:
        raise ImportError("`plot` needs matplotlib, got none: pip install matplotlib, or 'gdjax[demo]'.") from None
    paper = Figure(figsize=size, layout="constrained")
    return paper, list(paper.subplots(1, panels, squeeze=False)[0])
