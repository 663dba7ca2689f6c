"""Every public entry, traced on a CPU, lowers for GPUs and TPUs too, and what was exported runs alone."""

import functools
import inspect
import os
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from optimizers.test_contract import FACTORIES, PRESETS, tree
from schedules.test_formulas import SCHEDULES

import gdjax
from gdjax import presets, schedules, transforms
from gdjax.engine.evaluation import evaluate
from gdjax.engine.fit import advance
from gdjax.engine.loss import callee
from gdjax.engine.parameters import split
from gdjax.sweeps import noise_scale, population
from gdjax.sweeps.plan import plans

PLATFORMS = ("cpu", "cuda", "tpu")
ROWS, FEATURES, WIDTH = 61, 6, 5


def is_key(leaf):
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)


def plain(tree):
    """The leaves, with a key's numbers for the key."""
    return [jax.random.key_data(leaf) if is_key(leaf) else jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def flat(function, *arguments):
    """(the function of each argument's plain leaves, giving plain leaves; these leaves)."""
    parts = [jax.tree.flatten(argument) for argument in arguments]
    keys = [[is_key(leaf) for leaf in leaves] for leaves, _ in parts]

    def of_leaves(*given):
        made = [
            structure.unflatten([jax.random.wrap_key_data(x) if key else x for x, key in zip(leaves, of, strict=True)])
            for (_, structure), leaves, of in zip(parts, given, keys, strict=True)
        ]
        return plain(function(*made))

    return of_leaves, [plain(argument) for argument in arguments]


def lowered(function, *arguments):
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    return exported


def saved(function, *arguments):
    return lowered(function, *arguments).serialize()


def close(one, other):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), one, other)


def named(table):
    """What a table has rows for: "adam-nesterov" is a row for adam."""
    return {name.partition("-")[0] for name in table}


def functions(module):
    return {name for name, value in vars(module).items() if inspect.isfunction(value)}


def init_and_update(make):
    transform = make()

    def run(params, gradients):
        state = transform.init(params)
        return state, transform.update(gradients, state, params, value=1.0)

    return run, tree(), tree(seed=1)


def test_every_public_optimizer_and_transform_has_a_row():
    rows = named(FACTORIES | PRESETS)
    assert functions(gdjax.optimizers) <= rows
    assert functions(transforms) - {"hyperparameters", "learning_rate"} <= rows
    for framework in (presets.torch, presets.keras):
        label, name = framework.__name__.rpartition(".")[2], framework.__name__
        own = {each for each in functions(framework) if getattr(framework, each).__module__ == name and each[0] != "_"}
        assert {f"{label}.{each}" for each in own} - {"keras.inverse_time_decay"} <= rows


@pytest.mark.parametrize("make", (FACTORIES | PRESETS).values(), ids=FACTORIES | PRESETS)
def test_an_optimizer_lowers(make):
    lowered(*init_and_update(make))


@pytest.mark.parametrize("name", [name for name in FACTORIES if named([name]) <= functions(gdjax.optimizers)])
def test_an_exported_optimizer_gives_the_same_numbers(name):
    function, *arguments = init_and_update(FACTORIES[name])
    again = jax.export.deserialize(saved(function, *arguments)).call(*arguments)
    expected = jax.jit(function)(*arguments)
    assert jax.tree.structure(again) == jax.tree.structure(expected)
    close(again, expected)


_linear = schedules.linear(0.3, 0.1, 4)
SCHEDULE_ROWS = {
    **{name: make(**numbers) for name, (make, _, numbers) in SCHEDULES.items()},
    "window": schedules.window(2, 5),
    "per_epoch": schedules.per_epoch(_linear, steps_per_epoch=3),
    "per_epoch-told": schedules.per_epoch(_linear),
    "per_run": schedules.per_run(_linear, units=8, steps=20),
    "per_run-told": schedules.per_run(_linear, units=8),
    "as_schedule": schedules.as_schedule(lambda step: 0.1 * jnp.exp(-jnp.asarray(step, jnp.float32))),
    "complement": schedules.complement("b1", _linear),
    "non_negative": schedules.non_negative("learning_rate", _linear),
    "scheduled": schedules.scheduled(lambda name, value: value, "learning_rate", _linear),
}


def test_every_public_schedule_has_a_row():
    assert functions(schedules) <= named(SCHEDULE_ROWS)


