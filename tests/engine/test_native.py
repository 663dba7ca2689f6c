"""Programs of small steps: what counts as small, what is asked of the compiler, and when the call comes too late."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.engine.native import SmallJit, is_small


def jaxpr(function, *arguments):
    return jax.make_jaxpr(function)(*arguments).jaxpr


def test_small_is_what_loops_compute_and_matrix_products_count_more():
    def products(batch):
        return jaxpr(lambda a, b: jax.lax.fori_loop(0, 9, lambda _, a: a @ b, a), jnp.ones((batch, 100)), jnp.eye(100))

    assert is_small(products(1))  # 10,000 products with a vector
    assert is_small(products(4))  # 40,000 with a matrix, times 20
    assert not is_small(products(8))
    assert is_small(jaxpr(lambda x: x + 1, jnp.ones(1_000_000)))
    assert not is_small(jaxpr(lambda x: x + 1, jnp.ones(1_000_001)))
    assert is_small(jaxpr(lambda x: x + 1, jnp.ones(2_000_000, jnp.int32)))  # orders of examples are integers


def test_both_ways_to_compile_give_the_same():
    @SmallJit
    def run(a, b):
        return jax.lax.fori_loop(0, 3, lambda _, a: jnp.tanh(a @ b), a)

    draw = np.random.default_rng(0).normal(size=(2, 300, 30)).astype(np.float32)
    for rows in (2, 300):
        a, b = draw[0, :rows], draw[1, :30]
        wanted = a
        for _ in range(3):
            wanted = np.tanh(wanted @ b)
        np.testing.assert_allclose(run(a, b), wanted, rtol=1e-4, atol=1e-5)
    assert run._small._cache_size() == run._large._cache_size() == 1


def test_donated_and_static_arguments_are_as_in_jit():
    run = SmallJit(lambda x, n: x * n, static_argnums=(1,), donate_argnums=(0,))
    x = jnp.ones(3)
    assert run(x, 2).tolist() == [2.0] * 3
    assert x.is_deleted()
    assert run._cache_size() == 1


def test_once_jax_has_started_the_call_says_that_it_is_too_late(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    jnp.zeros(1).block_until_ready()
    with pytest.raises(RuntimeError, match=r"`compile_small_loops` must be called before JAX's first operation"):
        gdjax.compile_small_loops()
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.parametrize("limit", [-1, 0.5, "much", True])
def test_a_limit_that_is_no_count_is_refused(limit):
    with pytest.raises((TypeError, ValueError), match="`limit` must"):
        gdjax.compile_small_loops(limit)


PROGRAM = """
import json, os, sys
import gdjax, jax, jax.numpy as jnp
if sys.argv[1] != "0":
    gdjax.compile_small_loops()
    gdjax.compile_small_loops()
x = jnp.linspace(-1, 1, 50)
result = gdjax.fit(
    lambda w, batch: jnp.mean((batch[1] - jnp.tanh(batch[0][:, None] * w).sum(1)) ** 2), jnp.linspace(-1, 1, 7),
    (x, jnp.sin(3 * x)), optimizer=gdjax.adam(1e-2), regime=gdjax.mini_batch(8), epochs=20,
)
if sys.argv[1] != "0":
    gdjax.compile_small_loops()  # nothing to change any more, and so nothing too late
print(json.dumps([os.environ["XLA_FLAGS"], result.history.step_loss.tolist()]))
"""


def test_a_run_is_the_same_with_small_loops_and_other_flags_stay():
    def run(argument):
        flags = "--xla_cpu_enable_fast_math=false --xla_backend_extra_options=xla_cpu_disable_loop_unrolling=false"
        environment = os.environ | {"XLA_FLAGS": flags}
        out = subprocess.run(
            [sys.executable, "-c", PROGRAM, argument], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(out.stdout)

    (before, plain), (after, native) = run("0"), run("1")
    assert after == before + ",xla_cpu_small_while_loop_byte_threshold=400000"
    np.testing.assert_allclose(native, plain, rtol=1e-4)
