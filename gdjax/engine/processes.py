"""What processes that train together must agree on: how long a chunk is, and whether anybody wants to stop.

A clock and a keyboard tell each of them something else; all else follows from the run's state, which is the same
everywhere.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh


def several(mesh: Mesh | None) -> bool:
    """Whether the devices of a mesh belong to several processes.

    Raises:
      ValueError: if they belong to some of the processes, or only to another.
    """
    if mesh is None or jax.process_count() == 1:
        return False
    owners = {device.process_index for device in mesh.devices.flat}
    if owners != {jax.process_index()} and len(owners) < jax.process_count():
        raise ValueError(
            f"`mesh` must have devices of this process ({jax.process_index()}) or of all {jax.process_count()}, "
            f"got those of {sorted(owners)}."
        )
    return len(owners) > 1


def agreed(chunk: int, *, stop: bool, failed: bool) -> tuple[int, bool, bool]:
    """(steps of the next chunk as the first process wants them, whether any wants to stop, whether any must)."""
    wishes = multihost_utils.process_allgather(np.asarray([chunk, stop, failed], np.int32))
    return int(wishes[0, 0]), bool(wishes[:, 1].any()), bool(wishes[:, 2].any())
