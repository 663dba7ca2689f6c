"""Write the explorer's page: `python -m gdjax.report.explorer --out explorer.html --language en`."""

import argparse
import pathlib

from gdjax.report.explorer import page

parser = argparse.ArgumentParser(prog="python -m gdjax.report.explorer", description=__doc__)
parser.add_argument("--out", type=pathlib.Path, required=True, help="the HTML file to write")
parser.add_argument("--language", choices=("en", "ko"), default="en")
arguments = parser.parse_args()
arguments.out.write_text(page(arguments.language), encoding="utf-8")
