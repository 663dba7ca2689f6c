"""Sweeps: many settings trained side by side, and what they tell."""

from gdjax.sweeps.batch_sizes import BatchSizes as BatchSizes
from gdjax.sweeps.batch_sizes import suggest_batch_size as suggest_batch_size
from gdjax.sweeps.halving import Halving as Halving
from gdjax.sweeps.halving import Rung as Rung
from gdjax.sweeps.halving import successive_halving as successive_halving
from gdjax.sweeps.learning_rates import RateTest as RateTest
from gdjax.sweeps.learning_rates import find_learning_rate as find_learning_rate
from gdjax.sweeps.noise_scale import NoiseScale as NoiseScale
from gdjax.sweeps.noise_scale import gradient_noise_scale as gradient_noise_scale
from gdjax.sweeps.results import Best as Best
from gdjax.sweeps.results import Sweep as Sweep
from gdjax.sweeps.settings import log_uniform as log_uniform
from gdjax.sweeps.settings import random_points as random_points
from gdjax.sweeps.settings import uniform as uniform
from gdjax.sweeps.sweep import sweep as sweep
