"""A training run as pure functions of arrays: `init`, `epoch` and `steps`.

An epoch is a scan over batches. `steps` is the same body in a loop whose bounds are data, so a run can
be cut anywhere: every way of cutting it gives the same bits, with one executable.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from gdjax import checks
from gdjax.data.feeds import Feed, Parts, ShardedFeed, WindowFeed, feed
from gdjax.data.meshes import automatic, laid, over, untyped
from gdjax.data.placement import check_shards
from gdjax.data.regimes import Regime, RunKeys, Slices, run_keys
from gdjax.data.rows import count_rows, dealt
from gdjax.data.windows import Window
from gdjax.dtypes import float_dtype
from gdjax.engine.averaging import averaged, averaging, started
from gdjax.engine.loss import Callee, callee, mean_loss
from gdjax.engine.parameters import Held, merge, split
from gdjax.engine.sharding import Sharding, lying, sharding_of
from gdjax.engine.stopping import EarlyStopping, StoppingState
from gdjax.transforms.base import GradientTransformation, lift
from gdjax.transforms.clock import learning_rate
from gdjax.transforms.compensated import CompensatedSum, zero_sum
from gdjax.transforms.non_finite import all_finite
from gdjax.types import Batch, LossFn, OptState, Params


class TrainingState(NamedTuple):
    """All that a run is between two steps."""

    epoch: jax.Array
    """Epochs finished, int32, shape ()."""
    step: jax.Array
    """Steps made in the current epoch, int32, shape ()."""
    trainable: Params
    """The inexact arrays of the parameters; None at other leaves."""
    held: Held
    """The other leaves."""
    optimizer_state: OptState
    model_state: Any
    """What the loss returns beside its value, None for most."""
    keys: RunKeys
    """The run's PRNG keys, made from the seed; they never change."""
    loss_sum: CompensatedSum
    """Sum of row losses in the current epoch."""
    epoch_value: jax.Array
    """The last finished epoch's loss (validation loss where there is one), NaN before; shape ()."""
    skipped: jax.Array
    """Steps that were not finite and not made, int32, shape ()."""
    rows_skipped: jax.Array
    """Rows of the current epoch that were skipped, int32, shape ()."""
    average_state: Any
    """The state of the parameters' average; None where none is kept."""
    epochs: jax.Array | None = None
    """How many epochs the run shall have in all, int32, shape (); None where nobody has said. `per_run` asks."""
    sharding: Sharding | None = None
    """How all this lies on a mesh; None where there is none."""
    stopping: StoppingState | None = None
    """What early stopping remembers; None where there is none."""

    @property
    def params(self) -> Params:
        """The parameters, with every leaf as `init` got it but for the training."""
        return merge(self.trainable, self.held)

    @property
    def average(self) -> Params:
        """The averaged parameters, like `params`; None where no average is kept."""
        if self.average_state is None:
            return None
        return merge(averaged(self.average_state, self.trainable), self.held)


class Record(NamedTuple):
    """What happened, step by step."""

    count: jax.Array
    """How many rows of the arrays below are filled, int32."""
    loss: jax.Array
    """Mean loss over the rows seen so far in the step's epoch [steps]; at its last step, the epoch's loss."""
    step_loss: jax.Array
    """Mean loss of each batch, before its update [steps]."""
    learning_rate: jax.Array
    """The rate that acted [steps]; NaN where the optimizer does not tell."""
    recorded: dict[str, jax.Array]
    """What `record=` returned, stacked [steps, ...]; with `non_finite=` also "skipped", how many steps of the run had
    not been made after this one."""


