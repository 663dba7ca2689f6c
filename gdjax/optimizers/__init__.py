"""The named optimizers, each one composition of `gdjax.transforms`."""

from gdjax.optimizers.adaptive import adadelta as adadelta
from gdjax.optimizers.adaptive import adagrad as adagrad
from gdjax.optimizers.adaptive import rmsprop as rmsprop
from gdjax.optimizers.descent import gd as gd
from gdjax.optimizers.descent import heavy_ball as heavy_ball
from gdjax.optimizers.descent import momentum as momentum
from gdjax.optimizers.moments import adabelief as adabelief
from gdjax.optimizers.moments import adam as adam
from gdjax.optimizers.moments import adamax as adamax
from gdjax.optimizers.moments import adamw as adamw
from gdjax.optimizers.moments import amsgrad as amsgrad
from gdjax.optimizers.moments import lamb as lamb
from gdjax.optimizers.moments import nadam as nadam
from gdjax.optimizers.moments import radam as radam
from gdjax.optimizers.moments import yogi as yogi
from gdjax.optimizers.signs import lion as lion
