"""The order of an epoch of ten million examples, which gdjax computes block by block and never stores."""

from benchmarks.contest import Contest, Peer, Proof, Work
from benchmarks.problems import small_loops

EXAMPLES = 10**7


def computed() -> Work:
    """The ids as gdjax computes them, in blocks as an epoch asks for them, summed; in next to no memory."""
    small_loops()
    import jax
    import jax.numpy as jnp

    import gdjax
    from gdjax.data.regimes import BLOCK_IDS

    regime = gdjax.mini_batch(BLOCK_IDS)
    slices = regime.slices(EXAMPLES)

    def ids_sum(key: jax.Array, epoch: int) -> jax.Array:
        keys = regime.keys(key, EXAMPLES, epoch)

        def add(i: int, total: jax.Array, rows: int = slices.rows) -> jax.Array:
            ids = regime.ids(keys, EXAMPLES, i * slices.rows, rows)
            return total + jnp.sum(ids.astype(jnp.uint32))

        total = jax.lax.fori_loop(0, slices.full, add, jnp.uint32(0))
        return add(slices.full, total, slices.remainder)

    key = jax.random.key(0)
    compiled = jax.jit(ids_sum).lower(key, 0).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    if used > EXAMPLES // 10:
        raise RuntimeError(f"no array may be as long as the data, got {used} bytes of memory.")

    def run(epochs: int) -> tuple:
        return epochs, [int(compiled(key, epoch)) for epoch in range(epochs)][-1]

    return Work(run, 1, lambda made: Proof(*made))


def sorted_() -> Work:
    """`jax.random.permutation`, summed likewise."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def ids_sum(key: jax.Array, epoch: int) -> jax.Array:
        return jnp.sum(jax.random.permutation(jax.random.fold_in(key, epoch), EXAMPLES).astype(jnp.uint32))

    key = jax.random.key(0)

    def run(epochs: int) -> tuple:
        return epochs, [int(ids_sum(key, epoch)) for epoch in range(epochs)][-1]

    return Work(run, 1, lambda made: Proof(*made))


CONTESTS = [
    Contest(
        "order",
        "order of an epoch of 10,000,000 examples",
        computed,
        (Peer("jax.random.permutation", sorted_, 20),),
        tolerance=0,
        rounds=1,
        long=True,
    )
]
