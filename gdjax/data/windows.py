"""Windows on a stream: the batches of the next steps on the devices, and the thread that reads ahead."""

import concurrent.futures
import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, SingleDeviceSharding

from gdjax import checks
from gdjax.data.meshes import laid, over, row_axis, row_devices
from gdjax.data.regimes import Regime
from gdjax.data.streams import Stream
from gdjax.types import Batch

WINDOW_BYTES = 2**25
"""Of a window. Three are in memory at most: one trained on, one before it, and one that is read."""


POLL_SECONDS = 0.2
"""Between two looks whether somebody wants to stop, while a window is waited for."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Window:
    """Some of an epoch's batches."""

    batches: Batch
    """Arrays [batches, rows, ...], full batches in their order; zeros beyond the epoch's end."""
    last: tuple[Batch, ...]
    """The smaller last batch as parts [rows, ...]; read where the window ends the epoch, zeros before."""
    first: jax.Array
    """Which batch of the epoch the first one is, int32, shape ()."""
    examples: int = dataclasses.field(metadata={"static": True})
    """Of the whole dataset."""


class Resident:
    """Data that the devices hold."""

    def __init__(self, data: Any, total: int) -> None:
        self.data, self.total = data, total

    def at(self, step: int, was_interrupted: Callable[[], bool]) -> tuple[Any, int]:
        """(what the steps from this one on are given, the step that needs more)."""
        return self.data, self.total

    def close(self) -> None:
        """Nothing is to be done."""


class Reader:
    """Windows on a stream, each read while the one before it is trained on.

    Args:
      stream: the data.
      regime: how an epoch of them is sliced.
      order: the run's key of that name.
      mesh: the devices that share the rows of a batch, where their number divides it.
      total: steps of the run; nothing is read for later ones.
      check_finite: refuse NaN and infinite numbers, as they are read.
    """

    def __init__(
        self, stream: Stream, regime: Regime, order: jax.Array, mesh: Mesh | None, *, total: int, check_finite: bool
    ) -> None:
        self.stream, self.regime, self.mesh = stream, regime, mesh
        self.total, self.check_finite = total, check_finite
        self.order = np.asarray(jax.random.key_data(order)), jax.random.key_impl(order)
        self.slices = regime.slices(len(stream))
        batch_bytes = self.slices.rows * sum(leaf.nbytes for leaf in jax.tree.leaves(stream.example))
        self.capacity = min(self.slices.full, max(1, WINDOW_BYTES // max(batch_bytes, 1)))
        self.device = next(iter(order.devices()))
        self.blank: tuple[Batch, ...] | None = None
        self.window: Window | None = None
        self.end = -1
        self.ahead: concurrent.futures.Future | None = None
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.awaited = True

    def at(self, step: int, was_interrupted: Callable[[], bool]) -> tuple[Any, int]:
        """(the window that the step lies in, the step that needs the next); to be asked in the order of steps.

        Of an interrupted run a window that has not come yet is not waited for, and none is given.
        """
        if step >= self.end:
            self.ahead = self.ahead or self.thread.submit(self._window, step)
            while not concurrent.futures.wait([self.ahead], timeout=POLL_SECONDS).done:
                if was_interrupted():
                    self.awaited = False
                    return None, step
            self.window, self.end = self.ahead.result()
            self.ahead = self.thread.submit(self._window, self.end) if self.end < self.total else None
        return self.window, self.end

    def close(self) -> None:
        """Read no more."""
        self.thread.shutdown(wait=self.awaited, cancel_futures=True)

    def _window(self, step: int) -> tuple[Window, int]:
        """(the window from this step on, the step after its last)."""
        epoch, first = divmod(step, self.slices.steps)
        words, impl = self.order
        with jax.default_device(_host()):
            ids, last = _ids(words, epoch, first, self.regime, len(self.stream), self.capacity, impl)
        wanted = max(0, min(self.capacity, self.slices.full - first))
        at_end = first + wanted >= self.slices.full
        if self.blank is None:
            self.blank = tuple(self._laid(np.asarray(part), 0, 0) for part in last)
        window = Window(
            self._laid(np.asarray(ids), 1, wanted),
            tuple(self._laid(np.asarray(part), 0, len(part)) for part in last) if at_end else self.blank,
            laid(np.int32(first), self._place(())),  # `device_put` would ask other processes, here in a thread
            len(self.stream),
        )
        return window, step - first + (self.slices.steps if at_end else first + wanted)

    def _place(self, shape: tuple[int, ...], axis: int | None = None) -> jax.sharding.Sharding:
        """Where arrays lie whose `axis` are a batch's rows: there divided, where the devices divide them."""
        if self.mesh is None:
            return SingleDeviceSharding(self.device)
        if axis is None or shape[axis] % row_devices(self.mesh):
            return over(self.mesh)
        return over(self.mesh, *[None] * axis, row_axis(self.mesh))

    def _laid(self, ids: np.ndarray, axis: int, wanted: int) -> Batch:
        """The rows of these ids, arrays [*ids.shape, ...]; every device's own are read, and each once."""
        sharding, read = self._place(ids.shape, axis), {}
        devices = sharding.addressable_devices_indices_map(ids.shape)
        for index in devices.values():
            if str(index) not in read:
                read[str(index)] = self._rows(ids[index], wanted)

        def whole(*leaves: np.ndarray) -> jax.Array:
            of = dict(zip(read, leaves, strict=True))
            parts = [jax.device_put(of[str(index)], device) for device, index in devices.items()]
            shape = (*ids.shape, *leaves[0].shape[ids.ndim :])
            return jax.make_array_from_single_device_arrays(shape, sharding, parts)

        return jax.tree.map(whole, *read.values())

    def _rows(self, ids: np.ndarray, wanted: int) -> Batch:
        """Rows of as many of the ids as are wanted; zeros in place of the others."""
        rows = self.stream.read(ids[:wanted].ravel())
        if self.check_finite:
            checks.finite("data", rows, hint="`check_finite=False` turns this check off")

        def whole(leaf: np.ndarray) -> np.ndarray:
            leaf = leaf.reshape(*ids[:wanted].shape, *leaf.shape[1:])
            missing = len(ids) - len(leaf)
            return np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)]) if missing else leaf

        return jax.tree.map(whole, rows)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _ids(words: Any, epoch: Any, first: Any, regime: Regime, n: int, batches: int, impl: Any) -> tuple:
    """(ids of so many full batches from the first on, those of the last batch's parts)."""
    keys = regime.keys(jax.random.wrap_key_data(words, impl=impl), n, epoch)
    return regime.batches(keys, n, first, batches), regime.last(keys, n)


def _host() -> jax.Device | None:
    """The CPU, so that a device that trains is not asked for ids; None where JAX is told to use no CPU."""
    with contextlib.suppress(RuntimeError):
        return jax.local_devices(backend="cpu")[0]
    return None
