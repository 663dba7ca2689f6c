"""gdjax beside its peers, contest by contest.

    python -m benchmarks                             # all groups
    python -m benchmarks loops updates --json FILE   # some, also as JSON
    python -m benchmarks --page docs/benchmarks.md   # also as a page
    python -m benchmarks --quick                     # does it run? Only first runs, and no long ones

Needs the extra `peers` and numba. Ends with status 1 if a contest fails: not if gdjax loses one.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import sys

from benchmarks import loops, order, startup, sweeps, updates
from benchmarks.contest import hold
from benchmarks.report import HEADER, Row, as_json, line, page

GROUPS = {
    "loops": loops.CONTESTS,
    "updates": updates.CONTESTS,
    "sweeps": sweeps.CONTESTS,
    "order": order.CONTESTS,
    "startup": startup.CONTESTS,
}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="only first runs, and none of the long contests: a test, no measurement"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE", help="write a Markdown page")
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - GROUPS.keys()
    if unknown:
        parser.error(f"groups are {', '.join(GROUPS)}, got {', '.join(sorted(unknown))}")

    contests = [contest for name in arguments.groups or GROUPS for contest in GROUPS[name]]
    if arguments.quick:
        contests = [contest for contest in contests if not contest.long]
    rows = []
    print(line(HEADER))
    # Side by side only where nothing is measured.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() if arguments.quick else 1) as pool:
        outcomes = pool.map(functools.partial(hold, quick=arguments.quick), contests)
        for contest, outcomes_of_peers in zip(contests, outcomes, strict=True):
            for peer, outcome in zip(contest.peers, outcomes_of_peers, strict=True):
                peer = dataclasses.replace(peer, goal=None) if arguments.quick else peer  # too short to judge
                rows.append(Row(contest, peer, outcome))
                if isinstance(outcome, str):
                    print(outcome, file=sys.stderr)
                print(line(rows[-1].cells()), flush=True)
    print(f"{sum(row.met is True for row in rows)} goals met, {sum(row.met is False for row in rows)} not")
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(rows), indent=1, ensure_ascii=False) + "\n")
    if arguments.page:
        arguments.page.write_text(page(rows))
    return int(any(isinstance(row.outcome, str) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
