"""What a compiled program does, read from its text: memory traffic, collectives, gathers, padding.

XLA's own totals (`cost_analysis`) take the body of a loop once, whatever its length, and know nothing of what stays in
the chip's fast memory. Here a loop's body is counted as often as it runs, an array in fast memory (`S(1)`) costs
nothing, and a slice of a large array costs the slice.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

SIZES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
    "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
FREE = {  # moves nothing: names for what is there already, and the second half of what was begun before
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id", "replica-id",
    "opt-barrier", "optimization-barrier", "add-dependency", "domain",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Array:
    """One array as the program stores it."""

    kind: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        """Without padding."""
        return self.elements * SIZES.get(self.kind, 0)

    @property
    def fast(self) -> bool:
        """Not in the large memory, but on the chip or the host."""
        return bool(re.search(r"S\([1-9]", self.layout))

    @property
    def stored(self) -> float:
        """Bytes with the padding of its tiles: `{1,0:T(8,128)(2,1)}` rounds the last two axes up to 8 and 128."""
        order, _, rest = self.layout.partition(":")
        tile = re.match(r"T\(([\d,]+)\)", rest)
        if not tile or not self.shape:
            return self.bytes
        minor = [int(i) for i in order.split(",") if i]
        physical = [self.shape[i] for i in reversed(minor)] or list(self.shape)
        sides = [int(n) for n in tile[1].split(",")]
        physical = [1] * (len(sides) - len(physical)) + physical
        for i, side in enumerate(reversed(sides), start=1):
            physical[-i] = -(-physical[-i] // side) * side
        return math.prod(physical) * SIZES.get(self.kind, 0)

    def __str__(self) -> str:
        return f"{self.kind}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    arrays: tuple[Array, ...]  # of its result, a tuple's in order
    op: str
    operands: tuple[str, ...]
    rest: str  # attributes and metadata
    root: bool

    def attribute(self, name: str) -> str | None:
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None

    @property
    def source(self) -> str:
        """Where in the traced function it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def cycles(self) -> int:
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective, as often as it runs in one call of the program.

    Attributes:
      kind: of COLLECTIVES.
      bytes, elements: of what one chip brings (all-gather: of what it gets), each time.
      times: how often.
      group: chips that take part together; 0 = all.
    """

    kind: str
    bytes: float
    elements: int
    times: int
    group: int
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Gather:
    """A gather or scatter with computed indices, which a TPU does row by row."""

    op: str
    elements: int
    times: int
    source: str
    cycles: int  # of the fused operation that it is in, all times together


@dataclasses.dataclass
class Work:
    """What one call of a program does on one chip."""

    bytes: float = 0.0  # to and from the large memory, padding included
    useful: float = 0.0  # the same without padding
    cycles: float = 0.0  # that the compiler estimates; 0 where it does not
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    gathers: list[Gather] = dataclasses.field(default_factory=list)
    wasteful: dict[str, float] = dataclasses.field(default_factory=dict)  # array -> bytes of padding moved
    channels: set[str] = dataclasses.field(default_factory=set)  # of the collectives

    def of(self, kind: str) -> float:
        """Bytes of all collectives of a kind."""
        return sum(c.bytes * c.times for c in self.collectives if c.kind == kind)


Program = dict[str, list[Instruction]]


def read(text: str) -> tuple[Program, str]:
    """(computation -> its instructions in order, name of the entry)."""
    program: Program = {}
    current, entry = "", ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) (?:\([^\n]*\) -> |\{)", line)
        if head and line.rstrip().endswith("{"):
            current = head[2]
            program[current] = []
            entry = current if head[1] else entry
        elif current and (found := _instruction(line)):
            program[current].append(found)
    return program, entry


def work(text: str) -> Work:
    """What the compiled program with this text does."""
    program, entry = read(text)
    total = Work()
    _add(total, program, entry, 1)
    return total


def arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a type, "(f32[2,3]{1,0}, s32[])" or one."""
    return tuple(
        Array(kind, tuple(int(n) for n in dims.split(",") if n), layout or "")
        for kind, dims, layout in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([^}]*)\})?", text)
    )


