"""What a run takes, told before it is run; on TPUs see tests/tpu."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import gdjax
from gdjax.engine import chips, plan, programs, sharding

ROWS, WIDTH = 96, 64


def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)


def start(key):
    return {"a": jax.random.normal(key, (WIDTH, WIDTH)), "b": jnp.zeros(WIDTH)}


DATA = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32), jax.ShapeDtypeStruct((ROWS,), jnp.float32)
NUMBERS = WIDTH * WIDTH + WIDTH


def planned(**others):
    given = {"params": start, "data": DATA, "optimizer": gdjax.adam(1e-3), "regime": gdjax.mini_batch(16)}
    return gdjax.plan(loss, **(given | others))


def mesh_of(devices, axis="data"):
    return Mesh(np.asarray(jax.devices()[:devices]), (axis,))


def test_one_device_holds_parameters_state_and_data():
    found = planned()
    assert found.fits
    assert found.devices == 1
    assert found.parameters == 4 * NUMBERS
    assert 8 * NUMBERS <= found.state <= 8 * NUMBERS + 200
    assert found.data == 4 * ROWS * (WIDTH + 1)
    assert found.total == found.parameters + found.state + found.data + found.temporaries
    assert found.steps_per_epoch == 6
    assert found.flops >= 3 * 2 * 16 * WIDTH * WIDTH * 0.6  # forward, and the slopes of one layer's two sides
    assert found.collectives == ()
    assert found.advice == ()
    assert "1 cpu device; mini_batch(16), 6 steps an epoch" in str(found)


def test_shapes_arrays_and_functions_are_planned_alike():
    arrays = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), DATA)
    shapes = jax.eval_shape(start, jax.random.key(0))
    assert planned() == planned(params=shapes) == planned(data=arrays) == planned(params=start(jax.random.key(0)))


def test_devices_exchange_the_gradients_and_nothing_else():
    found = planned(mesh=mesh_of(8))
    assert {each.kind for each in found.collectives} == {"all-reduce"}
    assert 4 * NUMBERS <= sum(each.bytes for each in found.collectives) <= 4 * NUMBERS + 64
    dealt = planned(mesh=mesh_of(8), regime=gdjax.mini_batch(16, shards=8))
    assert dealt.data * 8 == found.data


def test_the_state_is_spread(monkeypatch):
    monkeypatch.setattr(sharding, "LEAST_SHARE", 0)
    whole, spread = planned(mesh=mesh_of(8)), planned(mesh=mesh_of(8), shard_optimizer_state=True)
    assert whole.parameters == spread.parameters
    assert spread.state - 200 < whole.state / 8 < spread.state
    assert "spread over the devices" in str(spread)


def test_parameters_lie_as_their_shapes_say():
    mesh = Mesh(np.asarray(jax.devices()).reshape(4, 2), ("data", "model"))
    shapes = jax.eval_shape(start, jax.random.key(0))
    place = NamedSharding(mesh, PartitionSpec(None, "model"))
    shapes["a"] = jax.ShapeDtypeStruct(shapes["a"].shape, jnp.float32, sharding=place)
    found = planned(params=shapes, mesh=mesh)
    assert found.parameters == 4 * (WIDTH * WIDTH // 2 + WIDTH)


def test_where_the_state_is_not_held_twice_it_is_said(monkeypatch):
    found = planned()
    monkeypatch.setattr(plan, "memory_of", lambda device: found.total + found.state)
    tight = planned()
    assert tight.fits
    assert tight.advice[0].startswith('`non_finite="keep"` or "skip" must be given to `fit`')


def test_the_least_change_that_fits_is_advised(monkeypatch):
    monkeypatch.setattr(sharding, "LEAST_SHARE", 0)
    whole, spread = planned(mesh=mesh_of(8)), planned(mesh=mesh_of(8), shard_optimizer_state=True)
    monkeypatch.setattr(plan, "memory_of", lambda device: (whole.total + spread.total) // 2)
    found = planned(mesh=mesh_of(8))
    assert not found.fits
    assert found.temporaries is None
    (advice,) = found.advice
    assert advice.startswith("shard_optimizer_state=True would make it fit")
    assert "IT DOES NOT FIT" in str(found)
    monkeypatch.setattr(plan, "memory_of", lambda device: 1000)
    assert planned(mesh=mesh_of(8)).advice[0].startswith("No smaller batch makes it fit")


def test_a_smaller_batch_is_advised(monkeypatch):
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2**14, *x.shape[1:]), x.dtype), DATA)
    large, small = planned(data=many, regime=gdjax.full_batch()), planned(data=many, regime=gdjax.mini_batch(64))
    monkeypatch.setattr(plan, "memory_of", lambda device: (large.total + small.total) // 2)
    (advice,) = planned(data=many, regime=gdjax.full_batch()).advice
    size = int(advice.split("batches of ")[1].split()[0])
    assert planned(data=many, regime=gdjax.mini_batch(size)).fits


def test_a_cpus_memory_is_divided_among_its_devices():
    memory = chips.memory_of(jax.devices()[0])
    assert memory is None or 2**24 < memory < 2**50


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"topology": "v5e:2x4", "mesh": mesh_of(1)}, "`topology` must not be given beside `mesh`"),
        ({"mesh": 8}, "`mesh` must be a jax.sharding.Mesh, got 8."),
        ({"data": DATA[0].shape}, "`data[0]` must"),
        ({"topology": 8}, "`topology` must be a name such as 'v5e:2x4', got 8."),
        ({"shard_optimizer_state": 3}, "`shard_optimizer_state` must be one of"),
    ],
)
def test_what_is_wrong_is_said(others, words):
    with pytest.raises((TypeError, ValueError)) as error:
        planned(**others)
    assert words in str(error.value)


def test_exchanges_are_read_with_their_loops_and_bytes():
    mesh = mesh_of(4)
    spec = PartitionSpec("data")

    def body(x):
        def turn(i, x):
            return x + jax.lax.psum(x, "data") / 4

        x = jax.lax.fori_loop(0, 5, turn, x)
        moved = jax.lax.ppermute(x, "data", [(0, 1), (1, 0)])
        return jax.lax.all_gather(x, "data", tiled=True), moved, jax.lax.psum_scatter(x, "data", tiled=True)

    specs = PartitionSpec(), spec, spec
    function = jax.shard_map(body, mesh=mesh, in_specs=spec, out_specs=specs, check_vma=False)
    text = jax.jit(function).lower(jax.ShapeDtypeStruct((4 * 100,), jnp.float32)).compile().as_text()
    assert sorted(programs.collectives(text)) == [
        ("all-gather", 1600, 0), ("all-reduce", 400, 1), ("collective-permute", 400, 0), ("reduce-scatter", 400, 0)
    ]  # fmt: skip
    assert programs.collectives(jax.jit(jnp.sin).lower(1.0).compile().as_text()) == []
