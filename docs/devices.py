"""How a run grows from one chip to 256, told by the TPU's compiler; nothing is run.

python docs/devices.py            # prints the tables of docs/devices.md; needs the extra `tpu`
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

import gdjax

CHIPS = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
WIDTH, LAYERS = 2048, 4
ROWS_IN_ALL, ROWS_OF_A_CHIP, BATCHES = 8192, 128, 100


def start(key):
    return [jax.random.normal(key, (WIDTH, WIDTH))] * LAYERS


def loss(params, x):
    for w in params:
        x = jnp.tanh(x @ w)
    return jnp.mean(x**2)


def plan(chips, batch, *, spread, shards=1):
    rows = jax.ShapeDtypeStruct((BATCHES * batch, WIDTH), jnp.float32)
    regime = gdjax.mini_batch(batch, shards=shards)
    return gdjax.plan(loss, start, rows, optimizer=gdjax.adam(1e-3), regime=regime, topology=f"v5e:{CHIPS[chips]}",
                      shard_optimizer_state=spread and chips > 1)  # fmt: skip


def exchanges(planned):
    """Kinds, how many, and MiB in all; those of numbers alone, such as the loss, are left out."""
    sizes = {}
    for each in planned.collectives:
        if each.bytes > 1024:
            sizes.setdefault(each.kind, []).append(each.bytes)
    said = [f"{len(several)} {kind}, {sum(several) / 2**20:.0f} MiB" for kind, several in sizes.items()]
    return "; ".join(said) or "none"


def main():
    print("| chips | rows of a chip | GFLOP of a chip | exchanges | with ZeRO-1 |\n|---|---|---|---|---|")
    for chips in CHIPS:
        plain, zero = (plan(chips, ROWS_IN_ALL, spread=spread) for spread in (False, True))
        work = f"{ROWS_IN_ALL // chips} | {plain.flops / 1e9:.1f}"
        print(f"| {chips} | {work} | {exchanges(plain)} | {exchanges(zero)} |", flush=True)
    print("\n| chips | rows in all | parameters | state | with ZeRO-1 | data | temporaries | total | with ZeRO-1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for chips in CHIPS:
        batch = ROWS_OF_A_CHIP * chips
        plain, zero = (plan(chips, batch, spread=spread, shards=chips) for spread in (False, True))
        columns = plain.parameters, plain.state, zero.state, plain.data, plain.temporaries, plain.total, zero.total
        sizes = " | ".join(f"{size / 2**20:.1f}" for size in columns)
        print(f"| {chips} | {BATCHES * batch:,} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
