"""`fit`: a thin loop on the host around the compiled run.

Between chunks, and only there, the host looks: validation, metrics, progress, checkpoints, Ctrl-C.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.data.placement import placed
from gdjax.data.regimes import Regime
from gdjax.data.streams import Stream
from gdjax.data.windows import Reader, Resident
from gdjax.engine import fingerprint
from gdjax.engine.averaging import averaged
from gdjax.engine.checkpoint import Checkpoint, Keeper, arrays_of, settings_of, tree_of
from gdjax.engine.evaluation import evaluate, judges_of
from gdjax.engine.history import History, Recorder
from gdjax.engine.interrupt import interruptible
from gdjax.engine.loss import Callee
from gdjax.engine.native import SmallJit
from gdjax.engine.processes import Wishes, agreed, check_alike, several
from gdjax.engine.progress import progress_bar
from gdjax.engine.stopping import EarlyStopping, check_monitor
from gdjax.engine.training import Record, Training, TrainingState, training
from gdjax.transforms.base import GradientTransformation
from gdjax.transforms.non_finite import non_finite_numbers
from gdjax.types import Batch, LossFn, Params

CHUNK_SECONDS = 0.25
"""The host looks about this often."""

RECORD_STEPS = 65536
"""Rows of a chunk's record, and so the most steps of a chunk: the same for every run, so that a longer one is no
other program."""

RECORD_STEPS_OF_USERS = 1024
"""Likewise where `record=` adds columns, which may be large."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves. Where early stopping restores the best epoch, the first three are of that one."""

    params: Params
    """The parameters."""
    model_state: Any
    """What the loss returns beside its value; None for most."""
    average: Params
    """The averaged parameters; None where no average was asked for."""
    state: TrainingState
    """The whole state after the last step; `fit(..., state=result.state, epochs=more)` goes on from it."""
    history: History
    """What the call recorded; with `checkpoint=`, what the whole run did."""
    interrupted: bool
    """Whether Ctrl-C or SIGTERM ended the run early."""

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ended the run."""
        return self.state.stopping is not None and int(self.state.stopping.stopped) > 0


class _EndedError(Exception):
    """A run that had to end; `result` holds what it had come to."""

    result: Result


class NonFiniteError(_EndedError, FloatingPointError):
    """A run whose loss or parameters turned non-finite; `result` holds it as it was before that step."""


class StreamError(_EndedError, RuntimeError):
    """Rows of a stream that could not be read or were not finite; `result` holds the run up to them."""


class CheckpointError(_EndedError, OSError):
    """A checkpoint that could not be written; `result` holds the run up to it."""


def _steps(
    run: Training, state: TrainingState, data: Batch, stop: Any, capacity: int
) -> tuple[TrainingState, Record, jax.Array]:
    state, record = run.steps(state, data, stop, capacity=capacity)
    return state, record, non_finite_numbers(state.trainable)


advance = SmallJit(_steps, static_argnums=(4,))
"""As `Training.steps`, compiled, with options that suit its size; counts besides the parameters that are not finite."""

advance_in_place = SmallJit(_steps, static_argnums=(4,), donate_argnums=(1,))
"""Likewise; the state's memory is given away."""


@jax.jit
def _copied(state: TrainingState) -> TrainingState:
    """A state that may be given away."""
    return jax.tree.map(jnp.copy, state)


@jax.jit
def _judged(run: Training, state: TrainingState) -> TrainingState:
    return run.judged(state)


_evaluate = jax.jit(evaluate, static_argnames=("loss", "metrics"))


