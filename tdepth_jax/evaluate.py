"""`python -m tdepth_jax.evaluate --workdir=runs/x`: scores a run under named protocols, with a report."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from tdepth_jax import flags
from tdepth_jax.errors import UserError, run_door
from tdepth_jax.metrics.protocols import PUBLISHED
from tdepth_jax.metrics.segmentation import PROTOCOLS as LABELS


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth evaluate",
        description="Scores a run's depth against ground truth by condition and distance band, or its labels by class "
        "and condition, prints the tables and writes RUN/eval/<dataset>-<split>/{metrics.json,report.html}.",
        allow_abbrev=False,
    )
    add = p.add_argument
    add("--workdir", required=True, type=pathlib.Path, metavar="RUN", help="the folder that training wrote")
    add("--dataset", metavar="DIR", help="prepared data set [the run's eval.dataset]")
    add("--split", help="[the run's eval.split]")
    add("--step", type=int, help="checkpoint [the latest]")
    add(
        "--protocol",
        metavar="NAMES",
        help="comma-separated: none (metric), median (per-image scale), lstsq (per-image scale and shift), and "
        "published protocols: "
        + ", ".join(PUBLISHED)
        + " [the data set's own, then none,median,lstsq]; of a run that "
        "labels pixels: " + ", ".join(LABELS) + " [all]",
    )
    add(
        "--averaging",
        default="per_image,pooled",
        metavar="NAMES",
        help="of none, median and lstsq: per_image (mean over images), pooled (all pixels alike), per_sequence, "
        "per_range (5 m ranges alike) [%(default)s]",
    )
    add(
        "--lstsq_domain",
        "--lstsq-domain",
        default="inverse_depth",
        metavar="NAME",
        help="where lstsq fits: inverse_depth or depth [%(default)s]",
    )
    add("--min_depth", "--min-depth", type=float, metavar="M", help="metres [the run's eval.min_depth]")
    add("--max_depth", "--max-depth", type=float, metavar="M", help="metres [the run's eval.max_depth]")
    add("--max_images", "--max-images", type=int, metavar="N", help="at most N frames, evenly spaced")
    add("--batch_size", "--batch-size", type=int, metavar="N", help="[the run's eval.batch_size]")
    add(
        "--pictures",
        type=int,
        default=4,
        metavar="N",
        help="worst, typical and best frames shown [%(default)s each]",
    )
    add(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also score the best constant and the best row-wise depth of the training split [yes]",
    )
    add(
        "--poses",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also score the camera's motion on every frame, where the method gives one and the split has poses [yes]",
    )
    add(
        "--radar",
        default="given",
        choices=("given", "missing", "wrong"),
        help="of methods that see radar: the data's, none, or returns at random distances; the last two are scored in "
        "folders of their own [%(default)s]",
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = flags.parse(parser(), argv)
    _positive(args.max_images, "--max_images")
    _positive(args.batch_size, "--batch_size")
    # Imported late: --help and a mistyped flag should not wait for JAX.
    from tdepth_jax.reports import evaluation
    from tdepth_jax.training.setup import enable_compilation_cache

    enable_compilation_cache()
    request = evaluation.Request(
        dataset=args.dataset,
        split=args.split,
        step=args.step,
        names=None if args.protocol is None else _names(args.protocol, "--protocol"),
        averagings=_names(args.averaging, "--averaging"),
        lstsq_domain=args.lstsq_domain,
        min_depth=args.min_depth,
        max_depth=args.max_depth,
        max_images=args.max_images,
        batch_size=args.batch_size,
        baselines=args.baselines,
        pictures=args.pictures,
        poses=args.poses,
        radar=args.radar,
    )
    result, page = evaluation.evaluate_run(args.workdir, request)
    print(evaluation.overview(result))
    print(f"\nreport: {page}")


def _names(text: str, flag: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"{flag} is empty; give one or more names, comma-separated")
    return names


def _positive(value: int | None, flag: str) -> None:
    if value is not None and value < 1:
        raise UserError(f"{flag}={value} leaves nothing to score; give 1 or more")


if __name__ == "__main__":
    run_door(main)
