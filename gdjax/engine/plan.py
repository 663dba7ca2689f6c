"""`plan`: what a run takes on devices that one may not have, told by their compiler.

The real programs are compiled, the epoch for its memory and one step for its cost; nothing is run, and no array is
made.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from gdjax import checks
from gdjax.data.meshes import ROWS, automatic, row_devices
from gdjax.data.placement import outlined
from gdjax.data.regimes import Regime
from gdjax.engine.chips import memory_of, topology
from gdjax.engine.parameters import merge, split
from gdjax.engine.programs import Collective, collectives, program_bytes
from gdjax.engine.sharding import sharding_of
from gdjax.engine.training import Training, TrainingState, training
from gdjax.types import Batch, LossFn, Params

HALVINGS = 8
"""So many times a batch is halved at most, to find one that fits."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run takes on each device; printed, a page."""

    target: str
    """The devices that it was compiled for."""
    devices: int
    """How many they are."""
    regime: Regime
    steps_per_epoch: int
    shard_optimizer_state: bool
    parameters: int
    """Bytes of the parameters."""
    state: int
    """Bytes of the optimizer's state, and of all else that changes."""
    data: int
    """Bytes of the dataset."""
    temporaries: int | None
    """Bytes that an epoch takes beside these; None where they do not fit."""
    total: int
    """Bytes of all of them; where they do not fit, as far as the compiler counted."""
    memory: int | None
    """Bytes that a device has; None where nobody tells."""
    flops: float | None
    """Floating-point operations of a step; None, as the next, where it does not fit or the compiler does not count."""
    bytes_accessed: float | None
    """Bytes that a step reads and writes in memory."""
    seconds: float | None
    """A step's time by the compiler's own model, which leaves out the network and what else it has no model of; right
    for steps below a second, None where it has none."""
    collectives: tuple[Collective, ...]
    """The exchanges of a step."""
    fits: bool
    advice: tuple[str, ...]
    """What would make it fit, each tried by compiling it; or what must be given for it to fit."""

    def __str__(self) -> str:
        chip = "each device" if self.devices > 1 else "the device"
        memory = "unknown" if self.memory is None else _size(self.memory)
        lines = [
            f"{self.target}; {self.regime}, {self.steps_per_epoch:,} steps an epoch",
            f"memory of {chip}, {'it fits' if self.fits else 'IT DOES NOT FIT'}:",
            f"  parameters       {_size(self.parameters):>10}",
            f"  state            {_size(self.state):>10}"
            + ("  spread over the devices" if self.shard_optimizer_state else ""),
            f"  data             {_size(self.data):>10}",
            f"  temporaries      {'unknown' if self.temporaries is None else _size(self.temporaries):>10}",
            f"  total            {_size(self.total):>10}  of {memory}",
        ]
        if self.flops is not None and self.bytes_accessed is not None:
            lines += [
                f"a step on {chip}:",
                f"  operations       {_count(self.flops):>10}FLOP",
                f"  memory traffic   {_size(self.bytes_accessed):>10}",
                *(
                    f"  {kind:<16} {_size(sum(sizes)):>10}" + (f"  in {len(sizes)}" if len(sizes) > 1 else "")
                    for kind, sizes in self._exchanged().items()
                ),
            ]
            lines += [] if self.collectives or self.devices == 1 else ["  no exchange with others"]
        if self.seconds is not None:
            apart = ", the network apart" if self.collectives else ""
            lines.append(f"  time             {_time(self.seconds):>10}  by the compiler's model{apart}; not measured")
            lines.append(f"  an epoch         {_time(self.seconds * self.steps_per_epoch):>10}  likewise")
        lines += [f"- {line}" for line in self.advice]
        return "\n".join(lines)

    def _exchanged(self) -> dict[str, list[int]]:
        """{kind: bytes of each exchange of that kind}."""
        kinds: dict[str, list[int]] = {}
        for each in self.collectives:
            kinds.setdefault(each.kind, []).append(each.bytes)
        return kinds


