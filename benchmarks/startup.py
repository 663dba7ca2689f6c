"""Starting: what a fresh process waits for, against limits in seconds."""

import atexit
import functools
import os
import shutil
import tempfile

from benchmarks.contest import Contest, Peer, Proof, Work


def importing() -> Work:
    """`import gdjax` in a process that has its dependencies already."""
    import jax  # noqa: F401
    import optax  # noqa: F401

    def run(_: int) -> None:
        import gdjax  # noqa: F401

    return Work(run, 1, lambda _: Proof(1, 0.0))


def first_fit(cache: str | None) -> Work:
    """The first epoch of a small network on the digits, compilation included."""
    import jax

    import gdjax
    from gdjax.tasks import load

    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    task = load("digits")

    def run(epochs: int) -> gdjax.engine.fit.Result:
        rule, regime = gdjax.adam(1e-3), gdjax.mini_batch(64)
        result = gdjax.fit(task.loss, task.init, task.train, optimizer=rule, regime=regime, epochs=epochs)
        return jax.block_until_ready(result.params) and result

    return Work(run, 1, lambda result: Proof(len(result.history.step_loss), float(result.history.step_loss[-1])))


CACHE = f"{tempfile.gettempdir()}/gdjax-benchmarks-{os.getpid()}"
"""Made by the first process that fills it."""
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

contest = functools.partial(Contest, "startup", fresh=True, rounds=2)
CONTESTS = [
    contest("import gdjax, beyond jax and optax", importing, (Peer("limit: 0.2 s", 0.2, 1),)),
    contest(
        "first fit, one epoch of digits, cold",
        functools.partial(first_fit, None),
        (
            Peer(
                "limit: 2.5 s",
                2.5,
                1,
                "four fifths are XLA's compilation: about 2.3 s the run (0.5 s of it the remainder batch, 0.4 s the "
                "order, 0.6 s Adam against gd), 0.4 s the initialization. Tried: one draw for all layers (1.3 s "
                "gained), fewer small programs before the first step (0.4 s gained), one order for batches and "
                "remainder (nothing), less of LLVM's optimization (0.3 s, but slower steps), rounds of the order in a "
                "loop (nothing).",
            ),
        ),
        long=True,
    ),
    contest(
        "first fit, with a filled compilation cache",
        functools.partial(first_fit, CACHE),
        (
            Peer(
                "limit: 1 s",
                1.0,
                1,
                "what is left is Python's tracing (0.35 s) and lowering (0.4 s), and reading the cache (0.2 s).",
            ),
        ),
    ),
]
