"""What all pictures share: the axes that they are drawn on, labels, and a look for each label."""

from collections.abc import Mapping
from typing import Any

from gdjax.report.colors import COLORS, DASHES, MARKERS


def on_axes(axes: Any) -> Any:
    """The axes given, or those of a new figure of pyplot's: a notebook shows it, and so does `plt.show()`.

    Raises:
      TypeError: if `axes` are none.
      ImportError: if matplotlib is not installed.
    """
    if axes is None:
        try:
            import matplotlib.pyplot as plt  # only here: most who import this draw nothing
        except ImportError:
            raise ImportError("pictures need matplotlib, got none: pip install matplotlib, or 'gdjax[demo]'.") from None
        return plt.subplots(layout="constrained")[1]
    if not hasattr(axes, "get_xaxis_transform"):
        raise TypeError(f"`axes` must be one Axes of matplotlib, got {type(axes).__name__}.")
    return axes


def by_label(name: str, value: Any, kind: str) -> dict[str, Any]:
    """Things by their labels; one that comes alone has an empty label.

    Raises:
      ValueError: if there is none.
    """
    if not isinstance(value, Mapping):
        return {"": value}
    if not value:
        raise ValueError(f"`{name}` must hold at least one {kind}, got none.")
    return {str(label): each for label, each in value.items()}


def place_of(name: str, label: str) -> str:
    """How an argument is called in an error: with its label, if it has one."""
    return f"{name}[{label!r}]" if label else name


def color(place: int) -> str:
    """Of the thing at a place."""
    return COLORS[place % len(COLORS)]


def dash(place: int) -> Any:
    """Likewise, of its line."""
    return DASHES[place % len(DASHES)]


def marker(place: int) -> str:
    """Likewise, of its points."""
    return MARKERS[place % len(MARKERS)]


def plain(axis: Any) -> None:
    """Ordinary numbers on a logarithmic axis of few decades: 0.6 rather than 6 × 10⁻¹."""
    low, high = axis.get_view_interval()
    if high < 1000 * low:
        axis.set_major_formatter("{x:g}")
    if high < 10 * low:
        axis.set_minor_formatter("{x:g}")