class _Moving(NamedTuple):
    """The part of the state that every step changes."""

    trainable: Params
    optimizer_state: OptState
    model_state: Any
    loss_sum: CompensatedSum
    skipped: jax.Array
    rows_skipped: jax.Array
    average_state: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Training:
    """A run's pure functions; a pytree whose leaves are the optimizer's hyperparameters. See `training`."""

    optimizer: GradientTransformation
    loss: Callee = dataclasses.field(metadata={"static": True})
    regime: Regime = dataclasses.field(metadata={"static": True})
    record: Callable | None = dataclasses.field(metadata={"static": True})
    average: GradientTransformation | None = None
    non_finite: str = dataclasses.field(default="keep", metadata={"static": True})
    mesh: Mesh | None = dataclasses.field(default=None, metadata={"static": True})
    shard_optimizer_state: bool = dataclasses.field(default=False, metadata={"static": True})
    early_stopping: EarlyStopping | None = None

    def init(self, params: Params, seed: Any = 0, *, model_state: Any = None, epochs: Any = None) -> TrainingState:
        """The state before the first step.

        Args:
          params: a pytree whose inexact arrays train, or a function `init_fn(key)` that makes one. With a
            loss that takes `model_state`, the function returns (params, model_state).
          seed: what initialization, order and keys of the run follow from; an integer, may be traced.
          model_state: the model state to start from.
          epochs: how many the run shall have in all, for schedules made by `per_run`; an integer, may be traced.

        Raises:
          ValueError, TypeError: if nothing in `params` trains, or the seed or `epochs` is no integer.
        """
        if not isinstance(seed, jax.core.Tracer):
            seed = np.uint32(checks.integer("seed", seed, least=0, most=2**32 - 1))
        keys = run_keys(seed)
        if callable(params) and jax.tree_util.all_leaves([params]):
            params = params(keys.init)
            if self.loss.has_model_state and model_state is None:
                if not isinstance(params, tuple) or len(params) != 2:
                    raise TypeError(
                        "`params`, where the loss takes `model_state`, must return (params, model_state), or "
                        f"`model_state=` be given, got {params!r}."
                    )
                params, model_state = params
        if self.loss.has_model_state and model_state is None:
            raise TypeError("`model_state` must be given, since the loss takes it, got None.")
        trainable, held = split(params)
        if not jax.tree.leaves(trainable):
            raise ValueError(f"`params` must hold at least one float array to train, got {params!r}.")
        trainable, model_state = (jax.tree.map(_strong, tree) for tree in (trainable, model_state))
        if epochs is not None and not isinstance(epochs, jax.Array):
            epochs = np.int32(checks.integer("epochs", epochs, least=0))
        parts = (trainable, held, model_state, keys, epochs)
        rules = (self.optimizer, self.average, self.early_stopping)
        if self.mesh is not None:
            return self._begin_on_mesh(rules, parts)
        begin = _begin if any(map(_spread, jax.tree.leaves(trainable))) else _begin_at_once
        return begin(*rules, *parts)

    def _begin_on_mesh(self, rules: tuple, parts: tuple) -> TrainingState:
        """Every part of the state is made where it shall lie."""
        assert self.mesh is not None
        sharding = sharding_of(parts[0], self.mesh, spread=self.shard_optimizer_state)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((rules, parts))):
            return _begin_lying(sharding, *rules, *parts)
        copies = over(self.mesh)
        trainable = jax.tree.map(laid, parts[0], sharding.parameters(parts[0]))
        rules, others = jax.tree.map(
            lambda x: laid(x, copies) if isinstance(x, jax.Array | np.ndarray) else x, (rules, parts[1:])
        )
        return _begin_lying_at_once(sharding, *rules, trainable, *others)

    def laid(self, state: TrainingState) -> TrainingState:
        """A state of this run, from whatever devices it lies on, as it lies on this run's."""
        if self.mesh is None:
            if state.sharding is None:
                return state
            device = jax.local_devices()[0]
            return jax.tree.map(lambda x: jax.device_put(x, device), state._replace(sharding=None))
        sharding = state.sharding
        if sharding is None or sharding.mesh != self.mesh or sharding.spread != self.shard_optimizer_state:
            kept = None if sharding is None or sharding.mesh != self.mesh else sharding.specs
            sharding = sharding_of(state.trainable, self.mesh, spread=self.shard_optimizer_state)
            sharding = sharding if kept is None else dataclasses.replace(sharding, specs=kept)
        state = state._replace(sharding=sharding)
        return jax.tree.map(laid, state, sharding.of(state))

    def epoch(self, state: TrainingState, data: Batch) -> tuple[TrainingState, Record]:
        """One epoch, as a scan: reverse-differentiable, to be jitted, mapped and sharded by you.

        Args:
          state: a state at the start of an epoch; under `jit` nobody can see whether it is.
          data: a pytree of arrays with a common leading axis.

        Returns:
          (the state at the start of the next epoch, the record of its steps).

        Raises:
          ValueError, TypeError: if the data's leaves don't fit together, or the state stands within an epoch.
        """
        if not isinstance(state.step, jax.core.Tracer) and np.any(state.step != 0):
            raise ValueError(f"`state` must stand at the start of an epoch, got step {state.step}; take `steps`.")
        data = self._dealt(data)
        slices = self._slices(data)
        state = self.judged(state)
        advance, feed = self._stepper(state, data)

        def block(moving: _Moving, first: Any, batches: int) -> tuple[_Moving, dict]:
            batch = feed.block(first, batches)
            return jax.lax.scan(
                lambda moving, i: advance(moving, first + i, batch(first + i)),
                moving,
                jnp.arange(batches, dtype=jnp.int32),
            )

        records, moving = [], _moving(state)
        whole = slices.full // slices.block if slices.full > slices.block else 0
        if whole:
            starts = jnp.arange(whole, dtype=jnp.int32) * slices.block
            moving, record = jax.lax.scan(lambda m, first: block(m, first, slices.block), moving, starts)
            records.append(jax.tree.map(lambda x: x.reshape(whole * slices.block, *x.shape[2:]), record))
        if slices.full > whole * slices.block:
            moving, record = block(moving, whole * slices.block, slices.full - whole * slices.block)
            records.append(record)
        if slices.remainder:
            moving, last = advance(moving, slices.full, feed.last())
            records.append(jax.tree.map(lambda x: x[None], last))
        record = jax.tree.map(lambda *parts: jnp.concatenate(parts), *records)
        state = self._unless_stopped(state, self._arrive(state, moving, jnp.full((), slices.steps, jnp.int32), slices))
        state = lying(state.sharding, state, Sharding.of)
        return state, Record(count=jnp.full((), slices.steps, jnp.int32), **record)

    def steps(
        self, state: TrainingState, data: Batch, stop: Any, *, capacity: int | None = None
    ) -> tuple[TrainingState, Record]:
        """Steps from wherever the state stands until `stop`, any number of them with one executable.

        Args:
          state: any state of the run.
          data: a pytree of arrays with a common leading axis.
          stop: the number of steps that the run shall have made in all (since its start, not in this call), an
            integer scalar, may be traced.
          capacity: rows of the record, and the most steps that one call makes; by default one epoch's, so that a
            `stop` farther away takes another call.

        Returns:
          (state, record); the record's first `count` rows are filled, the rest are zero.

        Raises:
          ValueError, TypeError: if the data's leaves don't fit together, or `capacity` is no positive integer.
        """
        data = self._dealt(data)
        slices = self._slices(data)
        capacity = slices.steps if capacity is None else checks.integer("capacity", capacity, least=1)
        begin = state.epoch * slices.steps + state.step
        stop = jnp.minimum(jnp.asarray(stop, jnp.int32), begin + capacity)

        def epoch(carry: tuple) -> tuple:
            state, columns, position = carry
            state = self.judged(state)
            advance, feed = self._stepper(state, data)
            end = jnp.minimum(slices.steps, state.step + stop - position)
            end_of_full = jnp.minimum(end, slices.full)
            offset = position - state.step - begin

            def step(i: Any, carry: tuple, parts: Parts) -> tuple:
                moving, columns = carry
                moving, row = advance(moving, i, parts)
                put = functools.partial(_put, at=offset + i)
                return moving, jax.tree.map(put, columns, row)

            def block(b: Any, carry: tuple) -> tuple:
                first = b * slices.block
                batch = feed.block(first, slices.block)
                return jax.lax.fori_loop(
                    jnp.maximum(state.step, first),
                    jnp.minimum(end_of_full, first + slices.block),
                    lambda i, c: step(i, c, batch(i)),
                    carry,
                )

            carry = (_moving(state), columns)
            if slices.full and slices.full <= slices.block:
                carry = block(0, carry)
            elif slices.full:
                blocks = (state.step // slices.block, (end_of_full + slices.block - 1) // slices.block)
                carry = jax.lax.fori_loop(*blocks, block, carry)
            if slices.remainder:
                carry = jax.lax.cond(
                    end > slices.full,
                    lambda c: step(slices.full, c, feed.last()),
                    lambda c: c,
                    carry,
                )
            moving, columns = carry
            arrived = self._unless_stopped(state, self._arrive(state, moving, end, slices))
            return arrived, columns, position + end - state.step

        columns = self._empty_columns(state, data, capacity)
        state, columns, position = jax.lax.while_loop(lambda carry: carry[2] < stop, epoch, (state, columns, begin))
        state = lying(state.sharding, state, Sharding.of)  # so that the next call finds it as this one did
        return state, lying(state.sharding, Record(count=position - begin, **columns), Sharding.copies)

    def judged(self, state: TrainingState) -> TrainingState:
        """The state after early stopping, where there is any, has judged an epoch that just ended.

        `epoch` and `steps` begin with it; it is for those who ask after them whether the run has stopped,
        `state.stopping.stopped`. What the judge is given is `state.stopping.value`.
        """
        if self.early_stopping is None or state.stopping is None:
            return state
        stopping = self.early_stopping.judge(state.stopping, _model(state), state.epoch, state.step == 0)
        return state._replace(stopping=stopping)

    def watched(self, state: TrainingState) -> TrainingState:
        """A state of a run without early stopping, for this one; the epochs that it has made are not judged."""
        assert self.early_stopping is not None
        return state._replace(stopping=self.early_stopping.init(_model(state), state.epoch))

    def restored(self, state: TrainingState) -> TrainingState:
        """The state with the parameters, model state and average of the best epoch, where they are kept."""
        if state.stopping is None or state.stopping.kept is None:
            return state
        judged = state.stopping.best_epoch > 0  # else none was a number

        def chosen(best: jax.Array, last: jax.Array) -> jax.Array:
            return jnp.where(judged.reshape(*judged.shape, *[1] * (last.ndim - judged.ndim)), best, last)

        found = state._replace(**jax.tree.map(chosen, state.stopping.kept, _model(state)))
        return found if self.mesh is None else self.laid(found)

    def _unless_stopped(self, before: TrainingState, after: TrainingState) -> TrainingState:
        """A run that has stopped stands still, but for its place: it is the same for all runs of a sweep."""
        if before.stopping is None:
            return after
        fields = (*_Moving._fields, "epoch_value", "stopping")
        old, new = ({name: getattr(state, name) for name in fields} for state in (before, after))
        stopped = before.stopping.stopped > 0
        return after._replace(**jax.tree.map(lambda a, b: jnp.where(stopped, a, b), old, new))

    def first_step(self, state: TrainingState, data: Batch) -> tuple[TrainingState, dict]:
        """The first step of an epoch alone, for those who want to see what a step takes.

        Returns:
          (the state after it, in which it is not counted, its row of the record).
        """
        data = self._dealt(data)
        advance, feed = self._stepper(state, data)
        moving, row = advance(_moving(state), 0, feed.block(0, 1)(0) if feed.slices.full else feed.last())
        return state._replace(**moving._asdict()), row

    def _dealt(self, data: Batch) -> Batch:
        """The data, dealt out where the regime has shards; better done before, and once, by `gdjax.data.placed`."""
        check_shards(self.regime.shards, self.mesh)
        return dealt(data, self.regime.shards) if self.regime.shards > 1 and not isinstance(data, Window) else data

    def _slices(self, data: Batch) -> Slices:
        if isinstance(data, Window):
            slices = self.regime.slices(data.examples)
            return slices._replace(block=slices.full)
        n = count_rows(data)
        return self.regime.slices(n, sum(math.prod(np.shape(x)) * x.dtype.itemsize for x in jax.tree.leaves(data)) // n)

    def _empty_columns(self, state: TrainingState, data: Batch, capacity: int) -> dict:
        """A record's arrays, before the first step."""
        number = jax.ShapeDtypeStruct((), float_dtype())
        columns = {"loss": number, "step_loss": number, "learning_rate": number, "recorded": {}}
        if self.record is not None:  # only tracing a step tells what it adds
            columns = jax.eval_shape(self.first_step, state, data)[1]
        elif self.non_finite != "keep":
            columns["recorded"] = {"skipped": jax.ShapeDtypeStruct((), jnp.int32)}
        return jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), columns)

    def _stepper(self, state: TrainingState, data: Batch) -> tuple[Callable, Feed | ShardedFeed | WindowFeed]:
        """The epoch's steps and batches: `advance(moving, i, parts) -> (moving, record row)` makes step i."""
        slices, sharding = self._slices(data), state.sharding
        mesh = None if sharding is None else sharding.mesh
        batches = feed(self.regime, slices, data, state.keys.order, state.epoch, mesh)
        epoch_key = jax.random.fold_in(state.keys.step, state.epoch) if "key" in self.loss.wants else None
        float_type = float_dtype()

        def advance(moving: _Moving, i: Any, parts: Parts) -> tuple[_Moving, dict]:
            rows = sum(number for _, number in parts)
            key = None if epoch_key is None else jax.random.fold_in(epoch_key, i)

            def objective(trainable: Params) -> tuple:
                # A copy of the tree: a flax variable that was made outside of this trace may not be written to.
                model_state = jax.tree.map(lambda x: x, moving.model_state)
                return mean_loss(self.loss, merge(trainable, state.held), parts, key=key, model_state=model_state)

            position = {"epoch": state.epoch, "epoch_fraction": jnp.asarray(i, float_type) / slices.steps}
            if state.epochs is not None:
                position["epochs"] = state.epochs
            # Parameters and gradients whole, lest the shares that follow reach back into how the loss is computed.
            trainable = lying(sharding, moving.trainable, Sharding.parameters)
            (loss, model_state), gradients = jax.value_and_grad(objective, has_aux=True)(trainable)
            # JAX's gradient of a real loss at complex parameters is the conjugate of the direction of ascent.
            gradients = lying(sharding, jax.tree.map(jnp.conj, gradients), Sharding.parameters)
            gradients, before = (lying(sharding, tree, Sharding.shares) for tree in (gradients, trainable))
            updates, optimizer_state = self.optimizer.update(
                gradients,
                moving.optimizer_state,
                before,
                value=loss,
                rows=rows,
                epoch_value=state.epoch_value,
                **position,
            )
            trainable = lying(sharding, optax.apply_updates(before, updates), Sharding.parameters)
            optimizer_state = lying(sharding, optimizer_state, Sharding.following, trainable)
            step_loss = loss.astype(float_type)
            average_state = moving.average_state
            if self.average is not None:
                # Really rounded: XLA would leave 16-bit parameters as they were before their rounding.
                reached = jax.lax.optimization_barrier(trainable)
                _, average_state = self.average.update(reached, average_state, reached, **position)
                average_state = lying(sharding, average_state, Sharding.following, trainable)
            made = moving._replace(
                trainable=trainable,
                optimizer_state=optimizer_state,
                model_state=model_state,
                loss_sum=moving.loss_sum.add(rows * step_loss),
                average_state=average_state,
            )
            if self.non_finite == "skip":
                sound = all_finite((loss, gradients, trainable))
                not_made = moving._replace(skipped=moving.skipped + 1, rows_skipped=moving.rows_skipped + rows)
                made = jax.tree.map(functools.partial(jnp.where, sound), made, not_made)
            seen = jnp.asarray(i, jnp.int32) * slices.rows + rows - made.rows_skipped
            row = {
                "loss": made.loss_sum.value / seen.astype(float_type),
                "step_loss": step_loss,
                "learning_rate": learning_rate(optimizer_state).astype(float_type),
                "recorded": {} if self.non_finite == "keep" else {"skipped": made.skipped},
            }
            if self.record is not None:
                model = merge(moving.trainable, state.held)
                row["recorded"] |= _columns(self.record(model, gradients, updates, optimizer_state), row["recorded"])
            return made, row

        return advance, batches

    def _arrive(self, state: TrainingState, moving: _Moving, step: Any, slices: Slices) -> TrainingState:
        """The state after `step` steps of the epoch; after its last one, the start of the next."""
        finished = step == slices.steps
        mean = moving.loss_sum.value / (slices.seen - moving.rows_skipped).astype(float_dtype())
        stopping = state.stopping
        judge = self.early_stopping
        if stopping is not None and judge is not None and judge.monitor == "loss":
            stopping = stopping._replace(value=jnp.where(finished, mean, stopping.value))
        return state._replace(
            epoch=state.epoch + finished.astype(jnp.int32),
            step=jnp.where(finished, 0, step).astype(jnp.int32),
            trainable=moving.trainable,
            optimizer_state=moving.optimizer_state,
            model_state=moving.model_state,
            loss_sum=jax.tree.map(lambda x: jnp.where(finished, 0, x), moving.loss_sum),
            skipped=moving.skipped,
            rows_skipped=jnp.where(finished, 0, moving.rows_skipped),
            average_state=moving.average_state,
            epoch_value=jnp.where(finished, mean, state.epoch_value),
            stopping=stopping,
        )


