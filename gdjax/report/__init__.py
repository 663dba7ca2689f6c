"""Comparisons, and the pictures and files that show them."""

from gdjax.report.pictures.histories import plot_history as plot_history
from gdjax.report.pictures.schedules import plot_schedules as plot_schedules
from gdjax.report.pictures.sweeps import plot_sweep as plot_sweep
from gdjax.report.pictures.trajectories import plot_trajectories as plot_trajectories
from gdjax.report.pictures.trajectories import trajectory as trajectory
