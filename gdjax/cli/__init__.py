"""The command line: `gdjax compare`, `gdjax sweep` and `gdjax plan`."""

import contextlib
import sys

import tyro

import gdjax
from gdjax.cli.compare import Compare
from gdjax.cli.plan import Plan
from gdjax.cli.sweep import Sweep
from gdjax.engine.native import compile_small_loops


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 2 for bad input."""
    app = tyro.extras.SubcommandApp()
    app.command(Compare, name="compare")  # pyrefly: ignore[no-matching-overload]: a dataclass is called like a function
    app.command(Sweep, name="sweep")  # pyrefly: ignore[no-matching-overload]
    app.command(Plan, name="plan")  # pyrefly: ignore[no-matching-overload]
    config = app.cli(args=arguments, prog="gdjax", description=f"{gdjax.__doc__}\n`gdjax --version` tells the version.")
    try:
        config.run()
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"gdjax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        kept = "the same command goes on" if interrupt.args else "nothing was written"
        with contextlib.suppress(BrokenPipeError):
            print(f"gdjax: interrupted, {kept}.", file=sys.stderr)
        return 130
    return 0


def command() -> int:
    """The console script: `main` in a process of its own, so that XLA can still be told about small loops."""
    compile_small_loops()
    return main()
