"""What processes that train together must agree on: what they train, how long a chunk is, when to save and to stop.

A clock and a keyboard tell each of them something else; all else follows from the run's state, which is the same
everywhere.
"""

import re
import zlib
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

ARGUMENTS = (
    "epochs", "regime", "seed", "data", "validation", "loss_fn", "params", "model_state", "optimizer", "average",
    "early_stopping", "record", "metrics", "non_finite", "checkpoint", "versions",
)  # fmt: skip
"""What processes must be told alike; in this order it is compared."""


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


class Wishes(NamedTuple):
    """What a process wants to do next."""

    chunk: int
    """Steps."""
    due: bool
    """Whether a checkpoint is due at the end of the epoch."""
    save: bool
    """Whether one is to be saved now."""
    stop: bool
    """Whether it wants to stop."""
    failed: bool
    """Whether it must."""


def agreed(wishes: Wishes) -> Wishes:
    """What all do: steps and checkpoints as the first process wants them, and an end if any wants it."""
    all_wishes = multihost_utils.process_allgather(np.asarray(wishes, np.int32))
    chunk, due, save = all_wishes[0, :3].tolist()
    return Wishes(chunk, bool(due), bool(save), *all_wishes[:, 3:].any(axis=0).tolist())


def anywhere(flag: bool) -> bool:
    """Whether it is so in any process."""
    return bool(multihost_utils.process_allgather(np.asarray([flag], np.int32)).any())


def told_by_first(number: int) -> int:
    """The first process's number."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def check_alike(run: dict[str, str]) -> None:
    """All processes must train the same.

    Args:
      run: {argument, and where in it: in words}, as `gdjax.engine.fingerprint` makes it.

    Raises:
      ValueError: naming an argument that differs.
    """
    words = dict.fromkeys(ARGUMENTS, "")
    for name, word in run.items():
        words[re.split(r"[.\[ ']", name)[0]] += f"{name}: {word};"
    digests = np.asarray([zlib.crc32(words[name].encode()) for name in ARGUMENTS], np.uint32)
    others = multihost_utils.process_allgather(digests)
    for index, theirs in enumerate(others):
        for place in np.flatnonzero(theirs != others[0]):
            raise ValueError(
                f"`{ARGUMENTS[place]}` must be the same in all processes, but process {index} has another than "
                "process 0."
            )
