"""The run of these tests, and a process that makes it: python worker.py FOLDER EPOCHS OUT."""

import dataclasses
import functools
import pathlib
import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from gdjax.engine.checkpoint import arrays_of, opened

FEATURES, ROWS, PER_EPOCH = 32, 64, 4
SMALL, LARGE = 512, 4096
"""Widths of a model whose arrays are saved together, in 200 KB, and of one whose arrays have files of their own."""


def table(rows):
    x = np.random.default_rng(rows).normal(size=(rows, FEATURES)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1))}


def start(width):
    random = np.random.default_rng(0)
    return {
        "a": random.normal(size=(FEATURES, width), scale=FEATURES**-0.5).astype(np.float32),
        "b": random.normal(size=width, scale=width**-0.5).astype(np.float32),
    }


def loss(params, batch):
    return jnp.mean((jnp.tanh(batch["x"] @ params["a"]) @ params["b"] - batch["y"]) ** 2)


def run(epochs, checkpoint=None, *, width=SMALL, **others):
    given = {"optimizer": gdjax.adam(1e-3), "regime": gdjax.mini_batch(ROWS // PER_EPOCH), "validation": table(24)}
    return gdjax.fit(loss, start(width), table(ROWS), epochs=epochs, seed=3, checkpoint=checkpoint, **(given | others))


def every_step(folder, **others):
    return gdjax.checkpoint(folder, **({"every": 1, "unit": "steps"} | others)) if folder else None


def steps_in(folder):
    """Of the checkpoints that are sealed."""
    return sorted(int(path.stem[5:]) for path in pathlib.Path(folder).glob("step-*.json"))


def told(result):
    """{name: array} of all that a run leaves, but for its notes."""
    history = dataclasses.asdict(result.history) | {"notes": None}
    leaves = arrays_of("params", result.params) | arrays_of("state", result.state) | arrays_of("history", history)
    keys = {name: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for name, leaf in leaves.items()}
    return {name: np.asarray(jax.random.key_data(x) if keys[name] else x) for name, x in leaves.items()}


def differing(one, other):
    """Names of what is not the same to the last bit."""
    one, other = ({name: (x.dtype, x.shape, x.tobytes()) for name, x in each.items()} for each in (one, other))
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def limit_files(size):
    """To so many bytes each."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def write(out, function, *arguments):
    """What a run comes to, and its notes, or what ended it."""
    try:
        result = function(*arguments)
        notes = result.history.notes
    except gdjax.CheckpointError as error:
        result, notes = error.result, [str(error)]
    limit_files(resource.RLIM_INFINITY)
    np.savez(out, interrupted=result.interrupted, notes=np.array(notes, str), **told(result))


def left_by(out):
    """(the arrays of `told`, whether the run was interrupted, its notes) as `write` wrote them."""
    arrays = dict(np.load(out))
    return arrays, bool(arrays.pop("interrupted")), arrays.pop("notes").tolist()


def train(folder, epochs, out, width=SMALL, **others):
    write(out, functools.partial(run, width=width), int(epochs), every_step(folder, **others))


def ballast(params, gradients, updates, state):
    """8 KB a step, so that each checkpoint is larger than the one before."""
    return {"ballast": jnp.resize(params["b"], (2000,))}


def heavy(folder=None):
    """A run of twelve steps that leaves 96 KB, and hardly any parameters."""
    return run(3, every_step(folder, keep=99), width=8, record=ballast)


def train_heavy(folder, out, names):
    """Each in a folder of its name, or in none."""
    for name in names:
        write(out / f"{name}.npz", heavy, folder and folder / str(name))


def fill(folder, out, limits):
    """Each in a folder named by the bytes that no file may have more of."""
    for limit in limits:
        limit_files(limit)
        write(out / f"{limit}.npz", heavy, folder / str(limit))


def fill_then_train(folder, out, limit, times):
    """Again and again: a run that has no room, and at once the same one, that has."""
    for name in range(times):
        fill(folder / str(name), folder, [limit])
        write(out / f"{name}.npz", heavy, folder / str(name) / str(limit))


def lose(folder):
    """Saves, and fails to once a file has taken the folder's place."""
    store = opened(gdjax.checkpoint(folder))
    store.save(0, {"a": np.zeros(3)}, {})
    store.finish()
    folder.rename(folder.with_name("away"))
    folder.touch()
    try:
        store.save(1, {"a": np.zeros(3)}, {})
        store.finish()
    except OSError:
        return store.close()
    raise AssertionError("it was saved nowhere.")


if __name__ == "__main__":
    train(*sys.argv[1:])
