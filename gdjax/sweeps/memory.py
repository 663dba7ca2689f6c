"""How many settings of a sweep fit into memory at once, and the pieces that follow from it."""

import math
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np

SHARE = 0.8
"""Of the memory that is free, a program may take so much."""


def free_memory(devices: Sequence[jax.Device]) -> float:
    """Bytes that a program may take on some devices together; infinite where nobody tells."""
    told = [device.memory_stats() or {} for device in devices]
    if all("bytes_limit" in each for each in told):
        return SHARE * sum(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in told)
    names = getattr(os, "sysconf_names", {})
    if devices[0].platform == "cpu" and {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return math.inf


def pieces_of(
    settings: int,
    most: int,
    multiple: int,
    rough: Callable[[int], int],
    planned: Callable[[int], int | None],
    memory: float,
) -> list[np.ndarray]:
    """Places of the settings, cut into pieces of one size that fit into memory.

    Args:
      settings: how many there are.
      most: the most that a piece shall have.
      multiple: what a piece's size must be a multiple of.
      rough: settings to the bytes of their states and record, without compiling; a program takes a few times that.
      planned: settings to the bytes that the compiled program takes, or None.
      memory: the limit in bytes.

    Returns:
      Arrays of one length; the last repeats its last place as often as it must.
    """
    size = min(settings, most)
    if 4 * rough(size) > memory:
        size = max(1, min(size, int(size * memory / rough(size))))
        while size > 1 and (bytes_ := planned(size) or 4 * rough(size)) > memory:
            size = max(1, min(size - 1, int(size * memory / bytes_)))
    pieces = math.ceil(settings / size)
    size = math.ceil(settings / pieces / multiple) * multiple
    return [np.minimum(np.arange(first, first + size), settings - 1) for first in range(0, settings, size)]
