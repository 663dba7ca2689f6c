"""An update compiled for a TPU that nobody has to own: its memory traffic beside the floor and optax's.

    python -m benchmarks.tpu [--page docs/tpu.md]

Needs the extra `tpu`, whose compiler runs on any Linux machine. Ends with status 1 if an update moves more bytes than
it must, or needs memory beyond its parameters and state.
"""

import argparse
import os
import pathlib
import sys

# The compiler asks for a machine; so it is told of one, before JAX is imported.
os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
)

import jax
import jax.numpy as jnp
import optax
from jax.experimental import topologies

import gdjax
from benchmarks.gpu import BYTES, OPTAX, RATE
from benchmarks.report import machine_line

TOPOLOGY = "v5e:2x2"
"""The update is compiled for one of its chips."""

LEAF = 2**26
"""Numbers in the one leaf, 256 MB: a small one would show the compiler's prefetching as copies."""

SCALARS = 1e-3
"""What scalars may add to the bytes a parameter: the learning rate, the step count, the bias corrections, and the
compiler's padding of them."""


def compiled(optimizer: optax.GradientTransformation, device: jax.Device) -> tuple[float, float]:
    """Memory traffic and temporary memory of one update, in bytes a parameter, as the TPU's compiler counts them."""
    sharding = jax.sharding.SingleDeviceSharding(device)

    def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    def step(params: jax.Array, state: optax.OptState, gradients: jax.Array) -> tuple:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = placed(jax.ShapeDtypeStruct((LEAF,), jnp.float32))
    state = jax.tree.map(placed, jax.eval_shape(optimizer.init, params))
    program = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()
    return program.cost_analysis()["bytes accessed"] / LEAF, program.memory_analysis().temp_size_in_bytes / LEAF


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE", help="write a Markdown page")
    arguments = parser.parse_args()

    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices[0]
    lines, kept = ["| optimizer | least | gdjax | optax | temporary memory |", "| --- | --- | --- | --- | --- |"], True
    for name, least in BYTES.items():
        ours, temporary = compiled(getattr(gdjax, name)(RATE), device)
        theirs, _ = compiled(OPTAX[name](), device)
        kept &= ours <= least + SCALARS * least and temporary == 0
        lines.append(f"| {name} | {least} | {ours:.4f} | {theirs:.4f} | {temporary:.4g} |")
    table = "\n".join(lines)
    print(table)
    if arguments.page:
        arguments.page.write_text(
            f"# Updates on a TPU\n\n{machine_line()}\n\n"
            "Made by `python -m benchmarks.tpu --page docs/tpu.md`: nothing was run; the numbers are those of the "
            f"TPU's own compiler for one chip of {TOPOLOGY} and one float32 leaf of {4 * LEAF / 2**20:.0f} MB. Bytes a "
            "parameter: the least is what an update must read and write (parameters, gradient, moments), and what "
            f"gdjax and optax move. Temporary memory is gdjax's.\n\n{table}\n"
        )
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
