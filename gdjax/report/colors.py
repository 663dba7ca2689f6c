"""Colors and strokes that are told apart by everybody, on paper too."""

from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Source: Okabe & Ito (2008), "Color universal design"."""

DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
"""Matplotlib's: solid, dashed, dotted, by turns, and three that are put together."""

MARKERS = ("o", "^", "s", "v", "D", "P", "X", "<")
"""Matplotlib's; with these, what colors tell can be told without them."""
