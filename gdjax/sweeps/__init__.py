"""Sweeps: many settings trained side by side, and what they tell."""

from gdjax.sweeps.halving import Halving as Halving
from gdjax.sweeps.halving import Rung as Rung
from gdjax.sweeps.halving import successive_halving as successive_halving
from gdjax.sweeps.results import Best as Best
from gdjax.sweeps.results import Sweep as Sweep
from gdjax.sweeps.settings import log_uniform as log_uniform
from gdjax.sweeps.settings import random_points as random_points
from gdjax.sweeps.settings import uniform as uniform
from gdjax.sweeps.sweep import sweep as sweep
