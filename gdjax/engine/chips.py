"""TPUs that nobody has to own: their devices, as their compiler knows them, and their memory."""

import os
import re

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from gdjax.data.meshes import ROWS

ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
"""What the compiler asks its machine for; any answer will do, since the topology is named. Others may use it too."""

MEMORY = {
    "TPU v2": 8,
    "TPU v3": 16,
    "TPU v4": 16,
    "TPU v5 lite": 16,
    "TPU v5": 95,
    "TPU v6 lite": 32,
}
"""GiB of a device, by its kind, of which the compiler alone is there. Source: the system architecture pages of Cloud
TPU's documentation; a device of v2, v3 and v4 is then one of the two cores of a chip."""

FLAT = re.compile(r"v[56]e:(1|2|4|8|16)x(1|2|4|8|16)", re.IGNORECASE)
"""Slices of the generations with two axes; given others, their compiler ends the process."""


def topology(name: str) -> Mesh:
    """The devices of a TPU slice as a mesh with the axis "data", to compile for.

    Args:
      name: the generation and the chips along each axis, as v5e:2x4, v6e:16x16, v5p:4x4x4.

    Raises:
      ImportError: if the TPU's compiler is not installed.
      ValueError, TypeError: if there is no such slice.
    """
    if not isinstance(name, str):
        raise TypeError(f"`topology` must be a name such as 'v5e:2x4', got {name!r}.")
    if name.lower().startswith(("v5e", "v6e")) and not FLAT.fullmatch(name):
        raise ValueError(
            f"`topology` of v5e and v6e must have two sides of 1, 2, 4, 8 or 16 chips, as 'v5e:2x4', got '{name}'."
        )
    jax.devices()  # this machine's own, before the compiler is told of another
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    refusals = []
    for host in ({}, {"chips_per_host_bounds": (1, 1, 1)}):  # a slice smaller than a host's has hosts of one chip
        try:
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **host)
        except (RuntimeError, FileNotFoundError, ImportError) as error:
            refusals.append(str(error).partition("\n")[0])
        else:
            return Mesh(np.asarray(found.devices), (ROWS,))
    if "INVALID_ARGUMENT" not in refusals[0]:
        raise ImportError(f"`topology` needs the TPU's compiler, pip install 'gdjax[tpu]': {refusals[0]}")
    raise ValueError(f"`topology` must name a TPU slice such as 'v5e:2x4', got '{name}' ({refusals[-1]}).")


def memory_of(device: jax.Device) -> int | None:
    """Bytes that a device has for programs and data in all; None where nobody tells."""
    if device.platform == "cpu":
        names = getattr(os, "sysconf_names", {})
        if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()
    try:
        return (device.memory_stats() or {})["bytes_limit"]
    except (jax.errors.JaxRuntimeError, KeyError):  # a device of another process, or of nobody
        return MEMORY[device.device_kind] * 2**30 if device.device_kind in MEMORY else None