@dataclasses.dataclass(frozen=True)
class _Case:
    """A run to compile, its devices included."""

    loss_fn: LossFn
    optimizer: Any
    params: Params
    model_state: Any
    data: Batch
    regime: Regime
    mesh: Mesh
    spread: bool

    @functools.cached_property
    def run(self) -> Training:
        return training(
            self.loss_fn, optimizer=self.optimizer, regime=self.regime, mesh=self.mesh,
            shard_optimizer_state=self.spread,
        )  # fmt: skip

    @functools.cached_property
    def arguments(self) -> tuple[TrainingState, Any]:
        """(state, data), as shapes that say where they lie."""
        run, params, model_state = self.run, self.params, self.model_state
        if callable(params) and jax.tree_util.all_leaves([params]):
            state = jax.eval_shape(lambda seed: run.init(params, seed, model_state=model_state), np.uint32(0))
            trainable = state.trainable
        else:
            trainable, held = split(params)
            state = jax.eval_shape(
                lambda trainable, held, model_state, seed: run.init(
                    merge(trainable, held), seed, model_state=model_state
                ),
                *(trainable, held, model_state, np.uint32(0)),
            )
        specs = sharding_of(trainable, self.mesh, spread=self.spread)
        state = state._replace(sharding=specs)
        state = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state, specs.of(state)
        )
        return state, outlined(self.data, self.regime, self.mesh)

    def compiled(self) -> jax.stages.Compiled:
        """An epoch; it gives its state's memory away."""
        return jax.jit(self.run.epoch, donate_argnums=0).lower(*self.arguments).compile()

    def step(self) -> jax.stages.Compiled:
        """A step; likewise."""
        return jax.jit(self.run.first_step, donate_argnums=0).lower(*self.arguments).compile()

    def takes(self, memory: int | None) -> tuple[int, bool]:
        """(bytes of an epoch on each device, whether they fit)."""
        least = _bytes(self.arguments)
        try:
            total = program_bytes(self.compiled()) or least
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return max(_told(str(error)), least), False
        return total, memory is None or total <= memory


def plan(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Any,
    regime: Regime,
    topology: str | None = None,
    mesh: Mesh | None = None,
    shard_optimizer_state: bool = False,
    model_state: Any = None,
) -> Plan:
    """What a run takes on each device: memory, and a step's operations, traffic, exchanges and expected time.

    Args:
      loss_fn: as in `gdjax.fit`.
      params: as in `gdjax.fit`, or the shapes of parameters (`jax.ShapeDtypeStruct`), which may say how they lie on
        `mesh`; a function `init_fn(key)` is only traced.
      data: arrays, or their shapes.
      optimizer: a transform of gdjax or optax.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`.
      topology: a TPU slice that nobody has to have, such as v5e:2x4 (needs the extra `tpu`).
      mesh: devices to compile for instead, as in `gdjax.fit`; by default the first one of this machine.
      shard_optimizer_state: as in `gdjax.fit`.
      model_state: as in `gdjax.fit`, or its shapes.

    Returns:
      A `Plan`, of a run that gives its state's memory away, as under `non_finite="keep"`. Where it does not fit, its
      `advice` says what would, found by compiling it too.

    Raises:
      ImportError: if the TPU's compiler is asked for and not installed.
      ValueError, TypeError: if an argument is wrong.

    >>> import jax, jax.numpy as jnp, gdjax
    >>> shape = jax.ShapeDtypeStruct((10_000, 64), jnp.float32)
    >>> planned = gdjax.plan(lambda w, x: jnp.mean((x @ w) ** 2), lambda key: jnp.ones(64), shape,
    ...                      optimizer=gdjax.adam(1e-3), regime=gdjax.mini_batch(100))
    >>> planned.fits, planned.parameters, planned.data, planned.steps_per_epoch
    (True, 256, 2560000, 100)
    """
    if topology is not None and mesh is not None:
        raise ValueError(f"`topology` must not be given beside `mesh`, got '{topology}'.")
    mesh = _mesh(topology) if mesh is None else automatic(mesh)
    assert mesh is not None
    checks.rows("data", data)
    case = _Case(loss_fn, optimizer, params, model_state, data, regime, mesh, shard_optimizer_state)
    device = mesh.devices.flat[0]
    memory = memory_of(device)
    state, rows = case.arguments
    parameters, everything, data_bytes = _bytes(state.trainable), _bytes(state), _bytes(rows)
    total, fits = case.takes(memory)
    cost, exchanges = {}, ()
    if fits:
        step = case.step()
        cost, exchanges = step.cost_analysis() or {}, tuple(collectives(step.as_text() or ""))
    name = f"{topology}, " if topology else ""
    return Plan(
        target=f"{name}{mesh.size} {device.device_kind} {'device' if mesh.size == 1 else 'devices'}",
        devices=mesh.size,
        regime=regime,
        steps_per_epoch=regime.steps_per_epoch(checks.rows("data", data)),
        shard_optimizer_state=shard_optimizer_state,
        parameters=parameters,
        state=everything - parameters,
        data=data_bytes,
        temporaries=max(0, total - everything - data_bytes) if fits else None,
        total=total,
        memory=memory,
        flops=cost.get("flops"),
        bytes_accessed=cost.get("bytes accessed"),
        seconds=_seconds(cost),
        collectives=exchanges,
        fits=fits,
        advice=tuple(_in_place(total + everything, memory) if fits else _advice(case, memory)),
    )


