"""The plan of a sweep: its arguments checked, and made into populations that are trained side by side."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax

from gdjax import checks
from gdjax.data.placement import placed
from gdjax.data.regimes import Regime
from gdjax.engine import fingerprint
from gdjax.engine.checkpoint import Parts, settings_of
from gdjax.engine.evaluation import judges_of
from gdjax.engine.history import History
from gdjax.engine.interrupt import interruptible
from gdjax.engine.parameters import merge
from gdjax.engine.stopping import check_monitor
from gdjax.engine.training import Training, training
from gdjax.sweeps.memory import free_memory, pieces_of
from gdjax.sweeps.population import Clock, Population, Runs
from gdjax.sweeps.results import Sweep, joined
from gdjax.sweeps.settings import Group, groups_of, parameter_names, points_of
from gdjax.transforms.base import lift
from gdjax.types import Batch, LossFn, Params


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings × seeds in one regime."""

    hyperparameters: dict[str, np.ndarray]
    """{name: [settings, ...]}"""
    seeds: np.ndarray
    regime: Regime
    groups: tuple[tuple[np.ndarray, Population], ...]
    """(places among the settings, those settings), one program each."""
    memory: int | None
    """Bytes that a program may take; None is what is free."""

    @property
    def settings(self) -> int:
        """How many there are."""
        return sum(population.settings for _, population in self.groups)

    @property
    def size(self) -> int:
        """Runs: settings times seeds."""
        return self.settings * len(self.seeds)

    def at(self, places: np.ndarray) -> "Plan":
        """Some of the settings, by their places in ascending order."""
        hyperparameters = {name: values[places] for name, values in self.hyperparameters.items()}
        groups = []
        for theirs, population in self.groups:
            kept = np.isin(theirs, places)
            if kept.any():
                groups.append((np.searchsorted(places, theirs[kept]), population.at(np.flatnonzero(kept))))
        return dataclasses.replace(self, hyperparameters=hyperparameters, groups=tuple(groups))

    def ends(self, until: int) -> list[int]:
        """Where to look on the way to so many epochs; see `Population.ends`."""
        return self.groups[0][1].ends(until)

    def train(
        self, stops: Sequence[int], told: Callable[[float], None], *, keep: bool = False, parts: Parts | None = None
    ) -> "tuple[Sweep, Plan]":
        """Train all settings on.

        Args:
          stops: as in `Population.train`.
          told: is called with the number of groups done, and the share of the one under way.
          keep: hold what is needed to train on.
          parts: where runs are saved on the way, and taken up again.

        Returns:
          (what the steps made here came to; with `keep` the plan from there on).
        """
        outcomes, groups, clocks = [], [], []
        for done, (places, population) in enumerate(self.groups):
            group = None if parts is None else parts.part(f"group-{done}")
            outcome, runs, clock = _in_pieces(
                population, stops, self.memory, lambda share, done=done: told(done + share), keep, group
            )
            outcomes.append(outcome)
            clocks.append(clock)
            groups.append((places, dataclasses.replace(population, runs=runs)))
        order = np.argsort(np.concatenate([places for places, _ in self.groups]))
        whole = jax.tree.map(lambda *parts: joined(*parts)[order], *outcomes)
        history = History(
            loss=whole["loss"],
            step_loss=whole["step_loss"],
            learning_rate=whole["learning_rate"],
            validation_loss=whole.get("validation_loss"),
            metrics={each.name: whole["metrics"][each.name] for each in self.groups[0][1].metrics},  # as they came
            recorded=whole["recorded"],
        )
        found = Sweep(
            self.hyperparameters, self.seeds, self.regime, history, merge(*whole["params"]), whole["diverged"],
            seconds=sum(clock.training for clock in clocks), compile_seconds=sum(clock.compiling for clock in clocks),
            epochs=whole.get("epochs"),
        )  # fmt: skip
        return found, dataclasses.replace(self, groups=tuple(groups))


