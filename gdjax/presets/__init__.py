"""Other frameworks' optimizers, by their names, keywords and defaults, and with their numbers."""

from gdjax.presets import keras as keras
from gdjax.presets import torch as torch