def _columns(recorded: Any, taken: dict) -> dict[str, jax.Array]:
    if not isinstance(recorded, dict) or not all(
        isinstance(name, str) and hasattr(value, "shape") for name, value in recorded.items()
    ):
        raise TypeError(f"`record` must return a dict of name to array, got {recorded!r}.")
    if taken.keys() & recorded.keys():
        raise ValueError(f"`record` must leave the names {sorted(taken)} to the run, got {sorted(recorded)}.")
    return {name: jnp.asarray(value) for name, value in recorded.items()}


def _begin(
    optimizer: GradientTransformation,
    average: GradientTransformation | None,
    stopping: EarlyStopping | None,
    trainable: Params,
    held: Held,
    model_state: Any,
    keys: RunKeys,
    epochs: Any,
) -> TrainingState:
    """The state before the first step."""
    state = TrainingState(
        epoch=jnp.zeros((), jnp.int32),
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        held=held,
        optimizer_state=optimizer.init(trainable),
        model_state=model_state,
        keys=keys,
        loss_sum=zero_sum(),
        epoch_value=jnp.full((), jnp.nan, float_dtype()),
        skipped=jnp.zeros((), jnp.int32),
        rows_skipped=jnp.zeros((), jnp.int32),
        average_state=None if average is None else started(average, trainable),
        epochs=None if epochs is None else jnp.asarray(epochs, jnp.int32),
    )
    return state if stopping is None else state._replace(stopping=stopping.init(_model(state)))