def plans(
    loss_fn: LossFn,
    params: Params,
    data: Batch,
    *,
    optimizer: Any,
    regimes: list[Regime],
    epochs: int,
    grid: Any,
    points: Any,
    seeds: Any,
    model_state: Any,
    validation: Any,
    metrics: Any,
    memory: Any,
    mesh: Any,
    check_finite: bool,
    early_stopping: Any = None,
    record: Any = None,
    **others: Any,
) -> list[Plan]:
    """One plan a regime; arguments as in `sweep`, `others` of every `Population`.

    Raises:
      ValueError, TypeError: if an argument is wrong.
    """
    epochs = checks.integer("epochs", epochs, least=1)
    seeds = _seeds(seeds)
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
    check_monitor(early_stopping, metrics)

    def of(group: Group, regime: Regime) -> Training:
        stopping = jax.tree.map(lambda x: np.full(len(group.places), x), early_stopping)
        return training(loss_fn, optimizer=group.optimizer, regime=regime, record=record, early_stopping=stopping)

    runs = [[of(group, each) for group in groups] for each in regimes]
    for each in regimes:
        if epochs * each.steps_per_epoch(len(jax.tree.leaves(data)[0])) >= 2**31:
            raise ValueError(f"`epochs` must leave a run below 2**31 steps, got {epochs} in {each}.")
    return [
        Plan(
            hyperparameters, seeds, each,
            tuple(
                (group.places, Population(
                    run=run, start=start, arguments={name: values[group.places] for name, values in arguments.items()},
                    params=None if start else params, model_state=model_state, seeds=seeds, data=data,
                    validation=validation, metrics=judges, epochs=epochs, mesh=mesh, **others,
                ))
                for group, run in zip(groups, trainings, strict=True)
            ),
            memory,
        )
        for each, trainings in zip(regimes, runs, strict=True)
    ]  # fmt: skip


@contextlib.contextmanager
def saved_parts(checkpoint: Any, planned: list[Plan], **words: str) -> Iterator[Parts | None]:
    """Where a sweep is saved, if it is; within it Ctrl-C waits until it is. In `words`, what else it is.

    Raises:
      TypeError: if `checkpoint` is something else.
    """
    settings = settings_of(checkpoint)
    if settings is None:
        yield None
        return
    with interruptible() as was_interrupted:
        devices = len(planned[0].groups[0][1].devices)
        yield Parts(settings, fingerprint_of(planned) | {"mesh": f"{devices} devices"} | words, was_interrupted)


def fingerprint_of(planned: list[Plan]) -> fingerprint.Fingerprint:
    """What a sweep is, in words."""
    first = planned[0].groups[0][1]
    found: fingerprint.Fingerprint = {
        "regime": ", ".join(str(plan.regime) for plan in planned),
        **fingerprint.rows("data", first.data),
        **fingerprint.rows("validation", first.validation),
        **fingerprint.described("seeds", planned[0].seeds),
        **fingerprint.named("loss_fn", first.run.loss.function),
        **fingerprint.named("params", first.start),
        **fingerprint.shapes("params", first.params),
        **fingerprint.shapes("model_state", first.model_state),
        **fingerprint.described("settings", planned[0].hyperparameters),
    }
    for place, (_, population) in enumerate(planned[0].groups):
        found |= fingerprint.described(f"optimizer.{place}", population.run.optimizer)
    return found | {
        **fingerprint.described("early_stopping", first.run.early_stopping),
        **fingerprint.named("record", first.run.record),
        "metrics": ", ".join(metric.name for metric in first.metrics) or "none",
        "epochs": str(first.epochs),
        **fingerprint.versions(),
    }


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


def _in_pieces(
    population: Population,
    stops: Sequence[int],
    memory: int | None,
    told: Callable[[float], None],
    keep: bool,
    parts: Parts | None,
) -> tuple[dict, Runs | None, Clock]:
    """As `Population.train`, in as many pieces as memory and speed ask for."""
    lanes = population.lanes_at_once()
    devices = len(population.devices)
    population = dataclasses.replace(population, lanes=bool(lanes))

    def first(size: int) -> Population:
        places = np.arange(math.ceil(size / devices) * devices) % population.settings
        return dataclasses.replace(population, runs=None).at(places)

    def cut() -> list[list[int]]:
        pieces = pieces_of(
            population.settings,
            lanes * devices or population.settings,
            devices,
            lambda size: first(size).rough_bytes(),
            lambda size: first(size).planned_bytes(),
            free_memory(population.devices) if memory is None else memory,
        )
        return [piece.tolist() for piece in pieces]

    # Another time another share of the memory may be free.
    pieces = [np.asarray(piece) for piece in (cut() if parts is None else parts.remembered("pieces", cut))]
    outcomes, kept, clocks = [], [], []
    for place, piece in enumerate(pieces):
        outcome, runs, clock = population.at(piece).train(
            stops,
            lambda share, place=place: told((place + share) / len(pieces)),
            None if parts is None else parts.part(f"piece-{place}"),
        )
        outcomes.append(outcome)
        clocks.append(clock)
        if keep:
            kept.append(runs._replace(states=jax.device_get(runs.states)) if len(pieces) > 1 else runs)
    surplus = sum(map(len, pieces)) - population.settings
    outcomes[-1] = jax.tree.map(lambda x: x[: len(x) - surplus], outcomes[-1])
    whole = jax.tree.map(joined, *outcomes)
    clock = Clock(sum(each.compiling for each in clocks), sum(each.training for each in clocks))
    if not keep:
        return whole, None, clock
    runs = Runs.joined(kept) if len(kept) > 1 else kept[0]
    return whole, runs.at(np.arange(population.settings)) if surplus else runs, clock
