"""A population: runs of one shape, settings × seeds, trained side by side in one program."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.dtypes import float_dtype
from gdjax.engine.checkpoint import Keeper, Parts, arrays_of, tree_of
from gdjax.engine.evaluation import evaluate
from gdjax.engine.fit import next_chunk
from gdjax.engine.loss import Callee
from gdjax.engine.native import SmallJit, work
from gdjax.engine.programs import program_bytes
from gdjax.engine.training import Record, Training, TrainingState
from gdjax.sweeps.lanes import in_lanes
from gdjax.sweeps.results import at_epoch
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

SAVED_SECONDS = 2.0
"""Runs that are saved on the way are looked at about this often."""

RECORDED = "recorded."
"""What the names of columns begin with that `record=` adds."""

RISEN = 1e-3
"""A run whose loss ends this share above its start has diverged."""


class Runs(NamedTuple):
    """Where the runs of a population stand."""

    states: TrainingState
    """Leading axes [settings, seeds]; see `_state_axes`."""
    start_loss: Any
    """Their losses before the first step [settings, seeds]."""
    steps: int
    """How many each has made."""

    def at(self, places: np.ndarray) -> "Runs":
        """Those of some settings."""
        return self._of([self], lambda x: x[places])

    @staticmethod
    def joined(several: "list[Runs]") -> "Runs":
        """All of several, whose seeds and steps are the same."""
        return several[0]._of(several, lambda *parts: np.concatenate([np.asarray(part) for part in parts]))

    def _of(self, several: "list[Runs]", made: Callable) -> "Runs":
        # What has no axis is copied: training gives its states' memory away, a piece after the other.
        axes = _state_axes(self.states, keys=None)
        states = jax.tree.map(
            lambda axis, first, *rest: jax.tree.map(jnp.copy, first) if axis is None else made(first, *rest),
            axes, *(each.states for each in several), is_leaf=lambda x: x is None,
        )  # fmt: skip
        return Runs(states, made(*(each.start_loss for each in several)), self.steps)


class Clock(NamedTuple):
    """Wall time in seconds."""

    compiling: float
    """Of the program that trains; zero where it was compiled before."""
    training: float
    """Of the steps, evaluations apart."""


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
    longest: int | None = None
    """Steps between two looks, at most, where they are not at the epochs' ends."""
    validation_to_plateaus: bool = True
    """Whether plateaus judge the validation loss where there is one, or the training loss all the same."""

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
    def per_epoch(self) -> int:
        """Steps."""
        return self.run.regime.steps_per_epoch(len(jax.tree.leaves(self.data)[0]))

    @property
    def capacity(self) -> int:
        """Steps that one call makes at most, so that its record stays small."""
        steps = self.longest or self.per_epoch * (1 if self._looks else self.epochs)
        steps = 1 << (steps - 1).bit_length()  # a few more epochs are no other program
        return max(1, min(steps, LONGEST_CALL, RECORD_BYTES // self._record_bytes))

    @functools.cached_property
    def _record_bytes(self) -> int:
        """What all runs record in a step."""
        columns = 3 * jnp.dtype(float_dtype()).itemsize
        if self.run.record is not None:
            run, state = self._first()
            columns = _bytes(jax.eval_shape(type(run).first_step, run, state, self.data)[1])
        return columns * self.size

    def _first(self) -> tuple[Training, TrainingState]:
        """The shapes of one run and of its state."""
        run, arguments = jax.eval_shape(lambda x: jax.tree.map(lambda y: y[0], x), (self.run, self.arguments))
        state = jax.eval_shape(
            functools.partial(_begin_one, self.start),
            run, self.seeds[0], self.params, self.model_state, arguments, np.int32(0),
        )  # fmt: skip
        return run, state

    @property
    def _looks(self) -> bool:
        """Whether something is evaluated on the way."""
        return self.validation is not None or bool(self.metrics)

    def ends(self, until: int) -> list[int]:
        """Where to look on the way to so many epochs: after each if anything is evaluated, and at the last."""
        made = 0 if self.runs is None else self.runs.steps // self.per_epoch
        return [self.per_epoch * epoch for epoch in range(made + 1 if self._looks else until, until + 1)]

    def begin(self) -> TrainingState:
        """The states before the first step, leading axes [settings, seeds]."""
        epochs = jnp.asarray(self.epochs, jnp.int32)
        given = (self.params, self.model_state, self.arguments, epochs)
        return _begin(self.start, self.mesh, self.run, self.seeds, *given)

    def rough_bytes(self) -> int:
        """The bytes of states and records, known without compiling; a program takes a few times that."""
        states = jax.eval_shape(self.begin)
        return self._record_bytes * self.capacity + _bytes(states)

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
        run, state = self._first()
        together = LANES_WORK // work(_steps_of_one.trace(run, state, self.data, 0).jaxpr.jaxpr)
        together = min(together, LANES_BYTES // _bytes(state), MOST_LANES)
        return together if together >= FEWEST_LANES else 0

    def train(
        self, stops: Sequence[int], told: Callable[[float], None], parts: Parts | None = None
    ) -> tuple[dict[str, Any], Runs, Clock]:
        """Train all on, from where they stand.

        Args:
          stops: numbers of steps since the start of the runs, ascending; after each, what is to be evaluated is. The
            last is the end.
          told: is called with the share of the steps made.
          parts: where they are saved on the way, and taken up again.

        Returns:
          ({"loss", "step_loss", "learning_rate", "recorded": {name: …}, "diverged", "params" as they were split,
          "metrics": {name: …}}, "validation_loss" where something is validated and "epochs" with early stopping, of the
          steps made here, as NumPy arrays [settings, seeds, ...]; where the runs stand then; what it took).

        Raises:
          KeyboardInterrupt: if somebody asked for an end, which only those that are saved notice.
          ValueError, OSError: as `Keeper`.
        """
        with contextlib.ExitStack() as opened:
            keeper = None
            if parts is not None:
                keeper = opened.enter_context(contextlib.closing(parts.keeper(self.per_epoch)))
            way = self._begun(keeper)
            if way.end is None or (way.step < stops[-1] and not self._all_stopped(way.states)):
                self._train(way, stops, told, parts, keeper)
                way.end = self._ends(way)
                if keeper is not None:
                    way.save(keeper)
                    keeper.store.finish()
            runs = Runs(way.states, way.start_loss, way.step)
            return self._outcome(way, stops), runs, Clock(way.compiling, way.training)

    def _begun(self, keeper: Keeper | None) -> "_Way":
        """Where the runs stand, in memory or on disk."""
        if self.runs is None:
            states, first = self.begin(), 0
            start_loss = np.asarray(self._judged(states, self.data, self.run.loss, ())["loss"])
        else:
            states, start_loss, first = self.runs
        way = _Way(states, start_loss, first)
        saved = None if keeper is None else keeper.resumed(arrays_of("states", states))
        return way if saved is None else way.resumed(*saved)

    def _train(
        self, way: "_Way", stops: Sequence[int], told: Callable[[float], None], parts: Parts | None,
        keeper: Keeper | None,
    ) -> None:  # fmt: skip
        """To the last stop, or until every run has stopped by itself."""
        way.states, _, seconds = self._advanced(way.states, way.step)  # no step is made: all is compilation
        way.compiling += seconds
        chunk = 1 if keeper is not None else self.capacity
        for goal in stops:
            while way.step < goal and not self._all_stopped(way.states):
                stop = min(goal, way.step + min(chunk, self.capacity))
                if keeper is not None and parts is not None:
                    due, save = keeper.wishes(way.step)
                    interrupted = parts.was_interrupted()
                    if save or interrupted:
                        way.save(keeper)
                    if interrupted:
                        keeper.store.finish()
                        parts.interrupt()
                    stop = min(stop, keeper.until(way.step, due))
                made = stop - way.step
                way.states, record, seconds = self._advanced(way.states, stop)
                chunk = next_chunk(chunk, made, seconds, SAVED_SECONDS) if keeper is not None else chunk
                way.add(record, made, seconds)
                told((way.step - way.first) / (stops[-1] - way.first))
            if self._looks and way.step == goal and goal > way.looked:
                self._look(way)

    def _advanced(self, states: TrainingState, stop: int) -> tuple[TrainingState, Record, float]:
        """(the states after so many steps, what happened, seconds)."""
        started = time.perf_counter()
        states, record = jax.block_until_ready(
            _advance(self.run, states, self.data, stop, self.capacity, self.lanes, self.mesh)
        )
        return states, record, time.perf_counter() - started

    def _judged(self, states: Any, data: Batch, loss: Callee | None, metrics: tuple[Callee, ...]) -> dict:
        parts = states.trainable, states.held
        return _judge(parts, states.model_state, data, loss=loss, metrics=metrics, mesh=self.mesh)

    def _look(self, way: "_Way") -> None:
        """Evaluate what is to be evaluated, and tell those that judge it."""
        data, loss = (self.data, None) if self.validation is None else (self.validation, self.run.loss)
        values = self._judged(way.states, data, loss, self.metrics)
        if loss is not None and self.validation_to_plateaus:
            way.states = way.states._replace(epoch_value=values["loss"].astype(way.states.epoch_value.dtype))
        judge, stopping = self.run.early_stopping, way.states.stopping
        if judge is not None and stopping is not None:
            if judge.monitor in values:
                stopping = stopping._replace(value=values[judge.monitor].astype(stopping.value.dtype))
            way.states = _stopped(self.run, way.states._replace(stopping=stopping), self.mesh)
        way.looks.append(jax.tree.map(np.asarray, values))
        way.looked = way.step

    def _all_stopped(self, states: TrainingState) -> bool:
        return states.stopping is not None and bool(jnp.all(states.stopping.stopped > 0))

    def _ends(self, way: "_Way") -> dict[str, np.ndarray]:
        """What the runs came to, [settings, seeds] each.

        Last losses and whether parameters are finite; with early stopping the epochs made, and of which one the
        parameters are.
        """
        if way.states.stopping is not None:
            way.states = _stopped(self.run, way.states, self.mesh)
        end: dict[str, Any] = {}
        if (stopping := way.states.stopping) is not None:
            made = np.where(stopping.stopped > 0, stopping.stopped, way.step // self.per_epoch)
            end = {
                "made": made,
                "of": np.where((stopping.best_epoch == 0) | (stopping.kept is None), made, stopping.best_epoch),
            }
        states = self.run.restored(way.states)
        last = np.asarray(self._judged(states, self.data, self.run.loss, ())["loss"])
        return end | {"last": last, "finite": np.asarray(_finite(states.trainable))}

    def _outcome(self, way: "_Way", stops: Sequence[int]) -> dict[str, Any]:
        """What `train` returns."""
        assert way.end is not None
        first, per_epoch = way.first, self.per_epoch
        history, looked = way.columns(), way.found()
        history["loss"] = history["loss"][..., per_epoch - 1 - first % per_epoch :: per_epoch]
        if way.states.stopping is not None:  # what came after a run had stopped is nothing
            before, total = first // per_epoch, max(stops[-1], way.step)
            epochs, steps = way.end["made"] - before, way.end["made"] * per_epoch - first
            looked = {name: _until(column, epochs, max(len(stops), len(way.looks))) for name, column in looked.items()}
            history = {
                name: _until(column, epochs, total // per_epoch - before)
                if name == "loss"
                else _until(column, steps, total - first)
                for name, column in history.items()
            }
        of = way.end.get("of")
        ends = [at_epoch(x, of) for x in (history["loss"], looked.get("loss")) if x is not None and x.size]
        sound = way.end["finite"] & np.all(np.isfinite([way.end["last"], *ends]), axis=0)
        states = self.run.restored(way.states)
        recorded = [name for name in history if name.startswith(RECORDED)]
        return {
            "recorded": {name.removeprefix(RECORDED): history.pop(name) for name in recorded},
            **history,
            **({"validation_loss": looked.pop("loss")} if self.validation is not None else {}),
            "metrics": looked,
            "diverged": ~sound | (way.end["last"] > way.start_loss + RISEN * abs(way.start_loss)),
            **({} if of is None else {"epochs": of}),
            "params": jax.tree.map(_as_numpy, (states.trainable, states.held)),
        }


class _Way:
    """How far runs have come, and what was found on the way.

    Args:
      states: where they stand.
      start_loss: their losses before the first step.
      first: the step that they stood at when this training began.
    """

    def __init__(self, states: TrainingState, start_loss: np.ndarray, first: int) -> None:
        self.states, self.start_loss, self.first, self.step, self.looked = states, start_loss, first, first, first
        self.records: list[dict[str, np.ndarray]] = []
        self.looks: list[dict[str, np.ndarray]] = []
        self.training = self.compiling = 0.0
        self.end: dict[str, np.ndarray] | None = None

    def add(self, record: Record, made: int, seconds: float) -> None:
        """What came of so many steps."""
        columns = {"loss": record.loss, "step_loss": record.step_loss, "learning_rate": record.learning_rate}
        columns |= {f"{RECORDED}{name}": column for name, column in record.recorded.items()}
        self.records.append({name: np.asarray(column)[:, :, :made] for name, column in columns.items()})
        self.step += made
        self.training += seconds

    def columns(self) -> dict[str, np.ndarray]:
        """All that was recorded [settings, seeds, steps, ...]."""
        if len(self.records) > 1:
            self.records = [jax.tree.map(lambda *parts: np.concatenate(parts, 2), *self.records)]
        return dict(self.records[0])

    def found(self) -> dict[str, np.ndarray]:
        """All that was looked at [settings, seeds, looks]."""
        return {name: np.stack([each[name] for each in self.looks], -1) for name in (self.looks or [{}])[0]}

    def save(self, keeper: Keeper) -> None:
        """Begin to save all of it."""
        arrays = arrays_of("states", self.states) | {"start_loss": self.start_loss}
        several = {"record": self.columns() if self.records else {}, "look": self.found(), "end": self.end or {}}
        for kind, columns in several.items():
            arrays |= {f"{kind}.{name}": column for name, column in columns.items()}
        keeper.save(
            self.step, arrays, first=self.first, made=self.step, looked=self.looked,
            training=self.training, compiling=self.compiling,
        )  # fmt: skip

    def resumed(self, arrays: dict[str, Any], about: dict[str, Any]) -> "_Way":
        """As it was saved; how many epochs the runs shall have in all is told anew."""

        def of(kind: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(kind): x for name, x in arrays.items() if name.startswith(kind)}

        arrays.pop("states.epochs", None)
        way = _Way(tree_of("states", arrays, self.states), arrays["start_loss"], about["first"])
        way.step, way.looked = about["made"], about["looked"]
        way.training, way.compiling = about["training"], about["compiling"]
        way.records = [of("record.")] if of("record.") else []
        looks = of("look.")
        count = next(iter(looks.values())).shape[-1] if looks else 0
        way.looks = [{name: column[..., place] for name, column in looks.items()} for place in range(count)]
        way.end = of("end.") or None
        return way


def _until(column: np.ndarray, limit: np.ndarray, length: int) -> np.ndarray:
    """So many numbers of each run; NaN from its limit on."""
    whole = np.full((*column.shape[:2], length, *column.shape[3:]), np.nan, np.result_type(column, np.float32))
    whole[:, :, : column.shape[2]] = column
    whole[np.arange(length) >= limit[..., None]] = np.nan
    return whole


def _as_numpy(leaf: jax.Array) -> Any:
    """An array of NumPy; PRNG keys have none."""
    return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


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


@functools.partial(jax.jit, static_argnums=2)
def _stopped(run: Training, states: TrainingState, mesh: jax.sharding.Mesh | None) -> TrainingState:
    """All runs, after early stopping has judged an epoch that just ended."""
    by_seed, by_setting = _state_axes(states, keys=0), _state_axes(states, keys=None)
    seeds = jax.vmap(lambda run, state: run.judged(state), (None, by_seed), by_seed)
    axes = (_axes(run), by_setting), by_setting
    return _spread(mesh, jax.vmap(seeds, *axes), *axes)(run, states)


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
