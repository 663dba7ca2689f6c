"""The outcome of all contests: as lines, as JSON, as a page."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
from typing import Any, NamedTuple

from benchmarks.contest import Contest, Outcome, Peer, Quartiles

PEERS = ("gdjax", "jax", "jaxlib", "optax", "numpy", "numba", "scikit-learn", "torch", "keras")


class Row(NamedTuple):
    """A contest, one of its peers, and what it came to; where it failed, why."""

    contest: Contest
    peer: Peer
    outcome: Outcome | str

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if isinstance(self.outcome, str):
            return False
        return None if self.peer.goal is None else self.outcome.ratios.median >= self.peer.goal

    @property
    def verdict(self) -> str:
        """The same in a word."""
        return "failed" if isinstance(self.outcome, str) else {True: "met", False: "missed", None: "–"}[self.met]

    def cells(self) -> tuple[str, ...]:
        """What the table says."""
        outcome, names = self.outcome, (self.contest.work, self.peer.name)
        goal = "–" if self.peer.goal is None else f"≥ {_number(self.peer.goal)}x"
        if isinstance(outcome, str):
            return *names, "–", "–", "–", goal, self.verdict
        low, median, high = map(_number, outcome.ratios)
        ratio = f"{median}x" if low == high else f"{median}x ({low}–{high})"
        return *names, _time(outcome.ours), _time(outcome.theirs), ratio, goal, self.verdict


HEADER = ("work", "peer", "gdjax", "peer's time", "ratio", "goal", "")


def line(cells: tuple[str, ...]) -> str:
    """A line of the table as it is printed."""
    widths = (54, 39, 24, 24, 24, 8, 6)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    if versions["gdjax"] is None:
        import gdjax

        versions["gdjax"] = gdjax.__version__
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **versions},
    }


def machine_line() -> str:
    """The same as a sentence."""
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    return f"{about['date']}, {about['machine']['processor']}, {about['machine']['cores']} cores; {versions}."


def as_json(rows: list[Row]) -> dict[str, Any]:
    """Everything, times in µs."""

    def row(row: Row) -> dict[str, Any]:
        about = {"group": row.contest.group, "work": row.contest.work, "peer": row.peer.name, "goal": row.peer.goal}
        if isinstance(row.outcome, str):
            return about | {"verdict": row.verdict, "error": row.outcome}
        times = {
            side: {quartile: 1e6 * seconds for quartile, seconds in getattr(row.outcome, side)._asdict().items()}
            for side in ("ours", "theirs")
        }
        ratios = {"ratios": row.outcome.ratios._asdict()}
        return about | {"verdict": row.verdict} | row.outcome._asdict() | times | ratios

    return {**machine(), "rows": [row(each) for each in rows]}


def page(rows: list[Row]) -> str:
    """A Markdown page; the goals that are missed come first."""
    behind = [row for row in rows if row.met is False]
    rest = [row for row in rows if row.met is not False]
    notes = {
        f"{row.contest.work}: {row.outcome.note}."
        for row in rows
        if isinstance(row.outcome, Outcome) and row.outcome.note
    }
    return "\n".join(
        [
            "# gdjax beside its peers",
            "",
            machine_line(),
            "",
            "Made by `python -m benchmarks --page docs/benchmarks.md`. Each side has a process of its own, and the two "
            "take turns; both first prove, by the same number of steps and a like loss, that they do the same work. "
            "Quartiles are per step, compilation apart: the median, and in parentheses the quartiles over the turns. "
            "The ratio is the peer's time over gdjax's, turn by turn: above 1, gdjax is faster. gdjax's side is the "
            "public `gdjax.fit` or `gdjax.sweep`, shuffled, or the update under `jax.jit`.",
            "",
            f"{len(behind)} of {len(rows)} rows miss their goal." if behind else "Every row meets its goal.",
            "",
            *(_table("Missed", behind) if behind else []),
            *(f"- {row.contest.work}, {row.peer.name}: {row.peer.limit}" for row in behind if row.peer.limit),
            *([""] if behind else []),
            *_table("Met", rest),
            *(f"- {note}" for note in sorted(notes)),
            *([""] if notes else []),
            "On a GPU `python -m benchmarks.gpu` gives each optimizer's update as a share of the device's copy "
            "bandwidth, and the compiled run beside a loop: not measured here. What updates compile to for a TPU: "
            "[tpu.md](tpu.md).",
            "",
        ]
    )


def _table(title: str, rows: list[Row]) -> list[str]:
    lines = [" | ".join(cells) for cells in ((*HEADER[:-1], "goal met"), 7 * ("---",), *(row.cells() for row in rows))]
    return [f"## {title}", "", *(f"| {cells} |" for cells in lines), ""]


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _time(times: Quartiles) -> str:
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns")) if times.median * s >= 1)
    low, median, high = (_number(scale * seconds) for seconds in times)
    return f"{median} {unit}" if low == high else f"{median} {unit} ({low}–{high})"


def _processor() -> str:
    cpus = pathlib.Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
