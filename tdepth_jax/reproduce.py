"""`python -m tdepth_jax.reproduce fan2024_table4`: a published table, trained, scored and set beside its numbers."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from tdepth_jax import flags
from tdepth_jax.errors import run_door


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth reproduce",
        description="Trains and scores the rows of a published table, prints them beside the published numbers and "
        "writes ROOT/TABLE/{table.md,table.json,index.html}. The same command goes on where it was stopped: what is "
        "trained or scored is not done again, and rows share the stages that they have in common.",
        epilog="Any config key can be set for all rows: --config.train.steps=60; the table then says that it is not "
        "the published setting.",
        allow_abbrev=False,
    )
    add = p.add_argument
    add(
        "table",
        nargs="?",
        metavar="TABLE",
        help="a file of configs/tables, e.g. fan2024_table4; none: which there are",
    )
    add("--world", action="store_true", help="the same rows on ThermalWorld, which needs no download")
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="train every row N times; mean and spread [%(default)s]",
    )
    add("--only", default="", metavar="ROWS", help="comma-separated names of rows")
    add("--list", action="store_true", help="show rows, configs, data and published numbers, and run nothing")
    add(
        "--dry_run",
        "--dry-run",
        action="store_true",
        help="say what would be trained and scored, and run nothing",
    )
    add(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path("runs/reproduce"),
        metavar="DIR",
        help="[%(default)s]",
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args, overrides = flags.parse_with_config(parser(), argv)
    # Imported late: --help and a mistyped flag should not wait for JAX.
    from tdepth_jax.reproduction import job, spec

    if args.table is None:
        print("\n".join(f"{name:<20}  {spec.load(name)[0].title}" for name in spec.known()))
        return
    asked = job.Request(
        table=args.table,
        root=args.root,
        world=args.world,
        seeds=args.seeds,
        only=tuple(name.strip() for name in args.only.split(",") if name.strip()),
        overrides=overrides,
    )
    if args.list:
        print(job.listing(asked))
    elif args.dry_run:
        print(job.outlook(asked))
    else:
        from tdepth_jax.reproduction.running import Stopped

        try:
            text, page = job.reproduce(asked)
        except Stopped as stopped:
            print(f"{stopped}; the same command resumes")
            sys.exit(143)
        print(f"\n{text}\n\npage: {page}")


if __name__ == "__main__":
    run_door(main)