def fit(
    loss_fn: LossFn,
    params: Params,
    data: Batch | Stream,
    *,
    optimizer: Any,
    regime: Regime,
    epochs: int,
    seed: int = 0,
    state: TrainingState | None = None,
    model_state: Any = None,
    validation: Batch | None = None,
    metrics: dict[str, Callable] | None = None,
    record: Callable | None = None,
    average: GradientTransformation | None = None,
    early_stopping: EarlyStopping | None = None,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    non_finite: str = "raise",
    mesh: jax.sharding.Mesh | None = None,
    shard_optimizer_state: bool = False,
    progress: bool = False,
    check_finite: bool = True,
) -> Result:
    """Train: whole epochs as one compiled program.

    A second call with the same shapes and functions compiles nothing, whatever the learning rate, the
    decays and the seed are. What the functions close over is read once, as `jax.jit` does: pass numbers that
    change in `data`, `params` or `model_state`.

    Args:
      loss_fn: `loss_fn(params, batch) -> scalar`, the mean over the batch's rows; see `gdjax.training`.
      params: a pytree whose inexact arrays train (other leaves are held), or a function `init_fn(key)`.
        The caller's arrays are left alone.
      data: a pytree of arrays with a common leading axis, one row an example; or `gdjax.stream` of what is too large.
      optimizer: a transform of gdjax or optax.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`.
      epochs: how many the run shall have in all, at least 0.
      seed: what initialization, order and keys of the run follow from, at least 0.
      state: a state of the same run to go on from; `params`, `seed` and `model_state` are then not looked at.
      model_state: the model state to start from, for a loss that takes one.
      validation: data like `data`; the loss on it is computed after each epoch, and is what plateaus judge.
      metrics: {name: function of (params, batch)}, computed after each epoch on the validation data, or on
        the training data where there is none (a stream needs validation data beside it). Of rows dealt out to shards
        they are computed on those and on the rows left over, and the mean is taken.
      record: `record(params, gradients, updates, optimizer_state) -> {name: array}`, columns for each step.
      average: a filter such as `transforms.ema(0.999)` under which the parameters are averaged, debiased, and
        evaluated beside them; see `gdjax.training`.
      early_stopping: what `gdjax.early_stopping(...)` makes: the run ends once its validation loss, or what else is
        watched, no longer improves.
      checkpoint: a folder, or `gdjax.checkpoint(folder, ...)` to say how often: the run is saved there while it goes
        on, and where a run like this one was saved there before, it is gone on with: `params`, `seed`, `state` and
        `model_state` are then not looked at. See `gdjax.checkpoint`.
      non_finite: what becomes of a run whose loss or parameters turn NaN or infinite. "raise" ends it at the next look,
        with its last finite parameters; it costs no time, and memory for parameters and optimizer state once more.
        "skip" makes no step whose loss, gradient or new parameters are not finite; see `gdjax.training`. "keep" goes
        on. Both give their state's memory away.
      mesh: devices that share the rows of each batch, along the axis "data" or the only one; see `gdjax.training`.
        Every device has a copy of the data; of a regime with `shards=` each holds some of the rows. They may be those
        of all processes that `jax.distributed` has joined, each of which makes the same call.
      shard_optimizer_state: spread the optimizer's state over these devices (ZeRO-1).
      progress: show a bar (needs tqdm).
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `Result`. Ctrl-C or SIGTERM, in any process, ends the run after the chunk under way, and what is trained so far
      is saved, where there is a checkpoint, and returned; the same signal again acts as ever.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong, or the checkpoint is another run's.
      NonFiniteError: under `non_finite="raise"`, naming epoch and step; its `result` is what was trained before.
      StreamError: if rows of a stream cannot be read, or are not finite, after the run has begun; likewise.
      CheckpointError: if a checkpoint cannot be written; likewise.

    >>> import jax.numpy as jnp, gdjax
    >>> x = jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> result = gdjax.fit(loss, jnp.array(0.0), (x, 3 * x), optimizer=gdjax.gd(0.01),
    ...                    regime=gdjax.mini_batch(3), epochs=50)
    >>> round(float(result.params), 3), result.history.step_loss.shape
    (3.0, (150,))
    """
    checks.choice("non_finite", non_finite, ("raise", "skip", "keep"))
    run = training(
        loss_fn, optimizer=optimizer, regime=regime, record=record, average=average,
        non_finite="skip" if non_finite == "skip" else "keep", mesh=mesh, shard_optimizer_state=shard_optimizer_state,
        early_stopping=early_stopping,
    )  # fmt: skip
    together = several(run.mesh)
    epochs = checks.integer("epochs", epochs, least=0)
    settings = settings_of(checkpoint)
    per_epoch = regime.steps_per_epoch(len(data) if isinstance(data, Stream) else checks.rows("data", data))
    if epochs * per_epoch >= 2**31:
        raise ValueError(f"`epochs` must leave the run below 2**31 steps, got {epochs} epochs of {per_epoch} steps.")
    judges = judges_of(metrics)
    check_monitor(early_stopping, metrics)
    if judges and validation is None and isinstance(data, Stream):
        raise ValueError("`metrics` must come with `validation` data where `data` is a stream, got none.")
    lying = functools.partial(placed, regime=regime, mesh=mesh, validation=validation, check_finite=check_finite)
    if isinstance(data, Stream):
        _, validation = lying(data.example)
    else:
        data, validation = lying(data)
    seed_in_words = str(seed) if state is None else "of the `state` given"
    state = run.init(params, seed, model_state=model_state) if state is None else _taken_up(run, state, per_epoch)
    state = run.laid(state)
    looks = Looks(run, judges, data if validation is None else validation, validated=validation is not None)
    looks.check(state)
    what: fingerprint.Fingerprint = {}
    if settings or together:
        what = fingerprint.of_run(
            run, seed=seed_in_words, state=state, data=data, validation=validation, epochs=epochs, metrics=metrics
        )
    if together:
        check_alike(what | {"checkpoint": str(settings)})

    with contextlib.ExitStack() as opened:
        keeper, recorder = None, None
        if settings:
            keeper = opened.enter_context(contextlib.closing(Keeper(settings, what, per_epoch, together=together)))
            saved = keeper.resumed(arrays_of("state", state))
            if saved is not None:
                arrays, about = saved
                state = tree_of("state", arrays, state)
                columns = {
                    name.removeprefix("history."): column
                    for name, column in arrays.items()
                    if name.startswith("history.")
                }
                recorder = Recorder(per_epoch, about["begun"], columns)
        state = run.laid(state._replace(epochs=jnp.asarray(np.int32(epochs))))
        begun, total = int(state.epoch) * per_epoch + int(state.step), epochs * per_epoch
        supply = Resident(data, total)
        if isinstance(data, Stream):
            supply = Reader(data, regime, state.keys.order, run.mesh, total=total, check_finite=check_finite)
        opened.enter_context(contextlib.closing(supply))
        shown = progress and not (together and jax.process_index())
        loop = _Loop(
            run, supply, looks, keeper, recorder or Recorder(per_epoch, begun), state, begun, total,
            capacity=RECORD_STEPS if record is None else RECORD_STEPS_OF_USERS, guarded=non_finite == "raise",
            together=together, was_interrupted=opened.enter_context(interruptible()),
            bar=opened.enter_context(progress_bar(epochs, begun / per_epoch, unit="epochs", shown=shown)),
        )  # fmt: skip
        ended = loop.run_to_its_end()
        history = loop.recorder.history(
            tuple(metrics or ()), validated=validation is not None, averaged=average is not None,
            notes=() if keeper is None else tuple(keeper.notes),
        )  # fmt: skip
    shown_state = run.restored(loop.state)
    result = Result(
        shown_state.params, shown_state.model_state, shown_state.average, loop.state, history, loop.interrupted
    )
    if ended is None:
        return result
    ended.result = result
    raise ended


