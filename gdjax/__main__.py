"""`python -m gdjax`, and the script `gdjax`: the command line, where all that it needs is installed."""

import sys

import gdjax


def main() -> int:
    """Run the command line; returns the exit code, 2 where a package is missing."""
    if sys.argv[1:] == ["--version"]:
        print(f"gdjax {gdjax.__version__}")
        return 0
    try:
        from gdjax.cli import command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "gdjax":
            raise
        print(f"gdjax: the command line needs {error.name}, got none: pip install 'gdjax[demo]'.", file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
