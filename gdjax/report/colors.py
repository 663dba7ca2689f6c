"""Colors and strokes that are told apart by everybody, on paper too."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Source: Okabe & Ito (2008), "Color universal design"."""

DASHES = ("-", "--", ":", "-.")
"""Matplotlib's."""
