"""`python -m tdepth_jax.calibrate --dataset=data/world`: where the thermal camera stands beside the RGB one."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tdepth_jax import flags
from tdepth_jax.errors import UserError, run_door

if TYPE_CHECKING:
    from tdepth_jax.calibration.pairs import Taken
    from tdepth_jax.calibration.uncertainty import Drift


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth calibrate",
        description="RGB-thermal extrinsics without a target: RGB edges, whose depth is known, are laid over thermal "
        "edges of many pairs. Writes OUT/{camchain.yaml,report.html,calibration.json}; the chain is what `prepare own "
        "--rgb-from-thermal` takes. Pictures must be undistorted.",
        allow_abbrev=False,
    )
    add = p.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path("calibration"), metavar="DIR", help="[%(default)s]")
    add("--pairs", type=int, default=100, metavar="N", help="at most N, evenly spaced [%(default)s]")
    add(
        "--rgb-from-thermal",
        metavar="WHAT",
        help="where to start: 4x4 numbers, a Kalibr FILE.yaml or `identity`, as `prepare own` takes it [the records']",
    )
    add("--search-degrees", type=float, default=4.0, metavar="DEG", help="how far to look [%(default)s]")
    add("--search-metres", type=float, default=0.15, metavar="M", help="how far to look [%(default)s]")
    add(
        "--thermal-intrinsics",
        default="given",
        choices=("given", "focal", "all"),
        help="also estimate one factor of both focal lengths, or fx, fy, cx, cy [%(default)s]",
    )
    add(
        "--depth",
        metavar="WHAT",
        help="infinity, or metres: no depth is measured, the scene is taken to be so far away, the rotation alone is "
        "estimated",
    )
    _add_sources(p)
    _add_check(p)
    return p


def _add_sources(p: argparse.ArgumentParser) -> None:
    records = p.add_argument_group("pairs of a prepared data set")
    records.add_argument(
        "--dataset", metavar="DIR", help="with thermal and RGB frames, and rgb/depth or RGB stereo"
    )
    records.add_argument("--split", default="train", help="[%(default)s]")
    records.add_argument("--condition", metavar="NAME", help="only of this condition [all]")
    own = p.add_argument_group("pairs of your own, not yet prepared; options as those of `prepare own`")
    add = own.add_argument
    add("--raw", type=pathlib.Path, metavar="DIR", help="thermal frames; 'DIR/*_ir.png' picks files by name")
    add("--rgb", type=pathlib.Path, metavar="DIR", help="colour frames, paired by name or by place")
    add("--intrinsics", metavar="K", help="of the thermal frames: fx,fy,cx,cy or a Kalibr FILE.yaml[:cam1]")
    add("--fov-x", type=float, metavar="DEG", help="horizontal field of view, when K is not known")
    add("--rgb-intrinsics", metavar="K", help="of the colour frames")
    add("--rgb-fov-x", type=float, metavar="DEG", help="horizontal field of view of colour frames")
    add(
        "--rgb-depth",
        type=pathlib.Path,
        metavar="DIR",
        help="depth of the colour frames: 16-bit PNG, or .npy metres",
    )
    add("--depth-unit", type=float, default=1 / 256, metavar="M", help="metres per unit of the PNG [1/256]")
    add("--rgb-right", type=pathlib.Path, metavar="DIR", help="right pictures of a rectified RGB stereo pair")
    add("--rgb-baseline", type=float, metavar="M", help="metres between the two RGB cameras")


def _add_check(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group(
        "is the calibration in use still right? Writes nothing; exit code 1 when it has drifted"
    )
    add = group.add_argument
    add("--check", action="store_true", help="of all pairs together")
    add("--watch", type=int, metavar="N", help="of every N pairs in a row")
    add(
        "--sigma",
        type=float,
        default=4.0,
        metavar="S",
        help="drifted: less likely than this by chance [%(default)s] ...",
    )
    add("--pixels", type=float, default=0.5, metavar="P", help="... and edges this far off [%(default)s]")


def main(argv: Sequence[str] | None = None) -> None:
    args = flags.parse(parser(), argv)
    _sensible(args)
    # Imported late: --help and a mistyped flag should not wait for JAX.
    from tdepth_jax.calibration import job
    from tdepth_jax.reports import calibration as report
    from tdepth_jax.training.setup import enable_compilation_cache

    enable_compilation_cache()
    taken = _taken(args)
    for note in taken.notes:
        print(f"note: {note}", file=sys.stderr)
    want = job.Search(args.search_degrees, args.search_metres, args.thermal_intrinsics)
    if args.check or args.watch:
        if args.watch and args.watch > len(taken.pairs):
            raise UserError(f"--watch={args.watch}: there are {len(taken.pairs)} pairs; give a smaller N")
        windows = (
            job.watch(taken, want, args.watch) if args.watch else [("all pairs", job.check(taken, want))]
        )
        drifted = [_said(name, one, args) for name, one in windows]
        if any(drifted):
            sys.exit(1)
        return
    result = job.calibrate(taken, want)
    page = report.write(args.out, taken, result)
    print(report.overview(taken, result))
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\ncalibration: {args.out / report.CHAIN}\nreport: {page}")


def _taken(args: argparse.Namespace) -> Taken:
    from tdepth_jax.calibration import folders, pairs

    if args.dataset is None:
        cameras = folders.Cameras(
            args.intrinsics,
            args.fov_x,
            args.rgb_intrinsics,
            args.rgb_fov_x,
            args.rgb_from_thermal or "identity",
        )
        scale = folders.Scale(args.rgb_depth, args.depth_unit, args.rgb_right, args.rgb_baseline, args.depth)
        return folders.of_folders(args.raw, args.rgb, cameras, scale, most=args.pairs)
    from tdepth_jax.data.sources import open_split

    source = open_split(args.dataset, args.split)
    numbers = pairs.of_condition(source, args.condition)
    taken = pairs.of_split(source, numbers[pairs.spread(len(numbers), args.pairs)], depth=args.depth)
    return taken if args.rgb_from_thermal is None else pairs.started(taken, args.rgb_from_thermal)


def _said(name: str, drift: Drift, args: argparse.Namespace) -> bool:
    drifted = drift.has_drifted(sigma=args.sigma, pixels=args.pixels)
    line = (
        f"{name}: agreement {drift.current:.4f}, the best round about {drift.best:.4f}, edges {drift.pixels:.2f} px "
        f"off, {drift.sigma:.1f} sigma"
    )
    print(line)
    if drifted:
        print(
            f"warning: {name}: the calibration has drifted by {drift.pixels:.2f} px ({drift.sigma:.1f} sigma); "
            "calibrate again",
            file=sys.stderr,
        )
    return drifted


def _sensible(args: argparse.Namespace) -> None:
    if (args.dataset is None) == (args.raw is None):
        raise UserError("give either --dataset, a prepared one, or --raw and --rgb, folders of your own")
    if args.raw is not None and args.rgb is None:
        raise UserError("--raw needs --rgb: the colour frames")
    given = [args.rgb_depth, args.rgb_right, args.depth]
    if sum(one is not None for one in given) > 1:
        raise UserError("give one of --rgb-depth, --rgb-right and --depth")
    for name in ("pairs", "search_degrees", "search_metres", "depth_unit", "pixels", "sigma"):
        if not getattr(args, name) > 0:
            raise UserError(f"--{name.replace('_', '-')}={getattr(args, name):g}: give more than 0")
    if args.search_degrees > 30:
        raise UserError(
            f"--search-degrees={args.search_degrees:g}: at most 30; turn the start nearer to the truth"
        )
    if args.watch is not None and args.watch < 8:
        raise UserError(f"--watch={args.watch}: 8 pairs or more say whether a calibration has drifted")


if __name__ == "__main__":
    run_door(main)
