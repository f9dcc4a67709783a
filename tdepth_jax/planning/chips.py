"""What a TPU chip can do, and how chips hang together: the figures behind every plan.

| figure | source |
|---|---|
| v5e, v5p, v6e: peak, HBM, interconnect (both ways) | docs.cloud.google.com/tpu/docs/{v5e,v5p,v6e}, 2026-11 |
| v4: peak, HBM | docs.cloud.google.com/tpu/docs/v4, 2026-11 |
| v4: 6 links of 50 GB/s in each direction | Jouppi et al., "TPU v4", ISCA 2023, Table 4 |
| v5e, v6e wrap an axis of 16 round; v4, v5p every axis from a 4x4x4 cube on | the same pages, "topology" |
| 1 microsecond a hop | Austin et al., "How to Scale Your Model", 2025, part 2 |
"""

from __future__ import annotations

import dataclasses
import math
import re

from tdepth_jax.errors import UserError, nearest

HOP = 1e-6  # seconds that a message takes from chip to chip, whatever its size


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
      peak: dense bf16 FLOP/s.
      hbm: bytes of memory; the compiler may use a little less.
      bandwidth: of that memory, bytes/s.
      link: bytes/s over one link, in one direction.
      axes: of the torus; a chip has two links along each.
      largest: chips in the largest slice that this table plans for.
      clock: cycles/s, of the peak and its matrix units: 8 (v4, v5p) or 4 (v5e) of 128 x 128; None: not known.
      config: the compiler's name for how the chip is used, where it has to be told.
    """

    peak: float
    hbm: float
    bandwidth: float
    link: float
    axes: int
    largest: int
    clock: float | None = None
    config: str | None = None


CHIPS = {
    # v4's two cores are used as one ("megacore"), as a v4 machine shows them.
    "v4": Chip(275e12, 32 * 2**30, 1200e9, 50e9, axes=3, largest=4096, clock=1.05e9, config="megacore"),
    "v5e": Chip(197e12, 16e9, 819e9, 50e9, axes=2, largest=256, clock=1.5e9),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 100e9, axes=3, largest=6144, clock=1.75e9),
    "v6e": Chip(918e12, 32e9, 1638e9, 100e9, axes=2, largest=256),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one kind in a box, as "v5e:16x16".

    Attributes:
      sides: of the box, always as many as the torus has axes.
    """

    kind: str
    sides: tuple[int, ...]

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def chips(self) -> int:
        return math.prod(self.sides)

    @property
    def name(self) -> str:
        return f"{self.kind}:{'x'.join(map(str, self.sides))}"

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Which axes are closed to a ring."""
        if self.chip.axes == 2:
            return tuple(side == 16 for side in self.sides)
        cube = all(side % 4 == 0 for side in self.sides)
        return tuple(cube for _ in self.sides)

    @property
    def egress(self) -> float:
        """Bytes/s that one chip sends in an all-reduce over the whole slice, on all its links at once.

        Along a ring both directions carry half of the data each; on an open line every byte meets the end, which costs
        half of that.
        """
        links = sum(2 if wrap else 1 for side, wrap in zip(self.sides, self.wraps, strict=True) if side > 1)
        return links * self.chip.link

    @property
    def hops(self) -> int:
        """Steps of a reduction along every axis in turn, there and back."""
        return 2 * sum(
            side // 2 if wrap else side - 1 for side, wrap in zip(self.sides, self.wraps, strict=True)
        )


def parse(text: str) -> Slice:
    """The slice that "v5e:16x16" names.

    Raises:
      UserError: no such chip, or sides that no slice of it has.
    """
    form = re.fullmatch(r"(v\d+[a-z]*):(\d+(?:x\d+)*)", text)
    if not form:
        raise UserError(
            f"--topology={text}: write KIND:SIDES with the sides in chips, as v5e:16x16 or v5p:4x4x4 (chip counts as "
            "in v5e-256 do not say how the chips lie)"
        )
    kind, sides = form[1], tuple(int(side) for side in form[2].split("x"))
    if kind not in CHIPS:
        raise UserError(f"--topology={text}: there is no chip {kind!r}; {nearest(kind, CHIPS)}")
    found = Slice(kind, sides)
    wants = "2x2, 2x4, 4x4 … 16x16" if found.chip.axes == 2 else "2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4 …"
    # A host has 2x2 chips, and slices are made of whole hosts.
    if len(sides) != found.chip.axes or any(side % 2 for side in sides[:2]) or 0 in sides:
        raise UserError(f"--topology={text}: slices of {kind} are {wants}")
    if found.chips > found.chip.largest:
        raise UserError(
            f"--topology={text} has {found.chips} chips; the largest slice of {kind} has {found.chip.largest}"
        )
    return found


def growing(kind: str, most: int = 256) -> list[Slice]:
    """Slices of 1, 4, 8, 16 … `most` chips, as near to a cube or a square as the machine is built."""
    found = [Slice(kind, (1,) * CHIPS[kind].axes)]
    if CHIPS[kind].axes == 2:
        sides = [(2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    else:
        sides = [(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (4, 4, 8), (4, 8, 8)]  # type: ignore[list-item]
    return found + [Slice(kind, side) for side in sides if math.prod(side) <= most]