def trips(program: Program, loop: Instruction) -> int:
    """How often a loop's body runs: what XLA says, or the number its condition compares the counter with. 1 where it is
    not known."""
    said = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
    if said:
        return int(said[1])
    condition = program.get(loop.attribute("condition") or "", [])
    for instruction in _all(program, condition):
        if (
            instruction.op == "constant"
            and instruction.arrays[0].kind == "s32"
            and not instruction.arrays[0].shape
        ):
            number = re.match(r"(-?\d+)\)", instruction.rest)
            if number and int(number[1]) > 0:
                return int(number[1])
    return 1


def _instruction(line: str) -> Instruction | None:
    found = re.match(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$", line)
    if not found:
        return None
    shape, rest = _split(found[3])
    call = re.match(r"\s*([\w\-]+)\(", rest)
    if not call:
        return None
    inside, after = _split(rest[call.end() - 1 :])
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    if call[1] == "constant" or call[1] == "parameter":
        after = inside[1:] + after  # its value, or its number
    return Instruction(found[2], arrays(shape), call[1], operands, after, bool(found[1]))


def _split(text: str) -> tuple[str, str]:
    """(a bracketed group or one word, what follows)."""
    if not text.startswith("("):
        head, _, tail = text.partition(" ")
        return head, tail
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: i + 1], text[i + 1 :]
    return text, ""


def _all(program: Program, instructions: list[Instruction]) -> Iterator[Instruction]:
    """With what is fused into them."""
    for instruction in instructions:
        yield instruction
        if instruction.op == "fusion":
            yield from _all(program, program.get(instruction.attribute("calls") or "", []))


def _add(total: Work, program: Program, name: str, times: int) -> None:
    instructions = program.get(name, [])
    known = {i.name: i for i in instructions}
    for i in instructions:
        if i.op in FREE or i.op.endswith(("-done", "-update")):
            continue
        if i.op == "while":
            _add(total, program, i.attribute("body") or "", times * trips(program, i))
            continue
        if i.op in ("call", "async-start"):
            _add(total, program, i.attribute("to_apply") or i.attribute("calls") or "", times)
            continue
        if i.op == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", i.rest)
            names = re.findall(r"%([\w.\-]+)", branches[1] if branches else "")
            names += [n for key in ("true_computation", "false_computation") if (n := i.attribute(key))]
            _add(total, program, max(names, key=lambda n: len(program.get(n, [])), default=""), times)
            continue
        total.cycles += times * i.cycles
        for array, part in _moved(program, i, known):
            stored = array.stored * part
            total.bytes += times * stored
            total.useful += times * array.bytes * part
            if stored > 1.5 * array.bytes * part:
                key = f"{array}{{{array.layout}}}"
                waste = times * (stored - array.bytes * part)
                total.wasteful[key] = total.wasteful.get(key, 0.0) + waste
        for inner in _all(program, [i]):
            kind = inner.op.removesuffix("-start")
            if kind in COLLECTIVES:
                # A collective that runs beside other work is written into each part of it, under one channel.
                channel = re.search(r"\bchannel_id=(\d+)", inner.rest)
                if channel is None or channel[1] not in total.channels:
                    total.channels.add(channel[1] if channel else "")
                    total.collectives.append(_collective(inner, kind, times, program, known))
            elif inner.op in ("gather", "scatter"):
                found = Gather(inner.op, _largest(inner), times, inner.source, times * i.cycles)
                total.gathers.append(found)


def _collective(
    i: Instruction, kind: str, times: int, program: Program, known: dict[str, Instruction]
) -> Collective:
    brought = i.arrays
    if kind == "all-gather" and i.op.endswith("-start"):
        brought = i.arrays[len(i.arrays) // 2 :]
    elif kind == "all-gather":
        pass
    elif i.op.endswith("-start") or kind != "all-reduce":  # results of all-reduce are as its operands
        brought = tuple(a for name in i.operands if name in known for a in known[name].arrays) or i.arrays
    return Collective(
        kind,
        sum(a.bytes for a in brought),
        sum(a.elements for a in brought),
        times,
        _group(i.rest),
        i.source,
    )


def _group(text: str) -> int:
    """Chips in one of the groups that reduce among themselves."""
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", text):
        return int(found[2])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(sizes.get(axis, 1)) for axis in re.findall(r"'([^']+)'", found[2]))
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return len(found[1].split(",")) if found[1] else 0
    return 0