@pytest.mark.parametrize("schedule", SCHEDULE_ROWS.values(), ids=SCHEDULE_ROWS)
def test_a_schedule_lowers(schedule):
    def value(schedule, step, epoch, fraction, epochs):
        return schedule(step, epoch=epoch, epoch_fraction=fraction, epochs=epochs)

    count = jnp.int32(3)
    function, leaves = flat(value, schedule, count, count, jnp.float32(0.5), count)
    saved(function, *leaves)


def table(rows=ROWS):
    x = np.random.default_rng(0).standard_normal((rows, FEATURES)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1))}


def network(key):
    return {"a": jax.random.normal(key, (FEATURES, WIDTH)) / 3, "b": jnp.full((WIDTH,), 0.2), "calls": jnp.int32(0)}


def start(key):
    return network(key) | {"name": "a network"}


def loss(params, batch, *, key, training):
    hidden = jnp.tanh(batch["x"] @ params["a"])
    kept = jax.random.bernoulli(key, 0.8, hidden.shape).astype(jnp.float32) if training else 0.8
    return jnp.mean(((hidden * kept) @ params["b"] - batch["y"]) ** 2)


def error(params, batch):
    return jnp.mean(jnp.abs(jnp.tanh(batch["x"] @ params["a"]) @ params["b"] - batch["y"]))


def run(**others):
    rate = schedules.product(schedules.per_run(schedules.cosine_decay(0.02, 4), units=4), schedules.warmup(_linear, 2))
    given = {
        "optimizer": gdjax.chain(gdjax.adamw(rate), transforms.reduce_on_plateau(0.5, patience=1)),
        "regime": gdjax.mini_batch(16),
        "average": transforms.ema(0.9),
        "non_finite": "skip",
    }
    return gdjax.training(loss, **(given | others))


def begun(**others):
    """(training, state, data)."""
    training = run(**others)
    return training, training.init(start, 3, epochs=4), jax.tree.map(jnp.asarray, table())


def epoch(**others):
    return lambda training, *given: training.epoch(*given), *begun(**others)


def steps(**others):
    return (lambda training, *given: training.steps(*given, capacity=8)), *begun(**others), jnp.int32(6)


def over_a_mesh(**others):
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    training, state, _ = begun(mesh=mesh, regime=gdjax.mini_batch(16, shards=8), **others)
    (data,) = gdjax.data.placed(table(), regime=training.regime, mesh=mesh)
    return training.epoch, state, data


def swept():
    (plan,) = plans(
        loss, start, table(), optimizer=gdjax.adam, regimes=[gdjax.mini_batch(16)], epochs=3,
        grid={"learning_rate": np.linspace(0.01, 0.1, 4)}, points=None, seeds=range(2), model_state=None,
        validation=None, metrics=None, memory=None, mesh=None, check_finite=True,
    )  # fmt: skip
    ((_, runs),) = plan.groups
    return runs


def sweep_begin():
    runs = swept()
    begin = functools.partial(population._begin, start, None)
    return begin, runs.run, runs.seeds, None, None, runs.arguments, jnp.int32(3)


def sweep_steps(*, lanes):
    runs = swept()
    steps = functools.partial(population._advance.traced, capacity=8, lanes=lanes, mesh=None)
    return steps, runs.run, runs.begin(), runs.data, jnp.int32(5)


def sweep_evaluate():
    runs = swept()
    states = runs.begin()
    judge = functools.partial(population._judge, loss=runs.run.loss, metrics=(callee("error", error),), mesh=None)
    return lambda parts, data: judge(parts, None, data), (states.trainable, states.held), runs.data


def judged():
    _, state, data = begun()
    judge = functools.partial(evaluate, loss=callee("loss", loss), metrics=(callee("error", error),))
    return lambda parts, data: judge(parts, None, data), (state.trainable, state.held), data


def scaled():
    def draws(params, data, seed):
        return noise_scale._draws.traced(callee("loss", loss), params, None, data, seed, 3, 4, 15)

    return draws, split(start(jax.random.key(0))), table(), jnp.uint32(2)


def packed(params):
    numbers = gdjax.pack(params)
    return numbers, numbers.tree


def packed_epoch():
    training = gdjax.training(lambda params, batch: error(params.tree, batch), optimizer=gdjax.adam(0.1),
                              regime=gdjax.mini_batch(16))  # fmt: skip
    return training.epoch, training.init(lambda key: gdjax.pack(start(key))), table()


def order(regime):
    return lambda seed, epoch: regime.order(ROWS, seed, epoch), jnp.uint32(3), jnp.int32(2)


