"""Comparisons, and the pictures and files that show them."""

from gdjax.report.pictures import plot_history as plot_history
from gdjax.report.pictures import plot_schedules as plot_schedules
from gdjax.report.pictures import plot_sweep as plot_sweep
from gdjax.report.trajectories import plot_trajectories as plot_trajectories
from gdjax.report.trajectories import trajectory as trajectory