def _largest(i: Instruction) -> int:
    return max((a.elements for a in i.arrays), default=0)


def _moved(program: Program, i: Instruction, known: dict[str, Instruction]) -> Iterator[tuple[Array, float]]:
    """(array, share of it that is moved) for everything in the large memory that the instruction reads or writes."""

    def operand(number: int) -> tuple[Array, ...]:
        name = i.operands[number] if number < len(i.operands) else ""
        return known[name].arrays if name in known else ()

    if i.op == "custom-call" and "AllocateBuffer" in i.rest:
        return
    if i.op in ("copy-start", "slice-start"):  # (to, from, flag) or ((from), to, flag)
        to, source = (i.arrays[0], i.arrays[1]) if i.op == "copy-start" else (i.arrays[1], i.arrays[0])
        for array in (to, source):
            if not array.fast:
                yield array, min(to.elements, array.elements) / max(array.elements, 1)
        return
    if i.op == "fusion":
        inside = program.get(i.attribute("calls") or "", [])
        for number in range(len(i.operands)):
            for array in operand(number):
                if not array.fast and (part := _read(program, inside, number)):
                    yield array, part
        for array, part in zip(i.arrays, _written(program, inside, len(i.arrays)), strict=True):
            if not array.fast:
                yield array, part
        return
    if i.op in ("dynamic-update-slice", "scatter"):
        update = operand(1 if i.op == "dynamic-update-slice" else 2)
        yield from ((a, 2.0) for a in update if not i.arrays[0].fast)
        return
    if i.op in ("dynamic-slice", "slice", "gather"):
        yield from ((a, 1.0 if operand(0) and operand(0)[0].fast else 2.0) for a in i.arrays if not a.fast)
        return
    for number in range(len(i.operands)):
        yield from ((a, 1.0) for a in operand(number) if not a.fast)
    yield from ((a, 1.0) for a in i.arrays if not a.fast)


def _read(program: Program, inside: list[Instruction], number: int) -> float:
    """The share of its parameter `number` that a fused computation reads."""
    parameter = next((i for i in inside if i.op == "parameter" and i.rest.startswith(f"{number})")), None)
    if parameter is None or not parameter.arrays:
        return 1.0
    whole, share = max(parameter.arrays[0].elements, 1), 0.0
    names = {parameter.name}
    for i in inside:
        if not names & set(i.operands):
            continue
        if i.op == "bitcast":
            names.add(i.name)
        elif i.op in ("dynamic-slice", "slice", "gather") and i.operands[0] in names:
            share += _largest(i) / whole
        elif i.op == "dynamic-update-slice" and i.operands[0] in names:
            pass  # in place: what is not replaced is not touched
        elif i.op == "fusion":
            inner = program.get(i.attribute("calls") or "", [])
            share += max(_read(program, inner, n) for n, o in enumerate(i.operands) if o in names)
        else:
            return 1.0
    return min(share, 1.0)


def _written(program: Program, inside: list[Instruction], results: int) -> list[float]:
    """The share of each of its results that a fused computation writes."""
    known = {i.name: i for i in inside}
    root = next((i for i in inside if i.root), None)
    if root is None:
        return [1.0] * results
    roots = [known[name] for name in root.operands if name in known] if root.op == "tuple" else [root]
    if len(roots) != results:
        return [1.0] * results

    def share(i: Instruction) -> float:
        while i.op == "bitcast" and i.operands and i.operands[0] in known:
            i = known[i.operands[0]]
        if i.op == "dynamic-update-slice" and len(i.operands) > 1 and i.operands[1] in known:
            return _largest(known[i.operands[1]]) / max(_largest(i), 1)
        if i.op == "fusion" and len(i.arrays) == 1:
            return _written(program, program.get(i.attribute("calls") or "", []), 1)[0]
        return 1.0

    return [share(i) for i in roots]
