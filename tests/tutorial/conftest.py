"""The pages run as a reader runs them: JAX as it comes, one device, small loops compiled whole."""

import jax
import matplotlib

import gdjax

jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_numpy_rank_promotion", "allow")
jax.config.update("jax_numpy_dtype_promotion", "standard")
gdjax.compile_small_loops()
matplotlib.use("Agg")
