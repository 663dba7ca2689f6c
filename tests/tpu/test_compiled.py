"""Training compiled for TPUs that nobody has to own: what the compiled programs exchange, hold and move.

Needs the extra `tpu`.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

import gdjax
from gdjax.engine.chips import topology
from gdjax.engine.plan import _Case
from gdjax.engine.programs import collectives
from gdjax.sweeps import population
from gdjax.sweeps.plan import plans

TOPOLOGIES = {"v5e:1x1": 1, "v5e:2x4": 8, "v5e:16x16": 256}
WIDTH, CLASSES, ROWS_OF_A_CHIP, BATCHES = 4096, 3, 8, 100
NUMBERS = WIDTH * WIDTH + WIDTH * CLASSES + WIDTH
FEW = 64
"""Bytes of the scalars that may go along."""


def start(key):
    return {
        "a": jax.random.normal(key, (WIDTH, WIDTH)),
        "shift": jnp.zeros(WIDTH),
        "b": jnp.zeros((WIDTH, CLASSES)),
    }


def loss(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["a"] + params["shift"][None])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["b"], y).mean()


def case(name, *, zero=False, sharded=False, regime=None):
    """A run whose last batch no number of chips divides."""
    chips = TOPOLOGIES[name]
    rows = ROWS_OF_A_CHIP * chips * BATCHES + 3
    data = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)
    regime = regime or gdjax.mini_batch(ROWS_OF_A_CHIP * chips, shards=chips if sharded else 1)
    return _Case(loss, gdjax.adam(1e-3), start, None, data, regime, topology(name), zero)


@functools.cache
def compiled(name, program, zero, sharded):
    run = case(name, zero=zero, sharded=sharded)
    if program == "epoch":
        return run.compiled()
    steps = functools.partial(run.run.steps, capacity=64)
    stop = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(run.mesh, PartitionSpec()))
    return jax.jit(steps, donate_argnums=0).lower(*run.arguments, stop).compile()


def bytes_of(tree):
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
               if hasattr(x.dtype, "itemsize"))  # fmt: skip


def runs(names):
    """Slices and programs; `steps` of the others than v5e:2x4 takes minutes in all."""
    several = [(name, program) for name in names for program in ("epoch", "steps")]
    marks = {each: pytest.mark.long for each in several if each[1] == "steps" and each[0] != "v5e:2x4"}
    return pytest.mark.parametrize(
        ("name", "program"), [pytest.param(*each, marks=marks.get(each, ())) for each in several]
    )


NAMES = pytest.mark.parametrize("name", TOPOLOGIES)
SHARDED = pytest.mark.parametrize("sharded", [False, True], ids=["copies of the rows", "rows sharded"])
ZERO = pytest.mark.parametrize("zero", [False, True], ids=["state copied", "ZeRO-1"])


def by_loop(program):
    """{loop: its exchanges}; the remainder batch, outside the loop of steps, has its own."""
    found = {}
    for each in collectives(program.as_text()):
        found.setdefault(each.loops, []).append(each)
    return found


@runs(TOPOLOGIES)
@SHARDED
def test_a_step_has_one_all_reduce_of_the_gradients_and_no_other_exchange(name, program, sharded):
    loops = by_loop(compiled(name, program, False, sharded))
    assert bool(loops) == (TOPOLOGIES[name] > 1)
    for exchanges in loops.values():
        (only,) = exchanges
        assert only.kind == "all-reduce"
        assert 4 * NUMBERS <= only.bytes <= 4 * NUMBERS + FEW


@functools.cache
def scattering(name):
    """The exchange that adds up a gradient and leaves each chip its share, where nothing else is asked for."""
    mesh = topology(name)

    def share(x):
        return jax.lax.psum_scatter(x, "data", tiled=True)

    scatter = jax.shard_map(
        share, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec("data"), check_vma=False
    )
    leaf = jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    (only,) = collectives(jax.jit(scatter).lower(leaf).compile().as_text())
    return only.kind


def test_the_compiler_scatters_over_eight_chips():
    """On squares of 4x4 chips and more it adds up the whole instead, where a mesh has one axis."""
    assert scattering("v5e:2x4") == "reduce-scatter"


@runs(name for name, chips in TOPOLOGIES.items() if chips > 1)
@SHARDED
def test_with_zero_a_step_scatters_the_gradient_and_gathers_the_parameters(name, program, sharded):
    loops = by_loop(compiled(name, program, True, sharded))
    loops.pop(0, None)  # the remainder: three rows, whose gradient every chip computes
    assert loops
    large = 4 * WIDTH * WIDTH
    for exchanges in loops.values():
        sizes = {}
        for each in exchanges:
            sizes.setdefault(each.kind, []).append(each.bytes)
        if sizes == {"all-gather": [large]} and program == "steps":
            continue  # the remainder again, which `steps` has in the loop over epochs
        assert sizes.pop("all-gather") == [large]
        added = [(kind, size) for kind, several in sizes.items() for size in several]
        ((kind, _),) = [(kind, size) for kind, size in added if size >= large]
        assert kind == scattering(name)
        assert sum(size for _, size in added) <= 4 * NUMBERS + FEW
        assert len(added) <= 2


@runs(TOPOLOGIES)
@SHARDED
@ZERO
def test_state_is_given_away_and_nothing_of_the_data_copied(name, program, sharded, zero):
    state, data = case(name, zero=zero, sharded=sharded).arguments
    memory = compiled(name, program, zero, sharded).memory_analysis()
    assert memory.alias_size_in_bytes >= bytes_of((state.trainable, state.optimizer_state))
    # What a step works on, and not a copy of the data, nor one in another precision.
    batch = bytes_of(data) / (BATCHES * (1 if sharded else TOPOLOGIES[name]))
    if not zero:
        assert memory.temp_size_in_bytes <= 4 * NUMBERS + 32 * batch
    if TOPOLOGIES[name] > 1 or bytes_of(data) > 8 * NUMBERS:
        assert memory.temp_size_in_bytes < 12 * NUMBERS + bytes_of(data) / 2
    if sharded:
        assert memory.argument_size_in_bytes <= bytes_of(state) * 1.02 + bytes_of(data) * 1.02 + 2**20
    chips = TOPOLOGIES[name]
    share = WIDTH * WIDTH // chips if zero else WIDTH * WIDTH
    assert bytes_of(state.optimizer_state) == 2 * 4 * (share + NUMBERS - WIDTH * WIDTH) + bytes_of(
        [x for x in jax.tree.leaves(state.optimizer_state) if x.ndim == 0]
    )


@NAMES
@pytest.mark.parametrize("regime", [gdjax.full_batch(), gdjax.stochastic()], ids=str)
def test_other_regimes_exchange_as_little(name, regime):
    exchanges = collectives(case(name, regime=regime).compiled().as_text())
    for each in exchanges:
        assert each.kind == "all-reduce"
        assert each.bytes <= 4 * NUMBERS + FEW
    # one example is no work to share, nor are rows that the chips don't divide
    assert not exchanges


@pytest.mark.parametrize("zero", [False, True], ids=["one chip", "each its share of eight"])
def test_adam_moves_28_bytes_a_parameter_and_takes_no_more_memory(zero):
    mesh = topology("v5e:2x4")
    place = NamedSharding(mesh, PartitionSpec("data")) if zero else SingleDeviceSharding(mesh.devices.flat[0])
    numbers = 2**26  # of a small leaf prefetching would show as copies
    whole = place if not zero else NamedSharding(mesh, PartitionSpec())
    optimizer = gdjax.adam(1e-3)
    leaf = jax.ShapeDtypeStruct((numbers * (8 if zero else 1),), jnp.float32, sharding=place)
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place if x.ndim else whole),
        jax.eval_shape(optimizer.init, leaf),
    )

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    program = jax.jit(step, donate_argnums=(0, 1)).lower(leaf, state, leaf).compile()
    assert program.cost_analysis()["bytes accessed"] / numbers == pytest.approx(28, rel=1e-3)
    assert program.memory_analysis().temp_size_in_bytes == 0
    assert not collectives(program.as_text())


@NAMES
def test_a_sweep_exchanges_nothing(name):
    chips, mesh = TOPOLOGIES[name], topology(name)
    rows = (np.zeros((100, 8), np.float32), np.zeros(100, np.int32))
    (plan,) = plans(
        lambda w, batch: jnp.mean((batch[0] @ w - batch[1].astype(jnp.float32)) ** 2), lambda key: jnp.zeros(8), rows,
        optimizer=gdjax.adam, regimes=[gdjax.mini_batch(32)], epochs=3, grid={"learning_rate": np.full(4 * chips, 0.1)},
        points=None, seeds=range(2), model_state=None, validation=None, metrics=None, memory=None, mesh=None,
        check_finite=True,
    )  # fmt: skip
    ((_, runs),) = plan.groups
    runs = dataclasses.replace(runs, mesh=mesh)

    def lying(tree, spec):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), tree)

    every = PartitionSpec("data")
    states = jax.eval_shape(runs.begin)
    axes = population._state_axes(states, keys=None)
    states = jax.tree.map(lambda axis, x: lying(x, every if axis == 0 else PartitionSpec()), axes, states,
                          is_leaf=lambda x: x is None)  # fmt: skip
    stop = lying(jax.ShapeDtypeStruct((), jnp.int32), PartitionSpec())
    program = population._advance.traced.lower(
        lying(runs.run, every), states, lying(runs.data, PartitionSpec()), stop, 16, False, mesh
    ).compile()
    assert not collectives(program.as_text())


def test_a_plan_says_what_would_fit():
    """1.5 thousand million parameters with their state does not fit a chip, but spread over eight it does."""
    wide = 8192
    params = {"w": [jax.ShapeDtypeStruct((wide, wide), jnp.float32)] * 22}
    data = jax.ShapeDtypeStruct((10_000, wide), jnp.float32)

    def deep(params, x):
        for w in params["w"]:
            x = jnp.tanh(x @ w)
        return jnp.mean(x**2)

    given = {"optimizer": gdjax.adam(1e-3), "regime": gdjax.mini_batch(512), "topology": "v5e:2x4"}
    plan = gdjax.plan(deep, params, data, **given)
    assert not plan.fits
    assert plan.memory == 16 * 2**30 < plan.total
    assert plan.parameters == 22 * 4 * wide**2
    (advice,) = plan.advice
    assert advice.startswith("shard_optimizer_state=True would make it fit")
    followed = gdjax.plan(deep, params, data, **given, shard_optimizer_state=True)
    assert followed.fits
    assert followed.state < plan.state / 7
    assert {each.kind for each in followed.collectives} == {"reduce-scatter", "all-gather", "all-reduce"}
    for words in ("IT DOES NOT FIT", advice, "parameters"):
        assert words in str(plan)
    for words in ("it fits", "reduce-scatter", "by the compiler's model", "spread over the devices"):
        assert words in str(followed)


def test_a_smaller_batch_is_found():
    params = {"a": jax.ShapeDtypeStruct((1024, 16384), jnp.float32), "b": jax.ShapeDtypeStruct((16384,), jnp.float32)}
    data = jax.ShapeDtypeStruct((500_000, 1024), jnp.float32)
    plan = gdjax.plan(
        lambda p, x: jnp.mean(jnp.tanh(jnp.sin(x @ p["a"])) @ p["b"]), params, data, optimizer=gdjax.gd(0.1),
        regime=gdjax.mini_batch(400_000), topology="v5e:1x1",
    )  # fmt: skip
    assert not plan.fits
    (advice,) = plan.advice
    assert advice.startswith("batches of ")


@pytest.mark.parametrize("name", ["v5e", "v5e:2y4", "v5e:3x3x3", "v5e:32x32", "v6e:5x7", "v99:2x2", "v4:0x2", 8])
def test_a_topology_that_is_none_is_said(name):
    with pytest.raises((ValueError, TypeError), match=r"`topology` .*must"):
        gdjax.plan(lambda w, x: jnp.mean(w * x), jnp.ones(()), np.ones(9, np.float32), optimizer=gdjax.gd(0.1),
                   regime=gdjax.full_batch(), topology=name)  # fmt: skip