class Looks:
    """What is found of a run after each epoch."""

    def __init__(self, run: Training, metrics: tuple[Callee, ...], data: Batch, *, validated: bool) -> None:
        self.run, self.data, self.validated = run, data, validated
        self.wanted = validated or bool(metrics)
        self.judge = functools.partial(_evaluate, loss=run.loss if validated else None, metrics=metrics)

    def check(self, state: TrainingState) -> None:
        """Raise what the loss or a metric would, before anything is compiled."""
        if self.wanted:
            jax.eval_shape(self.judge, (state.trainable, state.held), state.model_state, self.data)

    def look(self, state: TrainingState, recorder: Recorder) -> TrainingState:
        """The state, told what the epoch came to."""
        values = self.judge((state.trainable, state.held), state.model_state, self.data)
        recorder.look("evaluated", values)
        if self.run.average is not None:
            mean = averaged(state.average_state, state.trainable)
            recorder.look("average", self.judge((mean, state.held), state.model_state, self.data))
        if self.validated:
            state = state._replace(epoch_value=values["loss"].astype(state.epoch_value.dtype))
        judge, stopping = self.run.early_stopping, state.stopping
        if judge is not None and stopping is not None and judge.monitor in values:
            value = values[judge.monitor].astype(stopping.value.dtype)
            state = state._replace(stopping=stopping._replace(value=value))
        return state


