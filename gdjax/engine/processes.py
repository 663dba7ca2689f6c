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
      ValueError: if they belong to some of several processes.
    """
    if mesh is None or jax.process_count() == 1:
        return False
    owners = {device.process_index for device in mesh.devices.flat}
    if 1 < len(owners) < jax.process_count():
        raise ValueError(
            f"`mesh` must have devices of one process or of all {jax.process_count()}, got those of {sorted(owners)}."
        )
    return len(owners) > 1


def leads(mesh: Mesh | None) -> bool:
    """Whether this process speaks for all that the mesh's devices belong to."""
    return not several(mesh) or jax.process_index() == 0


def agreed(mesh: Mesh | None, chunk: int, *, stop: bool) -> tuple[int, bool]:
    """(steps of the next chunk as the first process wants them, whether any wants to stop)."""
    if not several(mesh):
        return chunk, stop
    wishes = multihost_utils.process_allgather(np.asarray([chunk, stop], np.int32))
    return int(wishes[0, 0]), bool(wishes[:, 1].any())
