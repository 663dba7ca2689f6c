"""One cell of a comparison: an optimizer in a regime, all its rates and seeds in one compiled program."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.data.regimes import Regime
from gdjax.dtypes import float_dtype
from gdjax.engine.native import SmallJit
from gdjax.engine.parameters import merge
from gdjax.engine.training import Training, TrainingState, training
from gdjax.types import Batch, LossFn

RECORD_STEPS = 4096
"""Steps that one call of the compiled program makes at most, or those of an epoch."""


class Curves(NamedTuple):
    """What the runs of a cell did; axes are [rates, seeds, points]."""

    rates: np.ndarray
    """[rates]"""
    updates: np.ndarray
    """Updates made at each point [points]; the first is 0."""
    validation_loss: np.ndarray
    params: Any
    """Final split parameters (see `gdjax.engine.parameters`), leading axes [rates, seeds]."""
    seconds: float
    """Wall time of the whole cell's steps, compilation and evaluation apart."""

    def joined(self, other: "Curves") -> "Curves":
        """Two cells that differ in their rates, as one, rates ascending."""
        order = np.argsort(np.concatenate([self.rates, other.rates]), kind="stable")

        def join(a: Any, b: Any) -> Any:
            return np.concatenate([np.asarray(a), np.asarray(b)])[order]

        return Curves(
            rates=join(self.rates, other.rates),
            updates=self.updates,
            validation_loss=join(self.validation_loss, other.validation_loss),
            params=jax.tree.map(join, self.params, other.params),
            seconds=self.seconds + other.seconds,
        )


class Cell:
    """A compiled cell, which can be run for several sets of rates, and for any number of updates."""

    def __init__(
        self,
        loss_fn: LossFn,
        data: Batch,
        factory: Callable[[Any], Any],
        regime: Regime,
        starts: Any,
        rates: int,
        evaluate: Callable[[Any], jax.Array],
    ) -> None:
        """Compile.

        Args:
          loss_fn: as in `gdjax.training`.
          data: the training data.
          factory: learning rate to optimizer.
          regime: the regime.
          starts: initial split parameters, leading axis [seeds]; the runs' seeds are 0, 1, …
          rates: how many rates are trained together.
          evaluate: split parameters [rates, seeds, ...] to validation losses [rates, seeds].
        """
        self.data, self.starts, self.evaluate = data, starts, evaluate
        self.seeds = jnp.arange(len(jax.tree.leaves(starts)[0]), dtype=jnp.int32)
        self.per_epoch = regime.steps_per_epoch(checks.rows("data", data))
        self.capacity = max(self.per_epoch, RECORD_STEPS)

        def run(rate: jax.Array) -> Training:
            return training(loss_fn, optimizer=factory(rate), regime=regime)

        def begin(rate: jax.Array, start: Any, seed: jax.Array) -> TrainingState:
            return run(rate).init(merge(*start), seed)

        def advance(rate: jax.Array, state: TrainingState, data: Batch, stop: jax.Array) -> TrainingState:
            return run(rate).steps(state, data, stop, capacity=self.capacity)[0]

        # Position is the same for all runs, and keys for all rates: mapped over neither, they stay scalars,
        # loops keep one bound, and each seed's batches are gathered once for all rates.
        def axes(state: TrainingState, keys: int | None) -> TrainingState:
            every = jax.tree.map(lambda _: 0, state)
            return every._replace(epoch=None, step=None, keys=jax.tree.map(lambda _: keys, state.keys))

        started = time.perf_counter()
        one = jax.tree.map(lambda x: x[0], starts)
        shape = jax.eval_shape(begin, jnp.zeros((), float_dtype()), one, self.seeds[0])
        by_seed, by_rate = axes(shape, 0), axes(shape, None)
        begin_seeds = jax.vmap(begin, (None, 0, 0), by_seed)
        self.begin = jax.jit(jax.vmap(begin_seeds, (0, None, None), by_rate))
        advance_seeds = jax.vmap(advance, (None, by_seed, None, None), by_seed)
        advance_rates = jax.vmap(advance_seeds, (0, by_rate, None, None), by_rate)
        several = jnp.zeros(rates, float_dtype())
        states = jax.eval_shape(self.begin, several, starts, self.seeds)
        shapes = (several, states, data, jnp.zeros((), jnp.int32))
        program = SmallJit(advance_rates, donate_argnums=(1,)).lower(*shapes)
        self.advance = program.compile()
        self.compile_seconds = time.perf_counter() - started
        """Of the program that trains; those that begin and evaluate are small."""

    def _to(self, stop: int, rates: jax.Array, state: TrainingState) -> tuple[TrainingState, float]:
        """The state after `stop` updates, and the wall time that they took."""
        started = time.perf_counter()
        state = jax.block_until_ready(self.advance(rates, state, self.data, jnp.asarray(stop, jnp.int32)))
        return state, time.perf_counter() - started

    def seconds_per_update(self, rates: np.ndarray) -> float:
        """Measured wall time of one update of all runs together."""
        traced = jnp.asarray(rates, float_dtype())
        state = self.begin(traced, self.starts, self.seeds)
        made, more, seconds = 0, 1, 0.0
        while seconds < 0.2 and more <= self.capacity:
            state, seconds = self._to(made + more, traced, state)
            made, more = made + more, 2 * more
        return seconds / (more / 2)

    def run(self, rates: np.ndarray, stops: Sequence[int], told: Callable[[float], None]) -> Curves:
        """Train all rates and seeds from the start; look at the validation loss after each of `stops` updates.

        Args:
          rates: learning rates, as many as the cell was compiled for.
          stops: numbers of updates, ascending.
          told: is called with the share of the work done.
        """
        traced = jnp.asarray(rates, float_dtype())
        state = self.begin(traced, self.starts, self.seeds)
        validation = [np.asarray(self.evaluate((state.trainable, state.held)))]
        seconds, made = 0.0, 0
        for stop in stops:
            while made < stop:
                made = min(stop, made + self.capacity)
                state, took = self._to(made, traced, state)
                seconds += took
            validation.append(np.asarray(self.evaluate((state.trainable, state.held))))
            told(stop / stops[-1])
        return Curves(
            rates=np.asarray(rates, float),
            updates=np.asarray([0, *stops]),
            validation_loss=np.stack(validation, -1),
            params=jax.tree.map(np.asarray, (state.trainable, state.held)),
            seconds=seconds,
        )