_begin_at_once = jax.jit(_begin)
"""Compiled, since a state is many small arrays; where leaves are spread over devices, what is made of them leaf by
leaf is spread likewise."""


def _begin_lying(sharding: Sharding, *given: Any) -> TrainingState:
    """As `_begin`, on a mesh."""
    return lying(sharding, _begin(*given)._replace(sharding=sharding), Sharding.of)


_begin_lying_at_once = jax.jit(_begin_lying, static_argnums=0)


def _spread(leaf: Any) -> bool:
    """Whether an array lies on several devices."""
    return isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) > 1


def _strong(leaf: Any) -> Any:
    """An array whose dtype is its own: a weak one would be another, and another program, after the first step."""
    array = jnp.asarray(untyped(leaf))
    return jax.lax.convert_element_type(array, array.dtype) if getattr(array, "weak_type", False) else array


def _model(state: TrainingState) -> dict[str, Any]:
    """What early stopping restores."""
    return {name: getattr(state, name) for name in ("trainable", "model_state", "average_state")}


def _moving(state: TrainingState) -> _Moving:
    return _Moving(*(getattr(state, name) for name in _Moving._fields))


def _put(column: jax.Array, value: jax.Array, at: Any) -> jax.Array:
    return column.at[at].set(value, mode="promise_in_bounds")


