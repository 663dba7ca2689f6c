"""Datasets and how an epoch slices them."""

from gdjax.data.regimes import Regime as Regime
from gdjax.data.regimes import full_batch as full_batch
from gdjax.data.regimes import mini_batch as mini_batch
from gdjax.data.regimes import stochastic as stochastic
