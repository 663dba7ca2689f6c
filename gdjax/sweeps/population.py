"""A population: runs of one shape, settings × seeds, trained side by side in one program."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.dtypes import float_dtype
from gdjax.engine.evaluation import evaluate
from gdjax.engine.loss import Callee
from gdjax.engine.native import SmallJit, work
from gdjax.engine.parameters import merge
from gdjax.engine.training import Record, Training, TrainingState
from gdjax.sweeps.lanes import in_lanes
from gdjax.sweeps.memory import program_bytes
from gdjax.types import Batch, Params

RECORD_BYTES = 2**26
"""A call's record, at most."""

LONGEST_CALL = 65536
"""Steps that one call makes at most."""

MOST_LANES, FEWEST_LANES = 128, 16
"""Settings that are stepped as lanes together. Fewer than a vector or two win nothing."""

LANES_WORK = 4_000_000
"""Floats that all lanes compute in a step, at most (see `gdjax.engine.native.work`): more is done better a run at a
time."""

LANES_BYTES = 100_000
"""Likewise the bytes of their states, which must stay in the fastest cache."""

RISEN = 1e-3
"""A run whose loss ends this share above its start has diverged."""


class Runs(NamedTuple):
    """Where the runs of a population stand, between two epochs."""

    states: TrainingState
    """Leading axes [settings, seeds]; see `_state_axes`."""
    start_loss: Any
    """Their losses before the first step [settings, seeds]."""
    epochs: int
    """How many each has made."""

    def at(self, places: np.ndarray) -> "Runs":
        """Those of some settings."""
        return self._of([self], lambda x: x[places])

    @staticmethod
    def joined(several: "list[Runs]") -> "Runs":
        """All of several, whose seeds and epochs are the same."""
        return several[0]._of(several, lambda *parts: np.concatenate([np.asarray(part) for part in parts]))

    def _of(self, several: "list[Runs]", made: Callable) -> "Runs":
        axes = _state_axes(self.states, keys=None)
        states = jax.tree.map(
            lambda axis, first, *rest: first if axis is None else made(first, *rest),
            axes, *(each.states for each in several), is_leaf=lambda x: x is None,
        )  # fmt: skip
        return Runs(states, made(*(each.start_loss for each in several)), self.epochs)


