"""`fit`: a thin loop on the host around the compiled run.

Between chunks, and only there, the host looks: validation, metrics, progress, Ctrl-C.
"""

import contextlib
import dataclasses
import functools
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
from gdjax.engine.averaging import averaged
from gdjax.engine.evaluation import evaluate, judges_of
from gdjax.engine.history import History, Recorder
from gdjax.engine.interrupt import interruptible
from gdjax.engine.native import SmallJit
from gdjax.engine.processes import agreed, several
from gdjax.engine.progress import progress_bar
from gdjax.engine.training import Record, Training, TrainingState, training
from gdjax.transforms.base import GradientTransformation
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
    """What a run leaves."""

    params: Params
    """The parameters after the last step."""
    state: TrainingState
    """The whole state; `fit(..., state=result.state, epochs=more)` goes on from it."""
    history: History
    """What the call recorded."""
    interrupted: bool
    """Whether Ctrl-C ended the run early."""

    @property
    def average(self) -> Params:
        """The averaged parameters; None where no average was asked for."""
        return self.state.average


class _EndedError(Exception):
    """A run that had to end; `result` holds it."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class NonFiniteError(_EndedError, FloatingPointError):
    """A step whose loss, gradient or new parameters were not finite; `result` holds the run up to it."""


class StreamError(_EndedError, RuntimeError):
    """Rows of a stream that could not be read or were not finite; `result` holds the run up to them."""


@functools.partial(SmallJit, static_argnums=(4,), donate_argnums=(1,))
def advance(run: Training, state: TrainingState, data: Batch, stop: Any, capacity: int) -> tuple[TrainingState, Record]:
    """As `Training.steps`, compiled, with options that suit its size; the state's memory is given away."""
    return run.steps(state, data, stop, capacity=capacity)