def _in_place(total: int, memory: int | None) -> Iterator[str]:
    """What `fit` must be told where there is no room for the state that it goes back to when a run diverges."""
    if memory is not None and total > memory:
        yield (
            f'`non_finite="keep"` or "skip" must be given to `fit`, which holds parameters and state once more '
            f"otherwise: {_size(total)} of {_size(memory)}."
        )


def _mesh(name: str | None) -> Mesh:
    if name is not None:
        return topology(name)
    return Mesh(np.asarray(jax.devices()[:1]), (ROWS,))


def _advice(case: _Case, memory: int | None) -> Iterator[str]:
    """What would make it fit; the changes that take least first, and no more than the first that does."""
    for changes, words in _changes(case):
        total, fits = dataclasses.replace(case, **changes).takes(memory)
        if fits:
            yield f"{words} would make it fit: {_size(total)} of {_size(memory or 0)}."
            return
    yield "No smaller batch makes it fit: it takes more devices, parameters spread over them, or data as a stream."


def _changes(case: _Case) -> Iterator[tuple[dict[str, Any], str]]:
    """(fields of a case to replace, their name), from the least change on."""
    devices, size = row_devices(case.mesh), case.regime.batch_size
    spread = {"spread": True}, "shard_optimizer_state=True"
    several = devices > 1 and case.regime.shards == 1
    most: list[tuple[dict[str, Any], str]] = [({}, "")]
    if devices > 1 and not case.spread:
        most.append(spread)
    if several and (size is None or size % devices == 0):
        dealt = {"regime": dataclasses.replace(case.regime, shards=devices)}, f"shards={devices} in the regime"
        most += [({**dealt[0], **changes}, f"{words} and {dealt[1]}" if words else dealt[1]) for changes, words in most]
    yield from most[1:]
    changes, words = most[-1]
    rows = checks.rows("data", case.data) if size is None else size
    for halving in range(1, HALVINGS + 1):
        smaller = rows >> halving
        shards = changes.get("regime", case.regime).shards
        smaller -= smaller % math.lcm(shards, devices if smaller >= devices else 1)
        if smaller < 1:
            return
        regime = dataclasses.replace(
            changes.get("regime", case.regime), batch_size=smaller, shuffle=case.regime.shuffle or size is None
        )
        yield {**changes, "regime": regime}, f"{words}{' and ' if words else ''}batches of {smaller}"


def _bytes(tree: Any) -> int:
    """Of the arrays on one device."""
    return sum(
        math.prod(_share(x)) * (x.dtype.itemsize if hasattr(x.dtype, "itemsize") else 8) for x in jax.tree.leaves(tree)
    )


def _share(x: Any) -> tuple[int, ...]:
    sharding = getattr(x, "sharding", None)
    return sharding.shard_shape(x.shape) if isinstance(sharding, NamedSharding) else x.shape


def _seconds(cost: dict[str, float]) -> float | None:
    """What the compiler's model says; each part that it has no model of counts −1 second there, and nothing here."""
    seconds = cost.get("optimal_seconds")
    return seconds if seconds is None or seconds >= 0 else seconds % 1


def _told(message: str) -> int:
    """What a compiler says that a program which does not fit would use."""
    sizes = re.findall(r"(?:[Uu]sed |temporaries \()([\d.]+)([KMGT]?)", message)
    return max((int(float(number) * 1024 ** " KMGT".index(unit or " ")) for number, unit in sizes), default=0)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _count(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} T"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
