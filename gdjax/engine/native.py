"""Loops of small steps as one native function, where a CPU runs them.

XLA:CPU runs a compiled program kernel by kernel, and starting a kernel costs more than the whole arithmetic of a
small model's step. It can compile a loop as a single function instead, 5 to 20 times faster for such steps, and does
so where one turn touches less than 1 KB. `compile_small_loops` raises that limit for the process; `SmallJit` keeps
from small programs the libraries' kernels, which such a function cannot hold, and leaves them to large ones, which
gain by them.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks

FLAG = "xla_cpu_small_while_loop_byte_threshold"
EXTRA = "--xla_backend_extra_options="

MOST_WORK = 1_000_000
"""Floats computed in all loop bodies together, and products within dots: beyond it threads and libraries win."""

MATRIX_PRODUCT = 20
"""What a product within the product of two matrices counts: without a library it takes so much longer."""

FREE = {
    "broadcast_in_dim",
    "cond",
    "custom_jvp_call",
    "custom_vjp_call",
    "dynamic_update_slice",
    "jit",
    "pjit",
    "reshape",
    "scan",
    "scatter",
    "while",
}
"""Primitives that compute nothing themselves."""


def compile_small_loops(limit: int = 400_000) -> None:
    """Let XLA:CPU compile loops whose turns touch at most `limit` bytes as one native function.

    Training small models on a CPU, at small batch sizes above all, is then several times faster, `fit` as well as
    loops of your own; on other devices nothing changes. Call it before JAX's first operation: XLA reads the setting
    once, when it starts. It stands in the environment variable `XLA_FLAGS`, so child processes have it too, and is
    added to what stands there already.

    Args:
      limit: bytes that one turn of a loop may read and write, at least 0; XLA's own is 1024.

    Raises:
      RuntimeError: if JAX has started already, so that the call would have no effect.
      ValueError, TypeError: if `limit` is no whole number or negative.
    """
    limit = checks.integer("limit", limit, least=0)
    flags = os.environ.get("XLA_FLAGS", "").split()
    extra = [flag.removeprefix(EXTRA) for flag in flags if flag.startswith(EXTRA)]
    options = [option for given in extra for option in given.split(",") if option and option.split("=")[0] != FLAG]
    wanted = EXTRA + ",".join([*options, f"{FLAG}={limit}"])
    if extra and wanted.removeprefix(EXTRA) == ",".join(extra):
        return
    if _started():
        raise RuntimeError(
            "`compile_small_loops` must be called before JAX's first operation, since XLA reads its flags once, "
            "but JAX has started; call it right after the imports."
        )
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in flags if not flag.startswith(EXTRA)), wanted])


def _started() -> bool:
    """Whether JAX has made its devices: from then on it refuses to change their number."""
    name = "jax_num_cpu_devices"
    number = getattr(jax.config, name)
    try:
        jax.config.update(name, number + 1)
    except RuntimeError:
        return True
    jax.config.update(name, number)
    return False


class SmallJit:
    """Like `jax.jit`, with options that suit the size of what the program computes.

    Args:
      function: a function of positional arguments.
      static_argnums: as in `jax.jit`.
      donate_argnums: as in `jax.jit`.
    """

    def __init__(
        self, function: Callable, *, static_argnums: tuple[int, ...] = (), donate_argnums: tuple[int, ...] = ()
    ) -> None:
        self.traced = jax.jit(function, static_argnums=static_argnums)  # once, to look and to compile either way
        self.settings = {"static_argnums": static_argnums, "donate_argnums": donate_argnums}

    def __call__(self, *arguments: Any) -> Any:
        """The function's result."""
        return self.chosen(*arguments)(*arguments)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As `jax.jit(function).lower`."""
        return self.chosen(*arguments).lower(*arguments)

    def _cache_size(self) -> int:
        """How many programs were compiled, as `jax.jit`'s own of that name."""
        return self._large._cache_size() + self._small._cache_size()

    def chosen(self, *arguments: Any) -> Any:
        """The jitted function that suits arguments like these; to be kept where calls are many and alike."""
        on_cpu = jax.tree.all(jax.tree.map(_on_cpu, arguments))
        return self._small if on_cpu and is_small(self.traced.trace(*arguments).jaxpr.jaxpr) else self._large

    @functools.cached_property
    def _large(self) -> Any:
        return jax.jit(lambda *arguments: self.traced(*arguments), **self.settings)

    @functools.cached_property
    def _small(self) -> Any:
        return jax.jit(lambda *arguments: self.traced(*arguments), compiler_options=_options(), **self.settings)


def _on_cpu(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array):
        return all(device.platform == "cpu" for device in leaf.devices())
    return jax.default_backend() == "cpu"


@functools.cache
def _options() -> dict[str, Any]:
    """What XLA:CPU must not do in a small program, in the names that the installed version knows.

    Its libraries' matrix products are kernels of their own; its newer emitters leave scatters, the slopes of
    indexing, to a kernel as well.
    """
    wanted = {
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_experimental_xnn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
    }
    probe = jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), jnp.float32))
    options = {}
    for name, value in wanted.items():
        try:
            probe.compile(compiler_options={name: value})
        except jax.errors.JaxRuntimeError:  # the installed XLA has no such option, and so nothing to turn off
            continue
        options[name] = value
    return options


@functools.lru_cache(maxsize=256)
def is_small(jaxpr: Any) -> bool:
    """Whether a program computes so little that starting kernels would take most of its time."""
    return work(jaxpr) <= MOST_WORK


def work(jaxpr: Any) -> int:
    """Floats that one turn of each of a program's loops computes, all together."""
    return sum(_work(equation) for equation in _equations(jaxpr))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of nested programs included."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(equation.params):
            nested = getattr(parameter, "jaxpr", parameter)  # a closed one holds an open one
            if hasattr(nested, "eqns"):
                yield from _equations(nested)


def _work(equation: Any) -> int:
    """Floats that an equation computes; integers are the epoch's order, which is spread over many steps."""
    if equation.primitive.name in FREE:
        return 0
    work = sum(math.prod(v.aval.shape) for v in equation.outvars if jnp.issubdtype(v.aval.dtype, jnp.inexact))
    if equation.primitive.name == "dot_general":
        (contracted, _), (batch, _) = equation.params["dimension_numbers"]
        shapes = [v.aval.shape for v in equation.invars]
        inner = math.prod(shapes[0][axis] for axis in contracted)
        shared = inner * math.prod(shapes[0][axis] for axis in batch)
        work *= inner * (MATRIX_PRODUCT if all(math.prod(shape) > shared for shape in shapes) else 1)
    return work
