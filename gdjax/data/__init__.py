"""Datasets, how an epoch slices them, and where their rows lie."""

from gdjax.data.placement import placed as placed
from gdjax.data.regimes import Regime as Regime
from gdjax.data.regimes import full_batch as full_batch
from gdjax.data.regimes import mini_batch as mini_batch
from gdjax.data.regimes import stochastic as stochastic
from gdjax.data.rows import ShardedRows as ShardedRows
from gdjax.data.streams import Stream as Stream
from gdjax.data.streams import stream as stream
