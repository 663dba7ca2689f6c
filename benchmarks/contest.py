"""A contest: gdjax and its peers do the same work by turns, each in a process of its own.

The turns (A B A B …) let all meet the same noise of the machine; the processes keep threads, flags and caches
of one library out of the other's way. Before the clock starts, all do the same short piece of work and must
come to the same figure.
"""

import contextlib
import dataclasses
import math
import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

MOST_SECONDS = 240
"""A side that answers no sooner is broken."""


class Proof(NamedTuple):
    """What a side shows for its work, to be compared with the other's."""

    steps: int
    """Steps made."""
    value: float
    """What they came to: a loss, a checksum."""


ANY = Proof(0, math.nan)
"""The proof of who need not prove anything: a limit."""


class Work(NamedTuple):
    """A side that is set up."""

    run: Callable[[int], Any]
    """Does so many units of work (epochs, updates), and returns when they are done."""
    steps: int
    """Steps in a unit; times are per step."""
    prove: Callable[[Any], Proof]
    """Takes what `run` returned."""
    note: str = ""
    """How the side is set up, where that was chosen by trial."""


Make = Callable[[], Work]
"""Sets a side up, in its own process; a function of a module, so that it can be sent there."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """Whom gdjax is measured against."""

    name: str
    make: Make | float
    """The side; or a limit in seconds, which then stands for its time."""
    goal: float | None = None
    """How many times faster than the peer gdjax shall be; below 1 it may be slower."""
    limit: str = ""
    """Where the goal is missed: what limits it, and what was tried."""


@dataclasses.dataclass(frozen=True)
class Contest:
    """gdjax and all its peers at one kind of work; a row of the table for each peer."""

    group: str
    work: str
    ours: Make
    peers: tuple[Peer, ...]
    units: int = 1
    """Units of work that all do to prove that they do the same."""
    tolerance: float = 1e-3
    """By how much a peer's proof may differ in value, as a share."""
    fresh: bool = False
    """Whether each turn is a new process, which pays for all that a first call costs."""
    long: bool = False
    """Whether it takes half a minute, or shows nothing in a quick run that another does not."""
    rounds: int = 5
    seconds: float = 0.3
    """How long a turn lasts at least."""


class Quartiles(NamedTuple):
    """Quartiles over the turns: of seconds per step of one side, or of ratios."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Quartiles":
        """The quartiles of these values."""
        quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(*quartiles)


class Outcome(NamedTuple):
    """What a contest came to."""

    ours: Quartiles
    theirs: Quartiles
    ratios: Quartiles
    """How many times faster gdjax is: the quartiles of the turns' own ratios, which the machine's slow minutes leave
    alone."""
    our_first: float
    """Seconds that the first call took beyond what its steps take: compilation, mostly."""
    their_first: float
    note: str


def hold(contest: Contest, *, quick: bool = False) -> list[Outcome | str]:
    """Hold the contest.

    Args:
      contest: what to measure.
      quick: only the first run of each side, compilation included, to see that everything runs.

    Returns:
      For each peer what came out; or, if a side fails or the two don't do the same work, why there is nothing.
    """
    if quick:
        ours, *theirs = _anew(dataclasses.replace(contest, fresh=True, rounds=1), skipped=0)
    else:
        ours, *theirs = _anew(contest, skipped=1) if contest.fresh else _in_turns(contest)
    return [_outcome(contest, peer, ours, answers) for peer, answers in zip(contest.peers, theirs, strict=True)]


def enough(run: Callable[[int], Any], seconds: float) -> int:
    """Units of work that last at least about so long."""
    units, lasted = 1, 0
    while True:
        started = time.perf_counter()
        run(units)
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            lasted += 1
            if lasted == 2 or elapsed >= 10 * seconds:  # one slow call may be the machine's
                return units
            continue
        lasted = 0
        units = math.ceil(units * min(1.1 * seconds / elapsed + 1, 50))


def repeated(step: Callable, moving: tuple, gradients: Any) -> Callable[[int], tuple[int, Any]]:
    """A run of so many jitted updates of (params, state), each from where the last one left.

    It returns their number and the parameters.
    """
    import jax

    def run(updates: int) -> tuple[int, Any]:
        nonlocal moving
        for _ in range(updates):
            moving = step(*moving, gradients)
        jax.block_until_ready(moving)
        return updates, moving[0]

    return run


class _First(NamedTuple):
    """A side's first run."""

    seconds: float
    proof: Proof
    steps: int
    note: str


