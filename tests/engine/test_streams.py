"""Rows read as the run goes: the same run as of the same rows in memory."""

import functools
import os
import signal
import threading
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import gdjax
from gdjax.data import windows

ROWS, FEATURES = 61, 5
REGIMES = {
    "mini": gdjax.mini_batch(8),
    "mini as it lies": gdjax.mini_batch(8, shuffle=False),
    "once": gdjax.mini_batch(8, shuffle="once"),
    "without remainder": gdjax.mini_batch(8, drop_remainder=True),
    "stochastic": gdjax.stochastic(),
    "full": gdjax.full_batch(),
    "sharded": gdjax.mini_batch(8, shards=4),
    "sharded, one short batch": gdjax.mini_batch(64, shards=4),
    "sharded, tail alone": gdjax.mini_batch(12, shards=4),
    "full, sharded": gdjax.full_batch(shards=4),
}


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Three batches of eight in each."""
    monkeypatch.setattr(windows, "WINDOW_BYTES", 3 * 8 * (FEATURES + 2) * 4)


def table(rows=ROWS):
    draw = np.random.default_rng(3)
    x = draw.standard_normal((rows, FEATURES)).astype(np.float32)
    return {"id": np.arange(rows), "x": x, "y": np.sin(x.sum(1)).astype(np.float32)}


class Examples:
    """A source that gives one at a time and counts."""

    def __init__(self, table):
        self.table, self.read = table, []

    def __len__(self):
        return len(self.table["y"])

    def __getitem__(self, i):
        self.read.append(i)
        return {name: column[i] for name, column in self.table.items()}


def loss(params, batch, *, key):
    marks = params["seen"][batch["id"]]
    noise = jax.random.normal(key, ()) / 10
    return jnp.mean(
        (jnp.tanh(batch["x"] @ params["w"]) + noise - batch["y"]) ** 2 + marks - jax.lax.stop_gradient(marks)
    )


def seen(params, gradients, updates, state):
    return {"seen": gradients["seen"]}


def run(data, regime=REGIMES["mini"], **others):
    given = {
        "optimizer": gdjax.chain(gdjax.adam(0.02), gdjax.transforms.reduce_on_plateau(0.5, patience=0)),
        "params": {"w": jnp.zeros(FEATURES), "seen": jnp.zeros(ROWS)},
        "epochs": 4,
        "seed": 7,
        "record": seen,
    }
    return gdjax.fit(loss, data=data, regime=regime, **(given | others))


def same(one, other):
    for name in ("loss", "step_loss", "learning_rate"):
        np.testing.assert_allclose(getattr(other.history, name), getattr(one.history, name), rtol=1e-6)
    np.testing.assert_array_equal(other.history.recorded["seen"] != 0, one.history.recorded["seen"] != 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one.params, other.params)


@functools.cache
def resident(name):
    return run(table(), REGIMES[name])


@pytest.mark.parametrize("devices", [None, 4])
@pytest.mark.parametrize("name", REGIMES)
def test_a_stream_trains_as_arrays_do(name, devices):
    mesh = None if devices is None else Mesh(np.asarray(jax.devices()[:devices]), ("data",))
    same(resident(name), run(gdjax.stream(table()), REGIMES[name], mesh=mesh))


def test_anything_with_a_length_and_items_is_a_source():
    source = Examples(table())
    same(resident("mini"), run(gdjax.stream(source)))
    assert len(source.read) == 4 * ROWS + 2  # twice more to see what an example is


def test_lists_of_grain_are_sources():
    source = grain.MapDataset.source(Examples(table()))
    same(resident("mini"), run(gdjax.stream(source)))


def test_files_mapped_into_memory_are_read(tmp_path):
    mapped = {}
    for name, column in table().items():
        np.save(tmp_path / f"{name}.npy", column)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    same(resident("mini"), run(gdjax.stream(mapped)))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("stride", [1, 2])
def test_arrays_that_lie_otherwise_are_read_alike(dtype, stride):
    data = table()
    wide = np.zeros((ROWS * stride, FEATURES), dtype)
    wide[::stride] = data["x"]
    same(resident("mini"), run(gdjax.stream({**data, "x": wide[::stride]})))


def test_arrays_of_other_libraries_are_read_row_by_row():
    class OnDisk:
        """As an array of HDF5, which takes no list of rows in any order."""

        def __init__(self, array):
            self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

        def __len__(self):
            return len(self.array)

        def __getitem__(self, i):
            assert isinstance(i, int)
            return self.array[i]

        def __array__(self, *args, **others):
            raise MemoryError("all of it is too much.")

    data = table()
    same(resident("mini"), run(gdjax.stream({**data, "x": OnDisk(data["x"])})))
    assert len(gdjax.stream(OnDisk(data["x"]))) == ROWS


@pytest.mark.parametrize("cut", [1, 3])
def test_a_run_goes_on_where_it_stood(cut):
    half = run(gdjax.stream(table()), epochs=cut)
    whole = run(gdjax.stream(table()), state=half.state)
    np.testing.assert_array_equal(whole.history.loss, run(gdjax.stream(table())).history.loss[cut:])


def test_from_within_an_epoch_it_goes_on_too():
    training = gdjax.training(loss, optimizer=gdjax.adam(0.02), regime=REGIMES["mini"])
    params = {"w": jnp.zeros(FEATURES), "seen": jnp.zeros(ROWS)}
    state, _ = training.steps(training.init(params, 7), table(), 5)
    given = {"optimizer": gdjax.adam(0.02), "state": state, "record": None}
    one, other = run(table(), **given), run(gdjax.stream(table()), **given)
    np.testing.assert_allclose(one.history.step_loss, other.history.step_loss, rtol=1e-6)
    assert len(one.history.step_loss) == 4 * 8 - 5


def test_every_device_reads_its_own_rows_once():
    source = Examples(table())
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    run(gdjax.stream(source), mesh=mesh, epochs=1)
    counts = np.bincount(source.read, minlength=ROWS)
    np.testing.assert_array_equal(counts[1:], 1)
    assert counts[0] == 3  # twice more to see what an example is


def test_rows_go_where_the_run_lies():
    device = jax.devices()[3]
    params = jax.device_put({"w": jnp.zeros(FEATURES), "seen": jnp.zeros(ROWS)}, device)
    result = run(gdjax.stream(table()), params=params)
    same(resident("mini"), result)
    assert result.params["w"].devices() == {device}


def test_a_source_that_ends_the_process_does():
    class Leaving(Examples):
        def __getitem__(self, i):
            if len(self.read) > ROWS:
                raise SystemExit(3)
            return super().__getitem__(i)

    with pytest.raises(SystemExit):
        run(gdjax.stream(Leaving(table())))


def test_validation_is_in_memory():
    one, other = (run(data, validation=table(20)) for data in (table(), gdjax.stream(table())))
    np.testing.assert_allclose(one.history.validation_loss, other.history.validation_loss, rtol=1e-6)
    same(one, other)


def test_a_second_run_compiles_nothing():
    from gdjax.engine.fit import advance

    run(gdjax.stream(table()))
    before = advance._cache_size()
    run(gdjax.stream(table()), seed=8, epochs=6)
    assert advance._cache_size() == before


def test_what_was_trained_before_a_source_broke_is_kept():
    whole = resident("mini")

    class Breaking(Examples):
        def __getitem__(self, i):
            if len(self.read) > ROWS + 30:  # in the second epoch
                raise OSError(f"the disk of example {i} is gone.")
            return super().__getitem__(i)

    with pytest.raises(gdjax.StreamError, match=r"at epoch 1, step 3 .* the disk of example \d+ is gone") as error:
        run(gdjax.stream(Breaking(table())))
    result = error.value.result
    np.testing.assert_allclose(result.history.step_loss, whole.history.step_loss[:11], rtol=1e-6)
    assert isinstance(error.value.__cause__, OSError)


def test_ctrl_c_does_not_wait_for_a_source_that_hangs():
    hung = threading.Event()

    class Hanging(Examples):
        def __getitem__(self, i):
            if len(self.read) > ROWS + 30 and not hung.is_set():
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                hung.wait(60)
            return super().__getitem__(i)

    started = time.monotonic()
    result = run(gdjax.stream(Hanging(table())))
    assert time.monotonic() - started < 50
    hung.set()
    assert result.interrupted
    assert len(result.history.step_loss) == 11


def test_numbers_that_are_not_finite_are_said_where_they_are_read():
    data = table()
    order = np.asarray(REGIMES["mini"].order(ROWS, 7, 0))
    data["x"][order[30], 2] = np.nan  # in the fourth batch, the second window
    with pytest.raises(gdjax.StreamError, match=r"at epoch 0, step 3 .*`data\['x'\]` must be finite, got 1 NaN"):
        run(gdjax.stream(data))
    assert np.isnan(run(gdjax.stream(data), check_finite=False, non_finite="keep").history.loss).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gdjax.stream({}), "`source` must hold at least one array, got {}."),
        (lambda: gdjax.stream((np.zeros(3), np.zeros(4))), "`source[1]` must have as many rows as `source[0]`, 3,"),
        (lambda: gdjax.stream(8), "`source` must have a leading axis of examples, got a scalar."),
        (lambda: gdjax.stream("text"), "`source[0]` must be an array, got 't'."),
        (lambda: gdjax.stream(Examples({"y": np.zeros(0)})), "`len(source)` must be at least 1, got 0."),
        (lambda: gdjax.stream(Examples({"y": ["a", "b"]})), "`source[0]['y']` must be an array, got 'a'."),
        (lambda: run(gdjax.stream(table()), metrics={"m": loss}), "`metrics` must come with `validation` data"),
        (lambda: run(gdjax.stream(table()), validation=gdjax.stream(table())), "`validation` must be an array"),
        (lambda: run(gdjax.stream(table()), validation=(table()["x"],)), "`validation` must have the structure"),
        (lambda: gdjax.sweep(loss, lambda key: jnp.zeros(3), gdjax.stream(table()), optimizer=gdjax.adam,
                             grid={"learning_rate": [0.1]}, regime=gdjax.full_batch(), epochs=1, seeds=[0]),
         "`data` must be an array, got Stream(61 rows)"),
        (lambda: run(gdjax.stream({**table(), "id": np.full(ROWS, 2**40)})), "`source['id']` must fit into int32"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, words):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert words in str(error.value)


@pytest.mark.parametrize("odd", [np.zeros(FEATURES - 1, np.float32), np.zeros(FEATURES)])
def test_examples_that_differ_are_said(odd):
    rows = table()
    rows["x"] = [*rows["x"][:40], odd, *rows["x"][41:]]
    with pytest.raises((ValueError, gdjax.StreamError), match=r"`source\[40\]` must have the shapes and types of"):
        run(gdjax.stream(Examples(rows)))
