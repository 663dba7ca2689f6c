"""One cell of a comparison: an optimizer in a regime, all its rates and seeds in one compiled program."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.data.regimes import Regime
from gdjax.engine.training import Training, TrainingState, training
from gdjax.types import Batch, LossFn, Params

RECORD_STEPS = 4096
"""Steps that one call of the compiled program makes at most."""


class Curves(NamedTuple):
    """What the runs of a cell did; axes are [rates, seeds, points]."""

    rates: np.ndarray
    """[rates]"""
    updates: np.ndarray
    """Updates made at each point [points]; the first is 0."""
    train_loss: np.ndarray
    """At the first point the training loss, then its mean over the epoch so far."""
    validation_loss: np.ndarray
    params: Params
    """Final parameters, leading axes [rates, seeds]."""
    seconds: float
    """Wall time of the whole cell's steps, compilation and evaluation apart."""
    compile_seconds: float

    def joined(self, other: "Curves") -> "Curves":
        """Two cells that differ in their rates, as one, rates ascending."""
        order = np.argsort(np.concatenate([self.rates, other.rates]), kind="stable")

        def join(a: Any, b: Any) -> Any:
            return np.concatenate([np.asarray(a), np.asarray(b)])[order]

        return Curves(
            rates=join(self.rates, other.rates),
            updates=self.updates,
            train_loss=join(self.train_loss, other.train_loss),
            validation_loss=join(self.validation_loss, other.validation_loss),
            params=jax.tree.map(join, self.params, other.params),
            seconds=self.seconds + other.seconds,
            compile_seconds=self.compile_seconds + other.compile_seconds,
        )


class Cell:
    """A compiled cell, which can be run for several sets of rates, and for any number of updates."""

    def __init__(
        self,
        loss_fn: LossFn,
        data: Batch,
        factory: Callable[[Any], Any],
        regime: Regime,
        starts: Params,
        start_loss: np.ndarray,
        evaluate: Callable[[Params], jax.Array],
    ) -> None:
        """Nothing is compiled yet.

        Args:
          loss_fn: as in `gdjax.training`.
          data: the training data.
          factory: learning rate to optimizer.
          regime: the regime.
          starts: initial parameters, leading axis [seeds]; the runs' seeds are 0, 1, …
          start_loss: their training loss [seeds].
          evaluate: parameters [rates, seeds, ...] to validation losses [rates, seeds].
        """
        self.data, self.regime, self.starts, self.evaluate = data, regime, starts, evaluate
        self.start_loss, self.seeds = start_loss, jnp.arange(len(start_loss), dtype=jnp.int32)
        self.per_epoch = regime.steps_per_epoch(len(jax.tree.leaves(data)[0]))
        self.capacity = max(self.per_epoch, RECORD_STEPS)

        def run(rate: jax.Array) -> Training:
            return training(loss_fn, optimizer=factory(rate), regime=regime)

        def begin(rate: jax.Array, start: Params, seed: jax.Array) -> TrainingState:
            return run(rate).init(start, seed)

        def advance(rate: jax.Array, state: TrainingState, stop: jax.Array) -> tuple[TrainingState, jax.Array]:
            state, record = run(rate).steps(state, data, stop, capacity=self.capacity)
            return state, record.loss[record.count - 1]

        # Position is the same for all runs, and keys for all rates: mapped over neither, they stay scalars,
        # loops keep one bound, and each seed's batches are gathered once for all rates.
        def axes(state: TrainingState, keys: int | None) -> TrainingState:
            every = jax.tree.map(lambda _: 0, state)
            return every._replace(epoch=None, step=None, keys=jax.tree.map(lambda _: keys, state.keys))

        shape = jax.eval_shape(begin, jnp.zeros(()), jax.tree.map(lambda x: x[0], starts), self.seeds[0])
        by_seed, by_rate = axes(shape, 0), axes(shape, None)
        begin_seeds = jax.vmap(begin, (None, 0, 0), by_seed)
        self.begin = jax.jit(jax.vmap(begin_seeds, (0, None, None), by_rate))
        advance_seeds = jax.vmap(advance, (None, by_seed, None), (by_seed, 0))
        self.advance = jax.jit(jax.vmap(advance_seeds, (0, by_rate, None), (by_rate, 0)), donate_argnums=1)
        self.compiled: Any = None
        self.compile_seconds = 0.0

    def compile(self, rates: np.ndarray) -> None:
        """Compile for so many rates."""
        started = time.perf_counter()
        traced = jnp.asarray(rates, jnp.float32)
        state = self.begin(traced, self.starts, self.seeds)
        self.compiled = self.advance.lower(traced, state, jnp.zeros((), jnp.int32)).compile()
        self.compile_seconds = time.perf_counter() - started

    def seconds_per_update(self, rates: np.ndarray) -> float:
        """Measured wall time of one update of all runs together."""
        traced = jnp.asarray(rates, jnp.float32)
        state = self.begin(traced, self.starts, self.seeds)
        made, more, seconds = 0, 1, 0.0
        while seconds < 0.2 and made < self.capacity:
            more = max(1, made)
            started = time.perf_counter()
            state, _ = jax.block_until_ready(self.compiled(traced, state, jnp.int32(made + more)))
            seconds, made = time.perf_counter() - started, made + more
        return seconds / more

    def run(self, rates: np.ndarray, stops: Sequence[int], told: Callable[[float], None]) -> Curves:
        """Train all rates and seeds from the start; look at the validation loss after each of `stops` updates.

        Args:
          rates: learning rates, as many as the cell was compiled for.
          stops: numbers of updates, ascending.
          told: is called with the share of the work done.
        """
        if self.compiled is None:
            self.compile(rates)
        compiled: Any = self.compiled
        traced = jnp.asarray(rates, jnp.float32)
        state = self.begin(traced, self.starts, self.seeds)
        validation = [np.asarray(self.evaluate(state.params))]
        train = [np.broadcast_to(self.start_loss, validation[0].shape)]
        seconds, made, loss = 0.0, 0, self.start_loss
        for stop in stops:
            while made < stop:
                upto = min(stop, made + self.capacity)
                started = time.perf_counter()
                state, loss = jax.block_until_ready(compiled(traced, state, jnp.int32(upto)))
                seconds += time.perf_counter() - started
                made = upto
            train.append(np.asarray(loss))
            validation.append(np.asarray(self.evaluate(state.params)))
            told(stop / stops[-1])
        compile_seconds, self.compile_seconds = self.compile_seconds, 0.0
        return Curves(
            rates=np.asarray(rates, float),
            updates=np.asarray([0, *stops]),
            train_loss=np.stack(train, -1),
            validation_loss=np.stack(validation, -1),
            params=jax.tree.map(np.asarray, state.params),
            seconds=seconds,
            compile_seconds=compile_seconds,
        )