def training(
    loss_fn: LossFn,
    *,
    optimizer: Any,
    regime: Regime,
    record: Callable | None = None,
    average: GradientTransformation | None = None,
    non_finite: str = "keep",
    mesh: Mesh | None = None,
    shard_optimizer_state: bool = False,
    early_stopping: EarlyStopping | None = None,
) -> Training:
    """A training run as pure functions `init`, `epoch` and `steps`.

    Args:
      loss_fn: `loss_fn(params, batch) -> scalar`, the mean over the batch's rows. Keyword-only arguments
        that it names are passed: `key` (fresh each step), `training` (True in an update, False in an
        evaluation) and `model_state` (it then returns (loss, model_state)).
      optimizer: a transform of gdjax or optax.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`.
      record: `record(params, gradients, updates, optimizer_state) -> {name: array}`, called in every step
        (before the update is applied) to add columns to the record.
      average: a linear filter under which an average of the parameters is kept beside them, debiased: the moving
        average `transforms.ema(0.999)`, or `transforms.weighted_sum(schedules.window(start, stop))`, uniform over a
        window of updates (before it, the parameters of the moment). It is `state.average`.
      non_finite: what becomes of a step whose loss, gradient or new parameters are not finite. "keep" makes it.
        "skip" leaves parameters, moments, counts, model state and the epoch's loss as they were, and counts them in
        `state.skipped`.
      mesh: devices that share the rows of each batch, along the axis "data" or the only one; a batch whose rows they
        don't divide is computed by each. Parameters lie as they did where they were laid on this mesh, and else every
        device has a copy. Which examples make a batch does not depend on it. Give the data as `gdjax.data.placed`
        lays them.
      shard_optimizer_state: spread the optimizer's state over these devices, each of which updates its share of the
        parameters (ZeRO-1), instead of having it lie as the parameters do.
      early_stopping: what `gdjax.early_stopping(...)` makes. A run that it has stopped, which
        `training.judged(state).stopping.stopped` tells after an epoch, stands still whatever steps it is told to make;
        `training.restored(state)` has the best epoch's parameters. Another metric than the training loss must be set
        after each epoch, as `state.stopping.value`, which `fit` does.

    Returns:
      A `Training`.

    Raises:
      ValueError, TypeError: if an argument is of the wrong kind.

    >>> import jax.numpy as jnp, gdjax
    >>> run = gdjax.training(lambda w, x: jnp.mean((w - x) ** 2), optimizer=gdjax.gd(0.5), regime=gdjax.full_batch())
    >>> state, record = run.epoch(run.init(jnp.array(0.0)), jnp.array([1.0, 3.0]))
    >>> float(state.params), float(record.loss[-1])
    (2.0, 5.0)
    """
    if not isinstance(regime, Regime):
        raise TypeError(f"`regime` must be made by full_batch, stochastic or mini_batch, got {regime!r}.")
    if record is not None and not callable(record):
        raise TypeError(f"`record` must be a function, got {record!r}.")
    checks.choice("non_finite", non_finite, ("keep", "skip"))
    checks.choice("shard_optimizer_state", shard_optimizer_state, (True, False))
    mesh = automatic(mesh)
    if mesh is None and shard_optimizer_state:
        raise ValueError("`shard_optimizer_state` must come with a `mesh`, got none.")
    check_shards(regime.shards, mesh)
    if not isinstance(early_stopping, EarlyStopping | None):
        raise TypeError(f"`early_stopping` must be made by `gdjax.early_stopping(...)`, got {early_stopping!r}.")
    return Training(
        lift("optimizer", optimizer), callee("loss_fn", loss_fn), regime, record,
        None if average is None else averaging(average), non_finite, mesh, shard_optimizer_state, early_stopping,
    )  # fmt: skip
