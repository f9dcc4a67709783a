"""`python -m tdepth_jax.data.world OUT.png`: draws the contact sheet of the world."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import cv2

from tdepth_jax.data.world import contact_sheet, render, sequences
from tdepth_jax.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Renders the first frames of the first sequences of a split and writes their sheet."""
    parser = argparse.ArgumentParser(prog="python -m tdepth_jax.data.world", description=__doc__)
    parser.add_argument("out", help="picture to write, such as sheet.png")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=8, help="sequences to show")
    parser.add_argument("--first", type=int, default=0, help="sequence to begin with")
    args = parser.parse_args(argv)
    specs = sequences(args.split, seed=args.seed)[args.first : args.first + args.rows]
    frames = [next(iter(render(dataclasses.replace(spec)))) for spec in specs]
    if not cv2.imwrite(args.out, contact_sheet(frames)[..., ::-1]):
        raise UserError(f"world: cannot write {args.out}: give a path in an existing folder ending in .png")


if __name__ == "__main__":
    main()
