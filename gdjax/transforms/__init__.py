"""The algebra: transforms that compose into every optimizer."""

from gdjax.transforms.adaptive_methods import adaptive as adaptive
from gdjax.transforms.base import GradientTransformation as GradientTransformation
from gdjax.transforms.base import chain as chain
from gdjax.transforms.bias_correction import bias_corrected as bias_corrected
from gdjax.transforms.clock import clocked as clocked
from gdjax.transforms.clock import hyperparameters as hyperparameters
from gdjax.transforms.clock import learning_rate as learning_rate
from gdjax.transforms.filters import accumulate as accumulate
from gdjax.transforms.filters import ema as ema
from gdjax.transforms.filters import ema_of_squares as ema_of_squares
from gdjax.transforms.filters import nesterov as nesterov
from gdjax.transforms.filters import sum_of_squares as sum_of_squares
from gdjax.transforms.plateau import reduce_on_plateau as reduce_on_plateau
from gdjax.transforms.scaling import scale_by_learning_rate as scale_by_learning_rate
