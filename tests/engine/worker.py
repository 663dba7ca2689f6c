"""A process of test_processes.py: python worker.py PROCESSES INDEX PORT DEVICES WHAT OUT."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

ROWS, WIDTH = 61, 8


def start(key):
    return {"a": jax.random.normal(key, (WIDTH, WIDTH)) / 3, "b": jnp.ones(WIDTH) / 4, "seen": jnp.zeros(ROWS)}


def loss(params, batch, *, key):
    marks = params["seen"][batch["id"]]
    noise = jax.random.normal(key, ()) / 10
    out = jnp.tanh(batch["x"] @ params["a"]) @ params["b"] + noise
    return jnp.mean((out - batch["y"]) ** 2 + marks - jax.lax.stop_gradient(marks))


def seen(params, gradients, updates, state):
    return {"seen": gradients["seen"]}


def table(rows):
    x = np.random.default_rng(rows).standard_normal((rows, WIDTH)).astype(np.float32)
    return {"id": np.arange(rows, dtype=np.int32), "x": x, "y": np.sin(x.sum(1))}


class Breaking:
    """A source that only the second process cannot read to its end."""

    def __init__(self):
        self.table, self.read = table(ROWS), 0

    def __len__(self):
        return ROWS

    def __getitem__(self, i):
        self.read += 1
        if jax.process_index() == 1 and self.read > 3 * ROWS:
            raise OSError("the disk is gone.")
        return {name: column[i] for name, column in self.table.items()}


def main(what, out):
    import gdjax
    from gdjax.data import windows
    from gdjax.engine import sharding

    sharding.LEAST_SHARE = 0
    windows.WINDOW_BYTES = 2000
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))

    def run(regime, data=None, **others):
        given = {
            "optimizer": gdjax.chain(gdjax.adam(0.01), gdjax.transforms.reduce_on_plateau(0.5, patience=0)),
            "epochs": 5,
            "seed": 3,
            "validation": table(24),
            "metrics": {"error": lambda params, batch: jnp.mean(jnp.abs(batch["y"] - params["b"].sum()))},
            "record": seen,
        }
        return gdjax.fit(loss, start, data or table(ROWS), regime=regime, mesh=mesh, **(given | others))

    if what == "endless":
        pathlib.Path(f"{out}.started").touch()
        result = run(gdjax.mini_batch(16), epochs=10**6, validation=None, metrics=None, record=None)
        np.savez(out, step=len(result.history.step_loss), interrupted=result.interrupted)
        return
    if what == "different":
        try:
            run(gdjax.mini_batch(16), epochs=5 + jax.process_index())
        except ValueError as error:
            np.savez(out, message=str(error))
        return
    if what == "saved":
        folder = pathlib.Path(out).parent / "checkpoints"
        saved = gdjax.checkpoint(folder, every=1, unit="steps", keep=99)
        result = run(gdjax.mini_batch(16), shard_optimizer_state=True, checkpoint=saved)
        np.savez(out, losses=result.history.step_loss, ids=result.history.recorded["seen"] != 0,
                 a=np.asarray(result.params["a"]), notes=np.asarray(result.history.notes))  # fmt: skip
        return
    if what == "breaking":
        try:
            run(gdjax.mini_batch(16), gdjax.stream(Breaking()))
        except gdjax.StreamError as error:
            result = error.result
            np.savez(out, step=len(result.history.step_loss), interrupted=result.interrupted, message=str(error))
        return
    regimes = {"full": gdjax.full_batch(), "mini": gdjax.mini_batch(16), "stochastic": gdjax.stochastic()}
    cases = {(name, zero): (regime, None, zero) for name, regime in regimes.items() for zero in (False, True)}
    cases["sharded", True] = gdjax.mini_batch(16, shards=4), None, True
    cases["stream", True] = gdjax.mini_batch(16), gdjax.stream(table(ROWS)), True
    if what == "some":
        cases = {case: cases[case] for case in (("mini", True), ("sharded", True), ("stream", True))}
    columns = {}
    for (name, zero), (regime, data, spread) in cases.items():
        result = run(regime, data, shard_optimizer_state=spread)
        history = result.history
        columns |= {
            f"{name} {zero} ids": history.recorded["seen"] != 0,
            f"{name} {zero} rates": history.learning_rate,
            f"{name} {zero} losses": history.loss,
            f"{name} {zero} validation": history.validation_loss,
            f"{name} {zero} error": history.metrics["error"],
            f"{name} {zero} a": np.asarray(result.params["a"]),
        }
    np.savez(out, **columns)


if __name__ == "__main__":
    processes, index, port, devices, what, out = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    if int(processes) > 1:
        jax.distributed.initialize(f"localhost:{port}", int(processes), int(index), heartbeat_timeout_seconds=20)
    main(what, out)
