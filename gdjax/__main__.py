"""`python -m gdjax` is the command line."""

import sys

from gdjax.cli import main

sys.exit(main())
