"""JAX made strict, with eight CPU devices; a test that wants float64 asks for the fixture `x64`."""

import itertools
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 20_000
"""Of a process's memory: Linux allows 65,530, a compiled run takes some 200, and where none is left XLA crashes."""

ended = itertools.count(1)


def pytest_runtest_logfinish(nodeid, location):
    """Programs of tests that are over are forgotten before there are too many."""
    if next(ended) % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