class _Failure(NamedTuple):
    """A side's last words, and its answer ever after."""

    text: str


class _Answers(NamedTuple):
    """All that a side answers."""

    first: _First | _Failure
    times: list[float | _Failure]
    """Seconds per step, turn by turn."""


def _in_turns(contest: Contest) -> list[_Answers]:
    """The answers of gdjax and of each peer, each in a process that lives through the contest."""
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(_process(contest, make)) for make in _makes(contest)]
        for side in sides:  # they set up side by side …
            side()
        first = [side() for side in sides]  # … and run one after another
        turns = [[side() for side in sides] for _ in range(contest.rounds)]
    return [_Answers(*each) for each in zip(first, map(list, zip(*turns, strict=True)), strict=True)]


def _anew(contest: Contest, skipped: int) -> list[_Answers]:
    """Likewise, each turn the first run of a new process.

    The first turns are skipped: they read files that later ones find in memory, and fill what caches there are.
    """

    def run(make: Make | float) -> _First | _Failure:
        if isinstance(make, float):
            return _First(make, ANY, 1, "")
        with _process(contest, make) as side:
            side()
            return side()

    turns = [[run(make) for make in _makes(contest)] for _ in range(skipped + contest.rounds)][skipped:]
    return [
        _Answers(runs[0], [run if isinstance(run, _Failure) else run.seconds / run.steps for run in runs])
        for runs in zip(*turns, strict=True)
    ]


def _makes(contest: Contest) -> list[Make | float]:
    return [contest.ours, *(peer.make for peer in contest.peers)]


def _outcome(contest: Contest, peer: Peer, ours: _Answers, theirs: _Answers) -> Outcome | str:
    failures = [x.text for x in (ours.first, *ours.times, theirs.first, *theirs.times) if isinstance(x, _Failure)]
    if failures:
        return f"{contest.work}: {failures[0]}"
    a, b = ours.first.proof, theirs.first.proof
    same = a.steps == b.steps and math.isclose(a.value, b.value, rel_tol=contest.tolerance)
    if b is not ANY and not same:
        return f"{contest.work}: both sides must do the same, got {a} of gdjax and {b} of {peer.name}"
    our_times, their_times = Quartiles.of(ours.times), Quartiles.of(theirs.times)
    ratios = Quartiles.of([b / a for a, b in zip(ours.times, theirs.times, strict=True)])
    first = [
        max(0.0, side.first.seconds - side.first.steps * times.median)
        for side, times in ((ours, our_times), (theirs, their_times))
    ]
    return Outcome(our_times, their_times, ratios, *first, theirs.first.note)


@contextlib.contextmanager
def _process(contest: Contest, make: Make) -> Iterator[Callable[[], Any]]:
    """A side in a process of its own, which begins to set up.

    Calling what is given waits for the side's next answer: "ready", then a `_First`, then, turn by turn, seconds
    per step.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, contest), daemon=True)
    process.start()
    there.close()
    answer: Any = None

    def ask() -> Any:
        nonlocal answer
        if isinstance(answer, _Failure):
            return answer
        try:
            here.send("go")
            answer = here.recv() if here.poll(MOST_SECONDS) else _Failure(f"no answer within {MOST_SECONDS} s")
        except (EOFError, OSError):
            process.join(10)
            answer = _Failure(f"a side ended with exit status {process.exitcode}")
        return answer

    try:
        yield ask
    finally:
        here.close()  # a side that waits for its turn there ends
        process.join(10)
        process.kill()


def _serve(pipe: Any, make: Make, contest: Contest) -> None:
    """The process of a side."""
    try:
        work = make()
        pipe.recv()
        pipe.send("ready")
        pipe.recv()
        started = time.perf_counter()
        result = work.run(contest.units)
        seconds = time.perf_counter() - started
        proof = work.prove(result)
        units = 1 if contest.fresh else enough(work.run, contest.seconds)
        pipe.send(_First(seconds, proof, contest.units * work.steps, work.note))
        while pipe.recv():
            started = time.perf_counter()
            work.run(units)
            pipe.send((time.perf_counter() - started) / (units * work.steps))
    except EOFError:
        pass  # the contest is over
    except Exception:
        pipe.send(_Failure(traceback.format_exc()))
