"""Tables made into tasks to fit: the data side of the command line. Needs the extra `demo`."""

from gdjax.tasks.task import Task as Task
from gdjax.tasks.task import load as load