@jax.jit
def _copied(state: TrainingState) -> TrainingState:
    """A state that may be given away."""
    return jax.tree.map(jnp.copy, state)


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
    non_finite: str = "keep",
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
      non_finite: what becomes of a step whose loss, gradient or new parameters are not finite: "keep" it, "skip" it
        whole, or "raise" after the chunk, with the last finite parameters; see `gdjax.training`.
      mesh: devices that share the rows of each batch, along the axis "data" or the only one; see `gdjax.training`.
        Every device has a copy of the data; of a regime with `shards=` each holds some of the rows. They may be those
        of all processes that `jax.distributed` has joined, each of which makes the same call.
      shard_optimizer_state: spread the optimizer's state over these devices (ZeRO-1).
      progress: show a bar (needs tqdm).
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `Result`. Ctrl-C, in any process, ends the run after the chunk under way, and what is trained so far is
      returned.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong.
      NonFiniteError: under `non_finite="raise"`, naming epoch and step; its `result` is what was trained before.
      StreamError: if rows of a stream cannot be read, or are not finite, after the run has begun; likewise.

    >>> import jax.numpy as jnp, gdjax
    >>> x = jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> result = gdjax.fit(loss, jnp.array(0.0), (x, 3 * x), optimizer=gdjax.gd(0.01),
    ...                    regime=gdjax.mini_batch(3), epochs=50)
    >>> round(float(result.params), 3), result.history.step_loss.shape
    (3.0, (150,))
    """
    run = training(
        loss_fn, optimizer=optimizer, regime=regime, record=record, average=average, non_finite=non_finite,
        mesh=mesh, shard_optimizer_state=shard_optimizer_state,
    )  # fmt: skip
    together = several(run.mesh)
    epochs = checks.integer("epochs", epochs, least=0)
    per_epoch = regime.steps_per_epoch(len(data) if isinstance(data, Stream) else checks.rows("data", data))
    if epochs * per_epoch >= 2**31:
        raise ValueError(f"`epochs` must leave the run below 2**31 steps, got {epochs} epochs of {per_epoch} steps.")
    judges = judges_of(metrics)
    if judges and validation is None and isinstance(data, Stream):
        raise ValueError("`metrics` must come with `validation` data where `data` is a stream, got none.")
    lying = functools.partial(placed, regime=regime, mesh=mesh, validation=validation, check_finite=check_finite)
    if isinstance(data, Stream):
        _, validation = lying(data.example)
    else:
        data, validation = lying(data)
    if state is None:
        state = run.init(params, seed, model_state=model_state)
    else:
        _check_state(run, state, per_epoch)
    state = state._replace(epochs=jnp.asarray(np.int32(epochs)))
    if non_finite == "raise":
        state = state._replace(skipped=jnp.asarray(np.int32(0)))  # what an earlier run skipped does not stop this one
    state = run.laid(state)
    state = _copied(state)  # the run gives its state's memory away
    judge = functools.partial(_evaluate, loss=None if validation is None else run.loss, metrics=judges)
    judged = data if validation is None else validation
    looks = validation is not None or judges
    if looks:
        jax.eval_shape(judge, (state.trainable, state.held), state.model_state, judged)

    recorder = Recorder()
    step, total = int(state.epoch) * per_epoch + int(state.step), epochs * per_epoch
    supply = Resident(data, total)
    if isinstance(data, Stream):
        supply = Reader(data, regime, state.keys.order, run.mesh, total=total, check_finite=check_finite)
    capacity = RECORD_STEPS if record is None else RECORD_STEPS_OF_USERS
    chunk, made, bad_step, unread, steps, stopped = 1, 0, None, None, None, False
    shown = progress and not (together and jax.process_index())
    with (
        contextlib.closing(supply),
        interruptible() as interrupted,
        progress_bar(epochs, step / per_epoch, unit="epochs", shown=shown) as bar,
    ):
        bar.say("compiling")
        while step < total:
            try:
                given, until = supply.at(step)
            except Exception as error:  # what is trained so far is not lost by it
                given, until, unread = None, step, error
            stopped, failed = interrupted(), unread is not None
            if together:
                chunk, stopped, failed = agreed(chunk, stop=stopped, failed=failed)
            if failed:
                unread = unread or OSError("another process could not read its rows.")
            if stopped or failed:
                break
            steps = steps or advance.chosen(run, state, given, total, capacity)
            stop = min(total, step + min(chunk, capacity), until)
            if looks:
                stop = min(stop, (step // per_epoch + 1) * per_epoch)
            started = time.perf_counter()
            state, rows = steps(run, state, given, stop, capacity)
            recorder.add(rows, step, per_epoch)
            seconds, made = time.perf_counter() - started, stop - step
            chunk = _next_chunk(chunk, made, seconds)
            step = stop
            bad_step = _first_bad(rows) if non_finite == "raise" else None
            if bad_step is not None:
                recorder.drop_from(bad_step)
                break
            if looks and step % per_epoch == 0:
                values = judge((state.trainable, state.held), state.model_state, judged)
                if average is not None:
                    recorder.averages.append(
                        judge((averaged(state.average_state, state.trainable), state.held), state.model_state, judged)
                    )
                if validation is not None:
                    state = state._replace(epoch_value=values["loss"].astype(state.epoch_value.dtype))
                recorder.evaluations.append({name: np.asarray(value) for name, value in values.items()})
            bar.say("training")
            bar.reach(step / per_epoch, recorder.last_loss)
    history = recorder.history(tuple(metrics or ()), validated=validation is not None, averaged=average is not None)
    if unread is not None:
        if not recorder.chunks:
            raise unread
        epoch, step_of_epoch = divmod(step, per_epoch)
        raise StreamError(
            f"`data` must give its rows, but at epoch {epoch}, step {step_of_epoch} (both counted from 0): {unread} "
            "`.result` holds the run before it.",
            Result(state.params, state, history, stopped),
        ) from unread
    if bad_step is None:
        return Result(state.params, state, history, stopped)
    epoch, step_of_epoch = divmod(step - made + bad_step, per_epoch)
    place = {"epoch": epoch, "step": step_of_epoch, "skipped": 0}
    state = state._replace(**{name: jnp.asarray(number, jnp.int32) for name, number in place.items()})
    raise NonFiniteError(
        f"the run must stay finite, but at epoch {epoch}, step {step_of_epoch} (both counted from 0), loss, "
        f"gradient or new parameters were not, and the loss was {recorder.lost_loss}; "
        "`.result` holds the run before it.",
        Result(state.params, state, history, stopped),
    )


def _first_bad(rows: Record) -> int | None:
    """The first step of a chunk that was not made, counted within it."""
    skipped = np.asarray(rows.recorded["skipped"])[: int(rows.count)]
    return int(np.argmax(skipped > 0)) if skipped.any() else None


def _check_state(run: Training, state: TrainingState, per_epoch: int) -> None:
    """A state to go on from must be one of this optimizer and this number of steps."""
    if not isinstance(state, TrainingState):
        raise TypeError(f"`state` must be a TrainingState such as `result.state`, got {type(state).__name__}.")
    expected = jax.tree.structure(jax.eval_shape(run.optimizer.init, state.trainable))
    if jax.tree.structure(state.optimizer_state) != expected:
        raise ValueError(
            f"`state` must come from a run with the same optimizer, whose state is {expected}, "
            f"got {jax.tree.structure(state.optimizer_state)}."
        )
    average = None if run.average is None else jax.eval_shape(run.average.init, state.trainable)
    if jax.tree.structure(state.average_state) != jax.tree.structure(average):
        raise ValueError(
            "`state` must come from a run with the same `average`, "
            f"whose state is {jax.tree.structure(average)}, got {jax.tree.structure(state.average_state)}."
        )
    if int(state.step) >= per_epoch:
        raise ValueError(
            f"`state` must come from a run with {per_epoch} steps an epoch, got one that stands at step {state.step}."
        )


def _next_chunk(chunk: int, made: int, seconds: float) -> int:
    """Steps until the next look: those of `CHUNK_SECONDS` at the present speed, reached by doublings."""
    wanted = int(made * CHUNK_SECONDS / max(seconds, 1e-9))
    return max(1, min(wanted, 64 * chunk))
