"""`sweep`: hyperparameters as data. All settings and seeds are trained side by side, as one program a regime."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import jax

from gdjax.data.regimes import Regime
from gdjax.engine.checkpoint import Checkpoint
from gdjax.engine.progress import progress_bar
from gdjax.engine.stopping import EarlyStopping
from gdjax.sweeps.plan import plans, saved_parts
from gdjax.types import Batch, LossFn, Params


def sweep(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Any,
    regime: Regime | list[Regime],
    epochs: int,
    grid: dict[str, Any] | None = None,
    points: dict[str, Any] | None = None,
    seeds: Iterable[int] = (0,),
    model_state: Any = None,
    validation: Batch | None = None,
    metrics: dict[str, Callable] | None = None,
    record: Callable | None = None,
    early_stopping: EarlyStopping | None = None,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    memory: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: bool = False,
    check_finite: bool = True,
) -> Any:
    """Train many settings at once.

    Args:
      loss_fn: as in `gdjax.fit`.
      params: as in `gdjax.fit`. A function `init_fn(key, *, name)` gets the hyperparameters that it names, so that
        initial parameters can be swept too.
      data: a pytree of arrays with a common leading axis.
      optimizer: a factory, hyperparameters to a transform of gdjax or optax; or, without `grid` and `points`, an
        optimizer whose leaves have a leading axis, such as `jax.vmap(gdjax.adam)(rates)`.
      regime: `full_batch()`, `stochastic()` or `mini_batch(batch_size)`; or a list of them.
      epochs: how many every run has, at least 1.
      grid: {name: values}; every combination is a setting.
      points: {name: values}, all of one length; the first of each are the first setting, and so on. See
        `gdjax.random_points`.
      seeds: each setting is run with each; initialization, order and dropout follow from it.
      model_state: as in `gdjax.fit`.
      validation: data like `data`; settings are then judged by the loss on it, which plateaus judge too.
      metrics: {name: function of (params, batch)}, computed after each epoch as in `gdjax.fit`.
      record: columns for each step, as in `gdjax.fit`: `sweep.history.recorded` {name: [settings, seeds, steps, ...]}.
      early_stopping: as in `gdjax.fit`; each run stops for itself. Settings are then judged by the epoch whose
        parameters they have, `sweep.epochs`.
      checkpoint: as in `gdjax.fit`. Ctrl-C or SIGTERM then ends the sweep with KeyboardInterrupt once it is saved, and
        the same call goes on with it.
      memory: bytes that the program may take on all devices; by default what they say that they have
        free. A sweep that would take more is run in pieces.
      mesh: devices that the settings are spread over, all of its axes; each trains its share, and none waits for
        another.
      progress: show a bar (needs tqdm).
      check_finite: refuse data with NaN or infinite numbers.

    Returns:
      A `Sweep`; for a list of regimes a list of them.

    Raises:
      ValueError, TypeError: before anything is compiled, if an argument is wrong.

    >>> import jax.numpy as jnp, gdjax
    >>> x = jnp.arange(8.0)
    >>> loss = lambda w, batch: jnp.mean((batch[1] - w * batch[0]) ** 2)
    >>> found = gdjax.sweep(loss, jnp.array(0.0), (x, 3 * x), optimizer=gdjax.gd, regime=gdjax.full_batch(), epochs=9,
    ...                     grid={"learning_rate": [0.001, 0.01, 1.0]})
    >>> found.best().hyperparameters, found.diverged[:, 0].tolist()
    ({'learning_rate': np.float64(0.01)}, [False, False, True])
    """
    regimes = list(regime) if isinstance(regime, list | tuple) else [regime]
    if not regimes:
        raise ValueError("`regime` must be a regime or a list of at least one, got an empty list.")
    planned = plans(
        loss_fn, params, data, optimizer=optimizer, regimes=regimes, epochs=epochs, grid=grid, points=points,
        seeds=seeds, model_state=model_state, validation=validation, metrics=metrics, memory=memory, mesh=mesh,
        check_finite=check_finite, record=record, early_stopping=early_stopping,
    )  # fmt: skip
    sweeps, programs = [], len(planned[0].groups)
    with (
        saved_parts(checkpoint, planned) as parts,
        progress_bar(len(planned) * programs, 0, unit="programs", shown=progress) as bar,
    ):
        for place, plan in enumerate(planned):
            bar.say(f"{plan.regime}: {plan.size} runs")
            found, _ = plan.train(
                plan.ends(epochs),
                lambda share, done=place * programs: bar.reach(done + share),
                parts=None if parts is None else parts.part(f"regime-{place}"),
            )
            sweeps.append(found)
    return sweeps if isinstance(regime, list | tuple) else sweeps[0]
