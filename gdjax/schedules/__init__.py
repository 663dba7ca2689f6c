"""Schedules: pure functions `step -> value`, and pytrees of their numbers."""

from gdjax.schedules.base import Position as Position
from gdjax.schedules.base import Schedule as Schedule
from gdjax.schedules.base import as_schedule as as_schedule
from gdjax.schedules.base import complement as complement
from gdjax.schedules.base import non_negative as non_negative
from gdjax.schedules.base import scheduled as scheduled
from gdjax.schedules.combinators import ahead as ahead
from gdjax.schedules.combinators import join as join
from gdjax.schedules.combinators import product as product
from gdjax.schedules.combinators import restarts as restarts
from gdjax.schedules.constants import constant as constant
from gdjax.schedules.constants import piecewise_constant as piecewise_constant
from gdjax.schedules.cycles import cyclic as cyclic
from gdjax.schedules.cycles import one_cycle as one_cycle
from gdjax.schedules.decays import exponential_decay as exponential_decay
from gdjax.schedules.decays import inverse_square_root as inverse_square_root
from gdjax.schedules.decays import inverse_time_decay as inverse_time_decay
from gdjax.schedules.decays import step_decay as step_decay
from gdjax.schedules.momentum import nadam_momentum as nadam_momentum
from gdjax.schedules.transitions import cosine_decay as cosine_decay
from gdjax.schedules.transitions import linear as linear
from gdjax.schedules.transitions import polynomial as polynomial
from gdjax.schedules.units import per_epoch as per_epoch
from gdjax.schedules.units import per_run as per_run
from gdjax.schedules.warmups import warmup as warmup
from gdjax.schedules.warmups import warmup_stable_decay as warmup_stable_decay
