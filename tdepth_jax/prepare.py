"""`python -m tdepth_jax.prepare world`: a data set, or your own frames, to records; then checks and a summary."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tdepth_jax import flags
from tdepth_jax.errors import run_door

if TYPE_CHECKING:
    from tdepth_jax.data.datasets.base import SplitSummary


def data_sets() -> dict[str, ModuleType]:
    """Every module in `tdepth_jax.data.datasets` but the base: what it offers is said in `base`."""
    from tdepth_jax.data import datasets

    names = sorted(found.name for found in pkgutil.iter_modules(datasets.__path__) if found.name != "base")
    modules = {name: importlib.import_module(f"{datasets.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "build")}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth prepare",
        description="Writes a data set as records that `train` and `evaluate` read. Interrupted, it leaves "
        "nothing that looks finished: run it again.",
    )
    choices = p.add_subparsers(dest="dataset", metavar="DATASET", required=True)
    for name, module in data_sets().items():
        one = choices.add_parser(
            name, help=module.HELP, description=module.__doc__, conflict_handler="resolve", allow_abbrev=False
        )
        _add_common(one)
        module.add_arguments(one)
    return p


def _add_common(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--out", default="data", metavar="DIR", help="folder that gets NAME/VERSION/ with the records (data)"
    )
    p.add_argument("--name", metavar="NAME", help="name of the prepared data set (the data set's own)")
    p.add_argument(
        "--format",
        default="array_record",
        choices=("array_record", "tfrecord"),
        help="file format; both are read at random and checked by checksums; tfrecord is not compressed and takes"
        " up to twice the room (array_record)",
    )
    p.add_argument("--overwrite", action="store_true", help="replace a data set prepared before")
    p.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (one per CPU core)"
    )


def main(argv: Sequence[str] | None = None) -> None:
    args = flags.parse(parser(), argv)
    module = data_sets()[args.dataset]
    builder = module.build(args)
    started = time.monotonic()
    with _Bar(builder) as bar:
        summaries = builder.prepare(
            file_format=args.format, overwrite=args.overwrite, jobs=args.jobs, progress=bar
        )
    seconds = time.monotonic() - started
    frames = sum(one.frames for one in summaries)
    # What people paste into a config or a command; the version folder is found from it.
    root = Path(args.out) / builder.name
    print(_table(summaries))
    print(f"has {', '.join(sorted(builder.modalities()))}")
    for split, warning in _checked(root, summaries):
        print(f"note: {split}: {warning}")
    print(f"{root}: {frames} frames in {seconds:.0f} s ({frames / max(seconds, 1e-9):.0f} frames/s), checked")


def _checked(root: Path, summaries: Sequence[SplitSummary]) -> list[tuple[str, str]]:
    from tdepth_jax.data.checks import check_split
    from tdepth_jax.data.sources import open_split

    found = []
    for one in summaries:
        found += [(one.split, warning) for warning in check_split(open_split(root, one.split))]
    return found


def _table(summaries: Sequence[SplitSummary]) -> str:
    rows = [("split", "sequences", "frames", "MB", "conditions")]
    rows += [
        (s.split, str(s.sequences), str(s.frames), f"{s.bytes / 1e6:.1f}", " ".join(s.conditions))
        for s in summaries
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i in (0, 4) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


class _Bar:
    """A progress bar of frames, one for each split. How many there will be is known where the specs say."""

    def __init__(self, builder: Any) -> None:
        self._specs = builder.sequences()
        self._split = ""
        self._bar: Any = None

    def __call__(self, split: str, frames: int) -> None:
        if split != self._split:
            self._close()
            from tqdm import tqdm

            counts = [getattr(spec, "frames", None) for spec in self._specs[split]]
            known = [n for n in counts if isinstance(n, int)]
            total = sum(known) if len(known) == len(counts) else None
            self._bar = tqdm(
                desc=split, total=total, unit=" frames", file=sys.stderr, disable=not sys.stderr.isatty()
            )
            self._split = split
        self._bar.update(frames - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


if __name__ == "__main__":
    run_door(main)
