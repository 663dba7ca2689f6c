"""What a compiled program takes and does, read off what XLA tells of it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast|ragged-all-to-all"
_COLLECTIVE = re.compile(rf" = (.*?) ({KINDS})(-start)?\(")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_CALLED = re.compile(r"(\w+)=\{?((?:%[\w.\-]+(?:, )?)+)")
_HEAD = re.compile(r"^(ENTRY )?(%[\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\b([a-z]+)(\d+)?(?:e\d+m\d+\w*)?\[([\d,]*)\]")
_FUSED = "%all-reduce-scatter"
"""How a TPU's compiler calls a reduce-scatter, which it makes of an all-reduce."""


class Collective(NamedTuple):
    """An exchange of data among devices."""

    kind: str
    """all-reduce, all-gather, reduce-scatter, …"""
    bytes: int
    """What it makes or, of a reduce-scatter, what it takes, on one device."""
    loops: int
    """How many loops it stands in; it is counted once, however often they turn."""


def collectives(text: str) -> list[Collective]:
    """The exchanges of a compiled program, each once, from its text."""
    computations, entry = _computations(text)
    found: dict[Any, Collective] = {}
    for name, (loops, fused) in _reached(computations, entry).items():
        for line in computations[name]:
            match = _COLLECTIVE.search(line)
            if match is None:
                continue
            shape, kind, start = match.groups()
            sizes = [_bytes(*each) for each in _SHAPE.findall(shape.replace("u32[]", ""))]  # which are the compiler's
            if start and kind != "all-reduce":
                sizes = sizes[len(sizes) // 2 :]  # what goes in stands before what comes out
            total = sum(sizes) * (_group(line) if kind == "reduce-scatter" else 1)
            kind = "reduce-scatter" if name.startswith(_FUSED) else kind
            channel = _CHANNEL.search(line)  # one exchange may be written several times, as parts of fused loops
            found.setdefault(
                (kind, total, channel.group()) if channel and fused else line, Collective(kind, total, loops)
            )
    return list(found.values())


def program_bytes(compiled: jax.stages.Compiled) -> int | None:
    """What a compiled program takes on one device, as the backend plans it; None where it does not tell."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    return plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes + plan.temp_size_in_bytes


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """({name: lines}, the name of the one that is run)."""
    computations: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head is not None:
            name = head.group(2)
            computations[name] = []
            entry = name if head.group(1) else entry
        elif name:
            computations[name].append(line)
    return computations, entry


def _reached(computations: dict[str, list[str]], entry: str) -> dict[str, tuple[int, bool]]:
    """{computation: (the loops that it stands in, whether it is a part of a fusion)}."""
    reached, waiting = {entry: (0, False)}, [entry]
    while waiting:
        name = waiting.pop()
        for word, called in _calls(computations[name]):
            depth = reached[name][0] + (word == "body")
            if called in computations and reached.get(called, (-1,))[0] < depth:
                reached[called] = depth, word == "calls"
                waiting.append(called)
    return reached


def _group(line: str) -> int:
    """How many devices an exchange is among."""
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    counted = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return len(listed.group(1).split(",")) if listed else int(counted.group(1)) if counted else 1


def _calls(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        for word, names in _CALLED.findall(line):
            for name in names.split(", "):
                yield word, name


def _bytes(letters: str, bits: str, shape: str) -> int:
    count = 1
    for size in filter(None, shape.split(",")):
        count *= int(size)
    return count * (int(bits) if bits else 8) // 8
