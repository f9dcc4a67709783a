"""How long a step must take at least: arithmetic on what a chip does and what it can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tdepth_jax.planning.chips import HOP, Slice
from tdepth_jax.planning.hlo import Collective


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of one step, were each the only limit. `interconnect` adds a delay for every hop of every collective."""

    compute: float
    hbm: float
    interconnect: float

    @property
    def limit(self) -> str:
        return max(("compute", "hbm", "interconnect"), key=lambda name: getattr(self, name))

    @property
    def overlapped(self) -> float:
        """With all three at once: no step is faster."""
        return max(self.compute, self.hbm, self.interconnect)

    @property
    def apart(self) -> float:
        """With the interconnect waiting for the rest, and the rest for it."""
        return max(self.compute, self.hbm) + self.interconnect


def times(*, flops: float, bytes: float, collectives: Sequence[Collective], on: Slice) -> Times:
    """The limits of one step.

    Args:
      flops, bytes: of one chip.
      collectives: of one chip, as the program compiled for any slice of this kind has them.
      on: the slice; its size decides what the collectives cost.
    """
    return Times(
        flops / on.chip.peak,
        bytes / on.chip.bandwidth,
        sum(c.times * seconds(c, on) for c in collectives),
    )


def seconds(collective: Collective, on: Slice) -> float:
    """One collective over all chips of the slice, on all links: what a ring must send, and the hops."""
    n = on.chips
    if n == 1:
        return 0.0
    # An all-reduce is a reduce-scatter and an all-gather; each sends all but one n-th of the whole.
    halves = 2.0 if collective.kind == "all-reduce" else 1.0
    sent = halves * (n - 1) / n * collective.bytes
    if collective.kind == "all-to-all":
        sent /= 4.0  # a piece goes on average a quarter round the ring, an all-gather's all the way
    if collective.kind == "collective-permute":
        return collective.bytes / on.chip.link + HOP
    return sent / on.egress + on.hops * HOP * halves / 2