ENTRIES = {
    "training-init": lambda: (lambda training, seed: training.init(start, seed, epochs=4), run(), jnp.uint32(3)),
    "training-epoch": epoch,
    "training-epoch of the full batch": lambda: epoch(regime=gdjax.full_batch()),
    "training-epoch of single examples": lambda: epoch(regime=gdjax.stochastic()),
    "training-epoch as it lies": lambda: epoch(regime=gdjax.mini_batch(16, shuffle=False)),
    "training-epoch over shards": lambda: epoch(regime=gdjax.mini_batch(16, shards=4)),
    "training-epoch over a mesh": over_a_mesh,
    "training-epoch over a mesh with ZeRO-1": lambda: over_a_mesh(shard_optimizer_state=True),
    "training-epoch recorded": lambda: epoch(record=lambda params, gradients, updates, state: {"b": gradients["b"]}),
    "early_stopping-epoch": lambda: epoch(early_stopping=gdjax.early_stopping(2)),
    "training-steps": steps,
    "training-steps over shards": lambda: steps(regime=gdjax.mini_batch(16, shards=4)),
    "fit": lambda: (lambda *given: advance.traced(*given, 8), *begun(), jnp.int32(6)),
    "fit-evaluate": judged,
    "sweep-begin": sweep_begin,
    "sweep-steps": lambda: sweep_steps(lanes=False),
    "sweep-steps in lanes": lambda: sweep_steps(lanes=True),
    "sweep-evaluate": sweep_evaluate,
    "gradient_noise_scale": scaled,
    "pack": lambda: (packed, network(jax.random.key(0))),
    "pack-epoch": packed_epoch,
    "full_batch": lambda: order(gdjax.full_batch()),
    "stochastic": lambda: order(gdjax.stochastic()),
    "mini_batch": lambda: order(gdjax.mini_batch(16)),
    "mini_batch-once": lambda: order(gdjax.mini_batch(16, shuffle="once", drop_remainder=True)),
    "mini_batch-shards": lambda: order(gdjax.mini_batch(16, shards=4)),
}
OF_THESE = {"compare", "find_learning_rate", "plan", "successive_halving", "suggest_batch_size"}
"""They run the programs of others."""
NO_PROGRAM = {
    "Budget",
    "CheckpointError",
    "NonFiniteError",
    "StreamError",
    "checkpoint",
    "compile_small_loops",
    "log_uniform",
    "random_points",
    "stream",
    "uniform",
}


def test_every_public_entry_has_a_row():
    public = {name for name in dir(gdjax) if name[0] != "_" and not inspect.ismodule(getattr(gdjax, name))}
    rows = named(ENTRIES | FACTORIES)
    assert public - OF_THESE - NO_PROGRAM <= rows
    assert not (OF_THESE | NO_PROGRAM) - public
    assert not (OF_THESE | NO_PROGRAM) & rows


@pytest.mark.parametrize("make", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_lowers(make):
    function, leaves = flat(*make())
    saved(function, *leaves)


ALONE = """
import pathlib, sys
import jax.export, numpy as np

program, given, result = sys.argv[1:]
epoch = jax.export.deserialize(bytearray(pathlib.Path(program).read_bytes())).call
with np.load(given) as file:
    parts = [[file[f"{part} {i}"] for i in range(int(file[part]))] for part in ("training", "state", "data")]
training, state, data = parts
for _ in range(2):
    after = epoch(training, state, data)
    state, record = after[: len(state)], after[len(state) :]
np.savez(result, *state, *record)
assert not any(name.partition(".")[0] in ("gdjax", "optax") for name in sys.modules)
"""


def test_an_exported_epoch_runs_without_the_code_that_made_it(tmp_path):
    function, *arguments = epoch()
    of_leaves, leaves = flat(function, *arguments)
    program, given, result = (tmp_path / name for name in ("epoch.bin", "given.npz", "result.npz"))
    program.write_bytes(saved(of_leaves, *leaves))
    parts = dict(zip(("training", "state", "data"), leaves, strict=True))
    arrays = {f"{part} {i}": x for part, several in parts.items() for i, x in enumerate(several)}
    np.savez(given, **arrays, **{part: len(several) for part, several in parts.items()})
    command = [sys.executable, "-W", "error", "-c", ALONE, program, given, result]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    alone = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert alone.returncode == 0, alone.stderr

    training, state, data = arguments
    step = jax.jit(training.epoch)
    for _ in range(2):
        state, record = step(state, data)
    assert int(state.epoch) == 2
    with np.load(result) as file:
        close(list(file.values()), [np.asarray(x) for x in plain((state, record))])
