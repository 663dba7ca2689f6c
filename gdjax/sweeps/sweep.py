"""`sweep`: hyperparameters as data. All settings and seeds are trained side by side, as one program a regime."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import optax

from gdjax import checks
from gdjax.data.placement import placed
from gdjax.data.regimes import Regime
from gdjax.engine.evaluation import judges_of
from gdjax.engine.history import History
from gdjax.engine.progress import progress_bar
from gdjax.engine.training import training
from gdjax.sweeps.memory import free_memory, pieces_of
from gdjax.sweeps.population import Population
from gdjax.sweeps.results import Sweep
from gdjax.sweeps.settings import Group, groups_of, parameter_names, points_of
from gdjax.transforms.base import lift
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
    epochs = checks.integer("epochs", epochs, least=1)
    seeds = _seeds(seeds)
    regimes = list(regime) if isinstance(regime, list | tuple) else [regime]
    if not regimes:
        raise ValueError("`regime` must be a regime or a list of at least one, got an empty list.")
    if memory is not None:
        checks.integer("memory", memory, least=1)
    if not isinstance(mesh, jax.sharding.Mesh | None):
        raise TypeError(f"`mesh` must be a jax.sharding.Mesh, got {mesh!r}.")
    if mesh is not None:  # whatever its axes are typed as elsewhere, here they are spread by hand
        mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
    judges = judges_of(metrics)
    data, validation = placed(data, validation=validation, check_finite=check_finite)
    start = params if callable(params) and jax.tree_util.all_leaves([params]) else None
    hyperparameters, arguments, groups = _settings(optimizer, start, grid, points)
    runs = [[training(loss_fn, optimizer=group.optimizer, regime=each) for group in groups] for each in regimes]
    for each in regimes:
        if epochs * each.steps_per_epoch(len(jax.tree.leaves(data)[0])) >= 2**31:
            raise ValueError(f"`epochs` must leave a run below 2**31 steps, got {epochs} in {each}.")
    sweeps = []
    with progress_bar(len(regimes) * len(groups), 0, unit="programs", shown=progress) as bar:
        for each, trainings in zip(regimes, runs, strict=True):
            outcomes = []
            for group, run in zip(groups, trainings, strict=True):
                population = Population(
                    run=run, start=start, arguments={name: values[group.places] for name, values in arguments.items()},
                    params=None if start else params, model_state=model_state, seeds=seeds, data=data,
                    validation=validation, metrics=judges, epochs=epochs, mesh=mesh,
                )  # fmt: skip
                done = len(sweeps) * len(groups) + len(outcomes)
                bar.say(f"{each}: {population.runs} runs")
                outcomes.append(_in_pieces(population, memory, lambda share, done=done: bar.reach(done + share)))
            order = np.argsort(np.concatenate([group.places for group in groups]))
            whole = jax.tree.map(lambda *parts, order=order: np.concatenate(parts)[order], *outcomes)
            sweeps.append(_result(whole, hyperparameters, seeds, each))
    return sweeps if isinstance(regime, list | tuple) else sweeps[0]


def _seeds(seeds: Any) -> np.ndarray:
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"`seeds` must be a list of integers, got {seeds!r}.")
    given = [checks.integer("seeds", seed, least=0, most=2**32 - 1) for seed in seeds]
    if not given:
        raise ValueError("`seeds` must hold at least one seed, got none.")
    return np.asarray(given, np.uint32)


def _settings(optimizer: Any, start: Callable | None, grid: Any, points: Any) -> tuple[dict, dict, list[Group]]:
    """(hyperparameters by name, those of them that the initialization takes, the optimizers)."""
    if isinstance(optimizer, optax.GradientTransformation):
        if grid is not None or points is not None:
            raise TypeError("`optimizer` must be a factory where `grid` or `points` is given, got an optimizer.")
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(optimizer)}
        if len(lengths) != 1 or lengths == {()}:
            raise ValueError(
                "`optimizer` must be a factory, or an optimizer whose leaves share a leading axis, "
                f"got leaves of shapes {[np.shape(leaf) for leaf in jax.tree.leaves(optimizer)]}."
            )
        (count,) = lengths.pop()
        return {"setting": np.arange(count)}, {}, [Group(np.arange(count), lift("optimizer", optimizer))]
    if not callable(optimizer):
        raise TypeError(f"`optimizer` must be a factory of optimizers, or a batched optimizer, got {optimizer!r}.")
    values = points_of(grid, points)
    own = parameter_names(start, 1)[0] if start is not None else set()
    known, any_name = parameter_names(optimizer)
    given = "grid" if points is None else "points"
    for name in values:
        if name not in known | own and not any_name:
            raise ValueError(f"`{given}` must name hyperparameters, {', '.join(sorted(known | own))}, got '{name}'.")
    count = len(next(iter(values.values())))
    theirs = [name for name in values if name in known or name not in own]
    settings = [{name: values[name][place] for name in theirs} for place in range(count)]
    arrays = {name: np.asarray(column) for name, column in values.items()}
    arguments = {name: arrays[name] for name in values if name in own}
    for name, column in arguments.items():
        if column.dtype == object:
            raise TypeError(f"`{given}[{name!r}]` must be numbers or arrays of one shape, since `params` takes it.")
    return arrays, arguments, groups_of(optimizer, settings)


def _in_pieces(population: Population, memory: int | None, told: Callable[[float], None]) -> dict:
    """What all settings of a population came to, in as many pieces as memory and speed ask for."""
    lanes = population.lanes_at_once()
    devices = len(population.devices)
    population = dataclasses.replace(population, lanes=bool(lanes))

    def first(size: int) -> Population:
        return population.at(np.arange(math.ceil(size / devices) * devices) % population.settings)

    pieces = pieces_of(
        population.settings,
        lanes * devices or population.settings,
        devices,
        lambda size: first(size).rough_bytes(),
        lambda size: first(size).planned_bytes(),
        free_memory(population.devices) if memory is None else memory,
    )
    outcomes = []
    for place, piece in enumerate(pieces):
        outcomes.append(
            population.at(piece).train(
                lambda epochs, place=place: told((place + epochs / population.epochs) / len(pieces))
            )
        )
    surplus = sum(map(len, pieces)) - population.settings
    outcomes[-1] = jax.tree.map(lambda x: x[: len(x) - surplus], outcomes[-1])
    return jax.tree.map(lambda *parts: np.concatenate(parts) if len(parts) > 1 else parts[0], *outcomes)


def _result(whole: dict, hyperparameters: dict, seeds: np.ndarray, regime: Regime) -> Sweep:
    history = History(
        loss=whole["loss"],
        step_loss=whole["step_loss"],
        learning_rate=whole["learning_rate"],
        validation_loss=whole.get("validation_loss"),
        metrics=whole["metrics"],
        recorded={},
    )
    return Sweep(hyperparameters, seeds, regime, history, whole["params"], whole["diverged"])
