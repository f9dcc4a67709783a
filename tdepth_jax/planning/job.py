"""A plan: a config's train step on a slice, from its program to what a user wants to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.planning import chips, program, roofline
from tdepth_jax.planning.chips import Slice
from tdepth_jax.planning.program import Step, TooLarge
from tdepth_jax.planning.roofline import Times

MOST_PER_CHIP = 4096  # where the search for the largest batch ends


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to plan.

    Attributes:
      config: a file, or "file.py:argument".
      topology: "v5e:16x16".
      per_chip: examples of the batch on each chip; None: the config's batch size, where it divides.
      wanted: keys that the method reads where the data set has them, and this one has.
      search: whether to look for the largest batch that fits.
      overrides: "train.steps" -> "60".
    """

    config: str
    topology: str
    per_chip: int | None = None
    wanted: frozenset[str] = frozenset()
    search: bool = True
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.per_chip is not None and self.per_chip < 1:
            raise UserError(f"--per_chip={self.per_chip} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One config on one slice.

    Attributes:
      step: None where it does not fit; then `refused` says by how much.
      largest: (examples on each chip, GiB of HBM they take) of the largest batch that fits, where searched.
      notes: what was settled for the user, and what should worry them.
    """

    request: Request
    config: ConfigDict
    topology: Slice
    per_chip: int
    step: Step | None
    refused: str
    largest: tuple[int, float] | None
    notes: tuple[str, ...]

    @property
    def times(self) -> Times:
        return self.times_on(self.topology)

    def times_on(self, on: Slice) -> Times:
        """The same program on a slice of another size, with the same batch on every chip."""
        assert self.step is not None
        work = self.step.work
        return roofline.times(flops=self.step.flops, bytes=work.bytes, collectives=work.collectives, on=on)

    @property
    def hours(self) -> float:
        """Of the config's schedule: as many images as it has, at the planned batch."""
        images = self.config.train.steps * self.config.train.batch_size
        return images / (self.per_chip * self.topology.chips) * self.times.apart / 3600


def make(request: Request, *, say: Callable[[str], None] = lambda line: None) -> Plan:
    """Compiles, searches and works out.

    Args:
      say: told what is being compiled, for it takes minutes.

    Raises:
      UserError: no TPU compiler, no such slice or config, a mesh or batch that does not fit.
    """
    topology = chips.parse(request.topology)
    config = program.settled(configs.load(request.config, dict(request.overrides), systems.schema))
    mesh = program.mesh_of(config, program.devices(topology))
    per_chip, notes = _per_chip(request, config, topology)

    def compiled(batch: int) -> Step:
        say(f"compiling for {topology.name} with {batch} on each chip …")
        found = program.compile_step(config, mesh, batch_size=batch * topology.chips, wanted=request.wanted)
        say(f"compiled in {found.seconds:.0f} s: {found.memory.total / 2**30:.2f} GiB of HBM a chip")
        return found

    step, refused = None, ""
    try:
        step = compiled(per_chip)
    except TooLarge as error:
        refused = str(error)
        say(f"too large: {refused}")
    largest = None
    if request.search:
        needs = {per_chip: step.memory.total} if step else {}
        largest = largest_batch(
            lambda batch: compiled(batch).memory.total,
            capacity=topology.chip.hbm,
            granularity=config.train.accumulate,
            known=needs,
            refused=None if step else per_chip,
        )
    if step:
        notes += warnings(step, topology, config)
    return Plan(request, config, topology, per_chip, step, refused, largest, tuple(notes))


def _per_chip(request: Request, config: ConfigDict, topology: Slice) -> tuple[int, list[str]]:
    pieces, batch = config.train.accumulate, config.train.batch_size
    if request.per_chip:
        if request.per_chip % pieces:
            raise UserError(f"--per_chip={request.per_chip} must be a multiple of train.accumulate={pieces}")
        return request.per_chip, []
    if batch % (topology.chips * pieces) == 0:
        return batch // topology.chips, []
    return pieces, [
        f"train.batch_size={batch} does not divide among {topology.chips} chips; planned with {pieces} on each, "
        f"train.batch_size={pieces * topology.chips}: the learning rate and the number of steps belong to the other"
    ]


def largest_batch(
    needed: Callable[[int], float],
    *,
    capacity: float,
    granularity: int = 1,
    known: Mapping[int, float] = {},
    refused: int | None = None,
) -> tuple[int, float] | None:
    """(examples on a chip, GiB) of the largest batch whose program fits.

    The memory of a step grows with its batch by nearly a line, which two programs fix; it says where to look, and only
    what was compiled counts. Ends when the next larger one was refused, or is more than an eighth away.

    Args:
      needed: batch -> bytes; raises TooLarge.
      capacity: of the chip, to aim by.
      known: what was compiled already.
      refused: a batch that was too large already.
    """
    fits = dict(known)
    low = max(fits, default=0)
    high = refused // granularity * granularity if refused else MOST_PER_CHIP + granularity

    def attempt(batch: int) -> bool:
        nonlocal low, high
        try:
            fits[batch] = needed(batch)
            low = max(low, batch)
            return True
        except TooLarge:
            high = min(high, batch)
            return False

    if not low and not attempt(granularity):
        return None
    while high - low > granularity and (high > MOST_PER_CHIP or high - low > max(granularity, low // 8)):
        guess = _aim(fits, capacity * 0.97) if len(fits) > 1 else 4 * low
        middle = min(max(guess, low + max(granularity, low // 8)), high - granularity)
        attempt(max(middle // granularity * granularity, low + granularity))
        if low >= MOST_PER_CHIP:
            break
    return low, fits[low] / 2**30


def _aim(fits: Mapping[int, float], capacity: float) -> int:
    """Where the line through the two largest programs meets the capacity."""
    a, b = sorted(fits)[-2:]
    slope = max((fits[b] - fits[a]) / (b - a), 1.0)
    return int(b + (capacity - fits[b]) / slope)


def warnings(step: Step, topology: Slice, config: ConfigDict) -> list[str]:
    """What costs more than it should, with what to do about it."""
    found = []
    name, size = step.largest_replicated
    if size > 0.02 * topology.chip.hbm and topology.chips > 1:
        found.append(
            f"every chip holds all {size / 2**20:.0f} MiB of {name}; --config.mesh.fsdp=N splits it over N chips"
        )
    work = step.work
    if work.bytes > 1.2 * work.useful:
        worst = max(work.wasteful, key=lambda key: work.wasteful[key])
        found.append(
            f"{1 - work.useful / work.bytes:.0%} of the memory traffic is padding, most of it of {worst} "
            f"({work.wasteful[worst] / 2**20:.0f} MiB a step): axes that are no multiple of the tile"
        )
    rows = sum(g.times for g in work.gathers)
    cycles = sum(g.cycles for g in work.gathers)
    if rows and cycles > 0.05 * work.cycles:
        most = max(work.gathers, key=lambda g: g.cycles)
        found.append(
            f"{rows} gathers and scatters are {cycles / work.cycles:.0%} of the compiler's estimate of a step, most of "
            f"it the {most.op} of {most.elements:,} elements in {_place(most.source)}"
        )
    gathered = work.of("all-gather") + work.of("all-to-all")
    if gathered > max(work.of("all-reduce"), 1e6) and config.mesh.fsdp in (0, 1):
        most_of = max(
            (c for c in work.collectives if c.kind in ("all-gather", "all-to-all")),
            key=lambda c: c.bytes * c.times,
        )
        found.append(
            f"{gathered / 2**20:.0f} MiB of the batch cross the network in {most_of.kind}s, the most in "
            f"{_place(most_of.source)}: something there mixes examples"
        )
    return found


def _place(source: str) -> str:
    """The last words of an operation's path in the trace."""
    return "/".join(source.split("/")[-3:]) or "an unnamed place"


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything that the text says, for tables of many plans."""
    topology, step = plan.topology, plan.step
    found: dict[str, Any] = {
        "config": plan.request.config,
        "overrides": dict(plan.request.overrides),
        "topology": topology.name,
        "chips": topology.chips,
        "per_chip": plan.per_chip,
        "steps": plan.config.train.steps,
        "batch_size": plan.config.train.batch_size,
        "fsdp": plan.config.mesh.fsdp,
        "notes": list(plan.notes),
        "refused": plan.refused,
        "largest": plan.largest,
        "hbm": topology.chip.hbm,
    }
    if step is None:
        return found
    times = plan.times
    return found | {
        "trained": step.trained,
        "memory": dataclasses.asdict(step.memory) | {"total": step.memory.total},
        "flops": step.flops,
        "teacher_flops": step.teacher_flops,
        "bytes": step.work.bytes,
        "bytes_unpadded": step.work.useful,
        "estimated_cycles": step.work.cycles,
        "collectives": [dataclasses.asdict(c) for c in step.work.collectives],
        "seconds": dataclasses.asdict(times) | {"overlapped": times.overlapped, "apart": times.apart},
        "limit": times.limit,
        "hours": plan.hours,
        "compiled_in": step.seconds,
        "scaling": [
            {"topology": on.name, "chips": on.chips, **dataclasses.asdict(plan.times_on(on))}
            for on in chips.growing(topology.kind)
        ],
    }
