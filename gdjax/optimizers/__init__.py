"""The named optimizers, each one composition of `gdjax.transforms`."""

from gdjax.optimizers.adaptive import adagrad as adagrad
from gdjax.optimizers.adaptive import adam as adam
from gdjax.optimizers.adaptive import rmsprop as rmsprop
from gdjax.optimizers.descent import gd as gd
from gdjax.optimizers.descent import heavy_ball as heavy_ball
from gdjax.optimizers.descent import momentum as momentum
