"""ThermalWorld as records: the data set that needs no download."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from tdepth_jax.data import records, world
from tdepth_jax.data.datasets.base import RecordsBuilder
from tdepth_jax.errors import UserError

HELP = "ThermalWorld, the procedural test bed: every modality, nothing to download"
SIZE = (128, 160)
MODALITIES = frozenset(
    key
    for key in records.FIELDS
    if key.startswith(("thermal/", "rgb/")) or key in ("rgb_from_thermal", "radar")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the world's seed (0)")
    parser.add_argument(
        "--size", type=parse_size, default=SIZE, metavar="HxW", help="height x width in pixels (128x160)"
    )
    parser.add_argument(
        "--sequences", type=int, metavar="N", help="sequences in every split (400 of train, 9, 6, 240, 480)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="frames in every sequence (8, 30, 30, 8, 4)")


def parse_size(text: str) -> tuple[int, int]:
    """`128x160` -> (128, 160), height first."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH, e.g. 128x160")
    return int(height), int(width)


def build(args: argparse.Namespace) -> World:
    if args.seed < 0:
        raise UserError(f"--seed={args.seed}: a seed is 0 or more")
    return World(
        data_dir=args.out,
        name=args.name,
        seed=args.seed,
        size=args.size,
        count=args.sequences,
        frames_each=args.frames,
    )


class World(RecordsBuilder):
    """ThermalWorld, a procedural street world. A test bed for code, no evidence about the real world."""

    def __init__(
        self,
        *,
        data_dir: Any = "data",
        name: str | None = None,
        seed: int = 0,
        size: tuple[int, int] = SIZE,
        count: int | None = None,
        frames_each: int | None = None,
    ) -> None:
        """Rendered from `seed` at `size` (height, width); `count` sequences of `frames_each` in every split."""
        self._specs = {
            split: world.sequences(
                split, seed=seed, height=size[0], width=size[1], count=count, frames=frames_each
            )
            for split in world.SPLITS
        }
        self._seed = seed
        super().__init__(data_dir=data_dir, name=name)

    def modalities(self) -> frozenset[str]:
        return MODALITIES

    def facts(self) -> dict[str, Any]:
        return {**world.METADATA, "world_seed": self._seed}

    def sequences(self) -> dict[str, tuple[world.SequenceSpec, ...]]:
        return self._specs

    @staticmethod
    def frames(spec: world.SequenceSpec) -> Iterator[records.Frame]:
        return world.render(spec)