@dataclasses.dataclass(frozen=True)
class Population:
    """Everything that settings × seeds are trained with."""

    run: Training
    """Its optimizer is stacked [settings]."""
    start: Callable | None
    """`init_fn(key, **arguments)`, or None where `params` are given."""
    arguments: dict[str, Any]
    """What `start` takes beside the key, each [settings, ...]."""
    params: Any
    """The parameters that all start from; None where there is a `start`."""
    model_state: Any
    seeds: np.ndarray
    """Integers [seeds]."""
    data: Batch
    validation: Batch | None
    metrics: tuple[Callee, ...]
    epochs: int

    lanes: bool = False
    """Whether settings are stepped as lanes, which suits small runs on a CPU."""
    mesh: jax.sharding.Mesh | None = None
    """The devices that the settings are spread over."""
    runs: Runs | None = None
    """Where the runs stand; None before their first step."""

    def at(self, places: np.ndarray) -> "Population":
        """Some of the settings."""
        run, arguments = jax.tree.map(lambda x: x[places], (self.run, self.arguments))
        runs = None if self.runs is None else self.runs.at(places)
        return dataclasses.replace(self, run=run, arguments=arguments, runs=runs)

    @property
    def devices(self) -> list[jax.Device]:
        """Those that the runs are trained on."""
        return jax.local_devices()[:1] if self.mesh is None else list(self.mesh.devices.flat)

    @property
    def settings(self) -> int:
        """How many there are."""
        return len(jax.tree.leaves(self.run)[0])

    @property
    def size(self) -> int:
        """Runs: settings times seeds."""
        return self.settings * len(self.seeds)

    @property
    def capacity(self) -> int:
        """Steps that one call makes at most, so that its record stays small."""
        row = 3 * jnp.dtype(float_dtype()).itemsize * self.size
        epochs = 1 if self._looks else self.epochs
        steps = self.run.regime.steps_per_epoch(len(jax.tree.leaves(self.data)[0])) * epochs
        steps = 1 << (steps - 1).bit_length()  # a few more epochs are no other program
        return max(1, min(steps, LONGEST_CALL, RECORD_BYTES // row))

    @property
    def _looks(self) -> bool:
        """Whether something is evaluated after every epoch."""
        return self.validation is not None or bool(self.metrics)

    def begin(self) -> TrainingState:
        """The states before the first step, leading axes [settings, seeds]."""
        epochs = jnp.asarray(self.epochs, jnp.int32)
        given = (self.params, self.model_state, self.arguments, epochs)
        return _begin(self.start, self.mesh, self.run, self.seeds, *given)

    def rough_bytes(self) -> int:
        """The bytes of states and records, known without compiling; a program takes a few times that."""
        states = jax.eval_shape(self.begin)
        return 3 * jnp.dtype(float_dtype()).itemsize * self.size * self.capacity + _bytes(states)

    def planned_bytes(self) -> int | None:
        """The bytes that the compiled program takes on all devices, where the backend tells."""
        stop = jax.ShapeDtypeStruct((), jnp.int32)
        states = jax.eval_shape(self.begin)
        lowered = _advance.lower(self.run, states, self.data, stop, self.capacity, self.lanes, self.mesh)
        bytes_ = program_bytes(lowered.compile())
        return None if bytes_ is None else bytes_ * len(self.devices)

    def lanes_at_once(self) -> int:
        """How many settings are best stepped as lanes together; 0 where their axis had better be the first."""
        if self.settings < FEWEST_LANES or self.devices[0].platform != "cpu":
            return 0
        run, arguments = jax.eval_shape(lambda x: jax.tree.map(lambda y: y[0], x), (self.run, self.arguments))
        state = jax.eval_shape(
            functools.partial(_begin_one, self.start),
            run, self.seeds[0], self.params, self.model_state, arguments, np.int32(0),
        )  # fmt: skip
        together = LANES_WORK // work(_steps_of_one.trace(run, state, self.data, 0).jaxpr.jaxpr)
        together = min(together, LANES_BYTES // _bytes(state), MOST_LANES)
        return together if together >= FEWEST_LANES else 0

    def train(self, until: int, told: Callable[[float], None]) -> tuple[dict[str, Any], Runs]:
        """Train all on, from where they stand, until they have made so many epochs.

        Args:
          until: epochs in all, above those made and at most `epochs`.
          told: is called with the epochs made.

        Returns:
          ({"loss", "step_loss", "learning_rate", "diverged", "params", "metrics": {name: …}}, and "validation_loss"
          where something is validated, of the epochs made here, as NumPy arrays [settings, seeds, ...]; where the runs
          stand then).
        """
        per_epoch = self.run.regime.steps_per_epoch(len(jax.tree.leaves(self.data)[0]))
        validates, total = self.validation is not None, per_epoch * until
        judged = self.validation if validates else self.data
        loss = self.run.loss
        judge = functools.partial(_judge, mesh=self.mesh)
        if self.runs is None:
            states, step = self.begin(), 0
            whole = states.trainable, states.held
            start_loss = np.asarray(judge(whole, states.model_state, self.data, loss=loss, metrics=())["loss"])
        else:
            states, start_loss, step = self.runs.states, self.runs.start_loss, self.runs.epochs * per_epoch
        records, evaluations = [], []
        while step < total:
            stop = min(total, step + self.capacity)
            if self._looks:
                stop = min(stop, (step // per_epoch + 1) * per_epoch)
            states, record = _advance(self.run, states, self.data, stop, self.capacity, self.lanes, self.mesh)
            columns = {"loss": record.loss, "step_loss": record.step_loss, "learning_rate": record.learning_rate}
            records.append({name: np.asarray(column)[..., : stop - step] for name, column in columns.items()})
            step = stop
            if self._looks and step % per_epoch == 0:
                values = judge(
                    (states.trainable, states.held), states.model_state, judged,
                    loss=loss if validates else None, metrics=self.metrics,
                )  # fmt: skip
                if validates:
                    states = states._replace(epoch_value=values["loss"].astype(states.epoch_value.dtype))
                evaluations.append(jax.tree.map(np.asarray, values))
            told(step / per_epoch)
        history = jax.tree.map(lambda *parts: np.concatenate(parts, -1), *records) if len(records) > 1 else records[0]
        history["loss"] = history["loss"][..., per_epoch - 1 :: per_epoch]
        looked = {name: np.stack([each[name] for each in evaluations], -1) for name in (evaluations or [{}])[0]}
        lasts = [history["loss"][..., -1], *([looked["loss"][..., -1]] if validates else [])]
        sound = np.asarray(_finite(states.trainable)) & np.all(np.isfinite(lasts), axis=0)
        diverged = ~sound | (lasts[0] > start_loss + RISEN * abs(start_loss))
        outcome = {
            **history,
            **({"validation_loss": looked.pop("loss")} if validates else {}),
            "metrics": looked,
            "diverged": diverged,
            "params": jax.tree.map(np.asarray, merge(states.trainable, states.held)),
        }
        return outcome, Runs(states, start_loss, until)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x.dtype, "itemsize"))


def _axes(run: Training) -> Training:
    """Where a training has its axis of settings: its optimizer has one."""
    return jax.tree.map(lambda _: 0, run)


def _state_axes(state: TrainingState, *, keys: int | None) -> TrainingState:
    """Where states have an axis. The position is the same for all runs, and the keys for all settings of a seed.

    What has no axis stays scalar: loops keep one bound, and each seed's batches are gathered once for all settings.
    """
    every = jax.tree.map(lambda _: 0, state)
    shared = jax.tree.map(lambda _: keys, state.keys)
    epochs = None if state.epochs is None else jax.tree.map(lambda _: None, state.epochs)
    return every._replace(epoch=None, step=None, keys=shared, epochs=epochs)


def _begin_one(
    start: Callable | None, run: Training, seed: Any, params: Any, model_state: Any, arguments: dict, epochs: Any
) -> TrainingState:
    made = params if start is None else functools.partial(_started, start, arguments)
    return run.init(made, seed, model_state=model_state, epochs=epochs)


def _started(start: Callable, arguments: dict, key: jax.Array) -> Params:
    return start(key, **arguments)


def _spread(mesh: jax.sharding.Mesh | None, function: Callable, in_axes: tuple, out_axes: Any) -> Callable:
    """A mapped function whose mapped axis lies over the devices of a mesh: each does its own share, and none waits."""
    if mesh is None:
        return function

    def specs(axes: Any) -> Any:
        names = jax.sharding.PartitionSpec(mesh.axis_names)
        single = jax.sharding.PartitionSpec()
        return jax.tree.map(lambda axis: single if axis is None else names, axes, is_leaf=lambda x: x is None)

    return jax.shard_map(function, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(
    start: Callable | None,
    mesh: jax.sharding.Mesh | None,
    run: Training,
    seeds: jax.Array,
    params: Any,
    model_state: Any,
    arguments: dict,
    epochs: Any,
) -> TrainingState:
    """The states before the first step, leading axes [settings, seeds].

    Args:
      start: `init_fn(key, **arguments)`, or None where `params` are given.
      mesh: the devices, or None.
      run: a training whose optimizer is stacked [settings].
      seeds: integers [seeds].
      params: the parameters that all start from, where there is no `start`.
      model_state: likewise the model state, or None.
      arguments: what `start` takes beside the key, each [settings, ...].
      epochs: how many the runs shall have in all.
    """
    one = functools.partial(_begin_one, start)

    def first(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[0], tree)

    shape = jax.eval_shape(one, first(run), seeds[0], params, model_state, first(arguments), epochs)
    by_seed = jax.vmap(one, (None, 0, None, None, None, None), _state_axes(shape, keys=0))
    axes = (_axes(run), None, None, None, 0, None), _state_axes(shape, keys=None)
    return _spread(mesh, jax.vmap(by_seed, *axes), *axes)(run, seeds, params, model_state, arguments, epochs)


@jax.jit
def _steps_of_one(run: Training, state: TrainingState, data: Batch, stop: Any) -> tuple[TrainingState, Record]:
    return run.steps(state, data, stop)


@functools.partial(SmallJit, static_argnums=(4, 5, 6), donate_argnums=(1,))
def _advance(
    run: Training,
    states: TrainingState,
    data: Batch,
    stop: Any,
    capacity: int,
    lanes: bool,
    mesh: jax.sharding.Mesh | None,
) -> tuple[TrainingState, Record]:
    """All runs to step `stop`, as `Training.steps`; the record's arrays are [settings, seeds, capacity, ...]."""

    def one(run: Training, state: TrainingState, data: Batch, stop: Any) -> tuple[TrainingState, Record]:
        return run.steps(state, data, stop, capacity=capacity)

    every: list[Any] = [None, 0, 0, 0, 0]  # the count is the same for all
    record = Record(*every)
    by_seed, by_setting = _state_axes(states, keys=0), _state_axes(states, keys=None)
    seeds = jax.vmap(one, (None, by_seed, None, None), (by_seed, record))
    axes = (_axes(run), by_setting, None, None), (by_setting, record)
    return _spread(mesh, (in_lanes if lanes else jax.vmap)(seeds, *axes), *axes)(run, states, data, stop)


@functools.partial(jax.jit, static_argnames=("loss", "metrics", "mesh"))
def _judge(
    params: tuple,
    model_state: Any,
    data: Batch,
    *,
    loss: Callee | None,
    metrics: tuple[Callee, ...],
    mesh: jax.sharding.Mesh | None,
) -> dict[str, jax.Array]:
    """Loss and metrics of split parameters, [settings, seeds] each."""
    one = functools.partial(evaluate, loss=loss, metrics=metrics)
    axes = (0, 0, None)
    return _spread(mesh, jax.vmap(jax.vmap(one, axes), axes), axes, 0)(params, model_state, data)


@jax.jit
def _finite(trainable: Any) -> jax.Array:
    """Whether all parameters of a run are finite, bool [settings, seeds]."""
    leaves = jax.tree.leaves(trainable)
    return functools.reduce(jnp.logical_and, (jnp.all(jnp.isfinite(x), range(2, x.ndim)) for x in leaves))
