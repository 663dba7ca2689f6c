"""Gradient descent in JAX as pure functions.

Optimizers are (init, update) pairs and pytrees of their hyperparameters; batch, stochastic and mini-batch
descent are slicings of one dataset; a training run is one compiled program.
"""

import importlib
from typing import TYPE_CHECKING

from gdjax import schedules as schedules
from gdjax import transforms as transforms
from gdjax.data import full_batch as full_batch
from gdjax.data import mini_batch as mini_batch
from gdjax.data import stochastic as stochastic
from gdjax.data import stream as stream
from gdjax.engine.checkpoint import checkpoint as checkpoint
from gdjax.engine.fit import CheckpointError as CheckpointError
from gdjax.engine.fit import NonFiniteError as NonFiniteError
from gdjax.engine.fit import StreamError as StreamError
from gdjax.engine.fit import fit as fit
from gdjax.engine.native import compile_small_loops as compile_small_loops
from gdjax.engine.packing import pack as pack
from gdjax.engine.stopping import early_stopping as early_stopping
from gdjax.engine.training import training as training
from gdjax.optimizers import adabelief as adabelief
from gdjax.optimizers import adadelta as adadelta
from gdjax.optimizers import adagrad as adagrad
from gdjax.optimizers import adam as adam
from gdjax.optimizers import adamax as adamax
from gdjax.optimizers import adamw as adamw
from gdjax.optimizers import amsgrad as amsgrad
from gdjax.optimizers import gd as gd
from gdjax.optimizers import heavy_ball as heavy_ball
from gdjax.optimizers import lamb as lamb
from gdjax.optimizers import lion as lion
from gdjax.optimizers import momentum as momentum
from gdjax.optimizers import nadam as nadam
from gdjax.optimizers import radam as radam
from gdjax.optimizers import rmsprop as rmsprop
from gdjax.optimizers import yogi as yogi
from gdjax.transforms import chain as chain

if TYPE_CHECKING:
    from gdjax import presets as presets
    from gdjax import report as report
    from gdjax import sweeps as sweeps
    from gdjax.engine.plan import plan as plan
    from gdjax.report.compare import compare as compare
    from gdjax.report.rows import Budget as Budget
    from gdjax.sweeps import find_learning_rate as find_learning_rate
    from gdjax.sweeps import gradient_noise_scale as gradient_noise_scale
    from gdjax.sweeps import log_uniform as log_uniform
    from gdjax.sweeps import random_points as random_points
    from gdjax.sweeps import successive_halving as successive_halving
    from gdjax.sweeps import suggest_batch_size as suggest_batch_size
    from gdjax.sweeps import sweep as sweep
    from gdjax.sweeps import uniform as uniform

__version__ = "0.1.0"

_LATER = {
    "presets": "gdjax.presets",
    "report": "gdjax.report",
    "compare": "gdjax.report.compare",
    "Budget": "gdjax.report.rows",
    "sweeps": "gdjax.sweeps",
    "plan": "gdjax.engine.plan",
    "sweep": "gdjax.sweeps.sweep",
    "find_learning_rate": "gdjax.sweeps.learning_rates",
    "gradient_noise_scale": "gdjax.sweeps.noise_scale",
    "suggest_batch_size": "gdjax.sweeps.batch_sizes",
    "successive_halving": "gdjax.sweeps.halving",
    "random_points": "gdjax.sweeps.settings",
    "uniform": "gdjax.sweeps.settings",
    "log_uniform": "gdjax.sweeps.settings",
}
"""What is imported when it is first asked for: a third of the modules, of no use to a training run."""


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER} - {"importlib", "TYPE_CHECKING"})


def __getattr__(name: str) -> object:
    if name in _LATER:
        module = importlib.import_module(_LATER[name])
        return getattr(module, name, module)
    if name == "sgd":
        raise AttributeError(
            "`gdjax.sgd` does not exist: the update is `gd`, and stochastic is the regime, "
            "`stochastic()` or `mini_batch(batch_size)`."
        )
    raise AttributeError(f"module 'gdjax' has no attribute {name!r}")
