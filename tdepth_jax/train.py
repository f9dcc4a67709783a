"""`python -m tdepth_jax.train --config=configs/world_stage1.py`: train, evaluate, checkpoint; again to resume."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from tdepth_jax import flags
from tdepth_jax.errors import UserError, run_door


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth train",
        description="Trains the run that a config describes, scores it, and writes its report. The same command "
        "resumes a run that was stopped, killed or preempted.",
        epilog="Any config key can be set: --config.train.steps=60 --config.model.dtype=bfloat16",
    )
    p.add_argument("--config", required=True, metavar="FILE.py[:ARG]", help="a file with get_config()")
    p.add_argument("--workdir", help="run directory, local or gs:// [runs/<config name>]")
    p.add_argument("--init_from", metavar="RUN", help="start from the weights of another run")
    p.add_argument(
        "--accept_config_change",
        action="store_true",
        help="resume although the config is not the one it began with",
    )
    job = p.add_argument_group(
        "a job of many processes", "each may stand in the environment instead, as TDEPTH_PROCESS_ID"
    )
    job.add_argument("--distributed", choices=("auto",), help="found by JAX itself: TPU pods, Slurm, MPI")
    job.add_argument("--coordinator", metavar="HOST:PORT", help="elsewhere: where the first process listens,")
    job.add_argument("--processes", metavar="N", help="how many there are,")
    job.add_argument("--process_id", metavar="I", help="and which this one is, from 0")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args, overrides = flags.parse_with_config(parser(), argv)
    for name in ("distributed", "coordinator", "processes", "process_id"):
        if getattr(args, name) is not None:
            os.environ[f"TDEPTH_{name.upper()}"] = getattr(args, name)
    if args.init_from:
        overrides["train.init_from"] = args.init_from
    # Imported late: --help and a mistyped flag should not wait for JAX.
    from tdepth_jax import config as configs
    from tdepth_jax import systems

    config = configs.load(args.config, overrides, systems.schema)
    from etils import epath

    from tdepth_jax.training import run

    workdir = epath.Path(args.workdir or f"runs/{pathlib.Path(args.config.partition(':')[0]).stem}")

    outcome = run.train(config, workdir, accept_config_change=args.accept_config_change)
    if outcome.stopped:
        print(f"asked to stop: saved step {outcome.step} in {workdir}; the same command resumes")
        sys.exit(143)
    _score(workdir)


def _score(workdir: Any) -> None:
    """The finished run's tables and page; data without ground truth has a sentence instead."""
    import jax

    if jax.process_index() != 0 or jax.process_count() > 1 or "://" in str(workdir):
        return  # a job of many processes, or in a bucket, is scored afterwards, by one, from a copy
    from tdepth_jax.reports import evaluation

    try:
        result, page = evaluation.evaluate_run(workdir, evaluation.Request())
    except UserError as error:
        print(error)
        return
    print(evaluation.overview(result))
    print(f"\nreport: {page}")


if __name__ == "__main__":
    run_door(main)