@dataclasses.dataclass
class _Loop:
    """A run under way."""

    run: Training
    supply: Resident | Reader
    looks: Looks
    keeper: Keeper | None
    recorder: Recorder
    state: TrainingState
    step: int
    """Steps made since the run's beginning."""
    total: int
    """Steps that it shall make."""
    capacity: int
    guarded: bool
    """Whether it must stay finite. The state before each chunk is then held, to go back to."""
    together: bool
    was_interrupted: Callable[[], bool]
    bar: Any
    chunk: int = 1
    interrupted: bool = False
    compiled: Any = None
    allowed: float | None = None
    """Parameters that were not finite from the beginning; None where nobody has looked."""

    @property
    def per_epoch(self) -> int:
        """Steps."""
        return self.recorder.per_epoch

    def run_to_its_end(self) -> _EndedError | None:
        """Train to the last step, or until something ends the run; save it. What ended it, if that was a fault."""
        ended: _EndedError | None = None
        self.bar.say("compiling")
        try:
            self._save(at_once=True)  # so that a folder that cannot hold it is told before hours of training
            self._train()
        except _EndedError as error:
            ended = error
        except SystemExit:  # of a stream's source
            if not self.together:
                self._save(at_once=True)
            raise
        if not isinstance(ended, CheckpointError):
            try:
                self._save(at_once=True)
            except CheckpointError as error:
                ended = ended or error
        return ended

    def _train(self) -> None:
        if not self.guarded:
            self.state = _copied(self.state)  # the run gives its state's memory away
        if self.run.early_stopping is not None:
            self.state = _judged(self.run, self.state)  # its patience may be another than before
        while self.step < self.total and not self._stopped():
            rows, until, unread = None, self.step, None
            try:
                rows, until = self.supply.at(self.step, self.was_interrupted)
            except Exception as error:  # what is trained so far is not lost by it
                unread = error
            due, save = (False, False) if self.keeper is None else self._kept(self.keeper.wishes)(self.step)
            wishes = Wishes(self.chunk, due, save, self.was_interrupted(), unread is not None)
            if self.together:
                wishes = agreed(wishes)
            if wishes.save:
                self._save()
            if wishes.failed:
                self._fail(unread or OSError("another process could not read its rows."))
            if wishes.stop:
                self.interrupted = True
                return
            stop = min(self.total, until, self.step + min(wishes.chunk, self.capacity))
            if self.looks.wanted:
                stop = min(stop, (self.step // self.per_epoch + 1) * self.per_epoch)
            if self.keeper is not None:
                stop = min(stop, self.keeper.until(self.step, wishes.due))
            self._advance(rows, stop)

    def _advance(self, rows: Any, stop: int) -> None:
        """One chunk."""
        program = advance if self.guarded else advance_in_place
        self.compiled = self.compiled or program.chosen(self.run, self.state, rows, stop, self.capacity)
        before, first, started = self.state, self.step, time.perf_counter()
        self.state, record, unsound = self.compiled(self.run, before, rows, stop, self.capacity)
        self.recorder.add(record, first)
        self.chunk = next_chunk(self.chunk, stop - first, time.perf_counter() - started)
        self.step = stop
        self._stand_still()
        if self.guarded:
            self._check_finite(float(unsound), before, first, rows)
        if self.looks.wanted and self.step % self.per_epoch == 0:
            self.state = self.looks.look(self.state, self.recorder)
        if self.run.early_stopping is not None and self.step % self.per_epoch == 0:
            self.state = _judged(self.run, self.state)
        self.bar.say("training")
        self.bar.reach(self.step / self.per_epoch, self.recorder.last_loss)

    def _stopped(self) -> int:
        """The epochs that the run had made when early stopping ended it; 0 where it did not."""
        return 0 if self.state.stopping is None else int(self.state.stopping.stopped)

    def _stand_still(self) -> None:
        """A run that stopped within the chunk stands where it stopped."""
        if epoch := self._stopped():
            self.step = epoch * self.per_epoch
            self.recorder.keep_until(self.step)
            epoch, step = (jnp.asarray(np.int32(each)) for each in (epoch, 0))
            self.state = self.run.laid(self.state._replace(epoch=epoch, step=step))

    def _check_finite(self, count: float, before: TrainingState, first: int, rows: Any) -> None:
        """Go back to before the first step that made loss or parameters non-finite, if one did.

        What never was finite, such as a mask of −inf, may be so. The same program makes the same numbers again, so that
        the step is found by halving.
        """
        if count and self.allowed is None:
            self.allowed = float(self.compiled(self.run, before, rows, first, self.capacity)[2])
        allowed = self.allowed or 0.0
        losses = self.recorder.latest(self.step - first)
        bad = np.flatnonzero(~np.isfinite(losses))
        if count <= allowed and not bad.size:
            return
        sound, unsound = 0, int(bad[0]) if bad.size else len(losses) - 1
        self.state, trial = before, unsound  # the parameters that the first bad loss is of may be the last finite ones
        while sound < unsound:
            state, _, count = self.compiled(self.run, before, rows, first + trial, self.capacity)
            if count <= allowed:
                self.state, sound = state, trial
            else:
                unsound = trial - 1
            trial = (sound + unsound + 1) // 2
        self.step = first + sound
        self.recorder.keep_until(self.step)
        found = f"the loss was {losses[sound]}"
        if np.isfinite(losses[sound]):
            after, _, _ = self.compiled(self.run, before, rows, first + sound + 1, self.capacity)
            leaves = jax.tree_util.tree_flatten_with_path((self.state.trainable, after.trainable))[0]
            half = len(leaves) // 2
            pairs = zip(leaves[:half], leaves[half:], strict=True)
            bad_paths = [path[1:] for (path, old), (_, new) in pairs if (jnp.isfinite(old) & ~jnp.isfinite(new)).any()]
            found = f"`{checks.path_name('params', bad_paths[0])}` became NaN or infinite"
        raise NonFiniteError(
            f"the run must stay finite, but {self._here()}, {found}; `.result` holds the run before it "
            "(`non_finite=` has other policies)."
        )

    def _here(self) -> str:
        epoch, step = divmod(self.step, self.per_epoch)
        return f"at epoch {epoch}, step {step} (both counted from 0)"

    def _fail(self, error: BaseException) -> None:
        """A stream that cannot be read ends the run; before its first chunk it is just an error."""
        if not self.recorder.count:
            raise error
        raise StreamError(
            f"`data` must give its rows, but {self._here()}: {type(error).__name__}: {error} "
            "`.result` holds the run before it."
        ) from error

    def _save(self, *, at_once: bool = False) -> None:
        if self.keeper is not None:
            arrays = arrays_of("state", self.state) | {
                f"history.{name}": column for name, column in self.recorder.columns().items()
            }
            loss = float(self.state.epoch_value) if self.step and self.step % self.per_epoch == 0 else None
            self._kept(self.keeper.save)(self.step, arrays, loss=loss, begun=self.recorder.begun)
            if at_once:
                self._kept(self.keeper.store.finish)()

    def _kept(self, function: Callable) -> Callable:
        """What writes checkpoints; if it cannot, the run ends."""

        def tried(*arguments: Any, **others: Any) -> Any:
            try:
                return function(*arguments, **others)
            except OSError as error:
                raise CheckpointError(
                    f"`checkpoint` must be a folder that can be written to, but {self._here()}: {error} "
                    "`.result` holds the run so far."
                ) from error

        return tried


def _taken_up(run: Training, state: TrainingState, per_epoch: int) -> TrainingState:
    """A state to go on from, with what early stopping asks for."""
    _check_state(run, state, per_epoch)
    if run.early_stopping is None:
        return state._replace(stopping=None)
    kept = state.stopping is not None and state.stopping.kept is not None
    return state if state.stopping is not None and kept == run.early_stopping.restore_best else run.watched(state)


def _check_state(run: Training, state: TrainingState, per_epoch: int) -> None:
    """A state to go on from must be one of this optimizer and this number of steps."""
    if not isinstance(state, TrainingState):
        raise TypeError(f"`state` must be a TrainingState such as `result.state`, got {type(state).__name__}.")
    optimizer = jax.eval_shape(run.optimizer.init, state.trainable)
    average = None if run.average is None else jax.eval_shape(run.average.init, state.trainable)
    _check_part("optimizer", state.optimizer_state, optimizer)
    _check_part("average", state.average_state, average)
    if int(state.step) >= per_epoch:
        raise ValueError(
            f"`state` must come from a run with {per_epoch} steps an epoch, got one that stands at step {state.step}."
        )


def _check_part(name: str, given: Any, expected: Any) -> None:
    if jax.tree.structure(given) == jax.tree.structure(expected):
        return
    here, there = (
        [checks.path_name(f"state.{name}_state", path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
        for tree in (given, expected)
    )
    missing = [f"has no `{path}`" for path in there if path not in here]
    extra = [f"has `{path}`, which this {name}'s has not" for path in here if path not in there]
    found = [*missing, *extra, "is built otherwise"][0]
    raise ValueError(f"`state` must come from a run with the same {name}, got one that {found}.")


def next_chunk(chunk: int, made: int, seconds: float, wanted_seconds: float = CHUNK_SECONDS) -> int:
    """Steps until the next look: those of so many seconds at the present speed, reached by doublings."""
    wanted = int(made * wanted_seconds / max(seconds, 1e-9))
    return max(1, min(wanted, 64 * chunk))
