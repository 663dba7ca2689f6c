"""Training runs: the pure functions, and the loop on the host around them."""

from gdjax.engine.fit import Result as Result
from gdjax.engine.fit import fit as fit
from gdjax.engine.history import History as History
from gdjax.engine.training import Record as Record
from gdjax.engine.training import Training as Training
from gdjax.engine.training import TrainingState as TrainingState
from gdjax.engine.training import training as training
