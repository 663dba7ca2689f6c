"""One training over several processes; the same script whatever starts them.

On a TPU pod, under Slurm or Open MPI, start it once on every host: JAX finds the others by itself. Elsewhere say where
the first one is, how many there are, and which this is. Two on one machine, each with two devices of its CPU:

    JAX_NUM_CPU_DEVICES=2 python examples/processes.py localhost:12345 2 0 &
    JAX_NUM_CPU_DEVICES=2 python examples/processes.py localhost:12345 2 1
"""

import sys

import jax
import numpy as np
import optax

import gdjax

if len(sys.argv) > 1:
    address, processes, index = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    where = {"coordinator_address": address, "num_processes": processes, "process_id": index}
else:
    where = {}
jax.distributed.initialize(**where, heartbeat_timeout_seconds=30)  # so soon all end after one has died


def start(key):
    a, b = jax.random.split(key)
    return {"a": jax.random.normal(a, (20, 64)) / 5, "b": jax.random.normal(b, (64, 3)) / 8}


def loss(params, batch):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(jax.nn.relu(x @ params["a"]) @ params["b"], y).mean()


# Every process names the same data and reads, of what is a stream, the rows of its own devices alone.
x = np.random.default_rng(0).standard_normal((10_000, 20)).astype(np.float32)
data = gdjax.stream((x, np.argmax(x[:, :3], axis=1).astype(np.int32)))
devices = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
result = gdjax.fit(
    loss,
    start,
    data,
    optimizer=gdjax.adam(1e-2),
    regime=gdjax.mini_batch(256),
    epochs=5,
    mesh=devices,
    shard_optimizer_state=True,
    progress=sys.stderr.isatty(),
)
if jax.process_index() == 0:
    print(f"{jax.process_count()} processes, {devices.size} devices: loss {result.history.loss[-1]:.6f}")
