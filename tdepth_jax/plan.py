"""`python -m tdepth_jax.plan --config=configs/vivid_stage2.py --topology=v5e:16x16`: a TPU job, without a TPU."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from tdepth_jax import flags
from tdepth_jax.errors import run_door


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth plan",
        description="Compiles a config's train step for a TPU slice, on any Linux machine, and says what one chip will "
        "hold and do: memory, FLOPs, traffic, collectives, the shortest time of a step and what limits it, hours, "
        "scaling, the largest batch that fits. Needs the TPU compiler (pip install libtpu), no TPU and no data.",
        epilog="Any config key can be set: --config.mesh.fsdp=8 --config.train.accumulate=2",
        allow_abbrev=False,
    )
    add = p.add_argument
    add("--config", required=True, metavar="FILE.py[:ARG]", help="a file with get_config()")
    add("--topology", default="v5e:16x16", metavar="KIND:SIDES", help="v4, v5e, v5p or v6e [%(default)s]")
    add("--per_chip", type=int, metavar="N", help="examples on each chip [train.batch_size, shared out]")
    add(
        "--with",
        dest="wanted",
        default="",
        metavar="KEYS",
        help="optional keys that the data have: thermal/valid",
    )
    add("--no_search", action="store_true", help="do not look for the largest batch, which compiles again")
    add("--json", type=pathlib.Path, metavar="FILE", help="the figures, for programs")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args, overrides = flags.parse_with_config(parser(), argv)
    # JAX starts with the next import, and must find the CPU: on a TPU machine a plan takes no chip from a job.
    from tdepth_jax.planning import environment

    environment.settle()
    from tdepth_jax.planning import job, report

    plan = job.make(
        job.Request(
            config=args.config,
            topology=args.topology,
            per_chip=args.per_chip,
            wanted=frozenset(key for key in args.wanted.split(",") if key),
            search=not args.no_search,
            overrides=overrides,
        ),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if args.json:
        args.json.write_text(json.dumps(job.as_json(plan) | report.versions(), indent=1))
    print(report.text(plan))


if __name__ == "__main__":
    run_door(main)
