"""`python -m tdepth_jax.predict INPUT… --checkpoint=RUN -o OUT`: depth maps of images, folders, stacks and splits."""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence

from tdepth_jax import flags
from tdepth_jax.errors import UserError, nearest, run_door

DEPTH_SAVES = ("vis", "png16", "npz", "ply", "poses")
LABEL_SAVES = ("labels", "overlay")
SAVES = (*DEPTH_SAVES, *LABEL_SAVES)
COLORMAPS = ("magma", "turbo", "inferno", "viridis", "plasma", "jet", "bone")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth predict",
        description="Writes depth maps, or label maps with the area of every class. "
        "Every 16-bit level of the input reaches the network; 8-bit and "
        "contrast-stretched input is warned of.",
        allow_abbrev=False,
    )
    add = p.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="16-bit PNG or TIFF (stacks too), .npy, radiometric JPEG; folders of them; 'globs*'; or a prepared "
        "split as data/NAME:test",
    )
    add(
        "--checkpoint", required=True, type=pathlib.Path, metavar="RUN", help="the folder that training wrote"
    )
    add("--step", type=int, help="checkpoint [the latest]")
    add("-o", "--output", required=True, type=pathlib.Path, metavar="OUT", help="folder for the results")
    add(
        "--save",
        metavar="LIST",
        help="of vis (thermal beside depth, and confidence of a run that has one), png16 (uint16, metres * 256), npz "
        "(float32 depth, mask, K; confidence and spread), ply "
        "(points), poses (the camera's path through each sequence: TUM text and a picture) [vis,png16]; of a "
        "run that labels pixels: labels (PNG of class numbers), overlay (colours over the frame) [both]",
    )
    add("--colormap", default="magma", choices=COLORMAPS, help="of vis; near is bright [%(default)s]")
    add(
        "--min-depth",
        type=float,
        metavar="M",
        help="depth of the nearest colour [the sequence's 2nd percentile]",
    )
    add("--max-depth", type=float, metavar="M", help="depth of the farthest colour [its 98th percentile]")
    camera = p.add_mutually_exclusive_group()
    camera.add_argument(
        "--intrinsics", metavar="K", help="fx,fy,cx,cy in pixels of the input, or a Kalibr .yaml"
    )
    camera.add_argument("--fov-x", type=float, metavar="DEG", help="horizontal field of view")
    mask = p.add_mutually_exclusive_group()
    mask.add_argument("--mask", type=pathlib.Path, metavar="FILE.png", help="usable pixels white (for files)")
    mask.add_argument(
        "--mask-bottom", type=float, metavar="F", help="the lowest share of the image is the car"
    )
    add(
        "--limits",
        default="frame",
        choices=("frame", "sequence"),
        help="the counts that the network sees as 0 and 1: of each frame, as in evaluation, or of the whole "
        "sequence, so that a video's depth does not flicker [%(default)s]",
    )
    add("--unit", choices=("raw", "centikelvin"), help="what 16-bit values are [raw]")
    add(
        "--batch-size",
        type=int,
        default=4,
        metavar="N",
        help="frames in one call of the network [%(default)s]",
    )
    add("--overwrite", action="store_true", help="replace results that are there")
    add("--strict", action="store_true", help="stop where there would be a warning")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = flags.parse(parser(), argv)
    _check(args)
    # Imported late: --help and a mistyped flag should not wait for JAX.
    from tdepth_jax.predictor import job, labels
    from tdepth_jax.training.setup import enable_compilation_cache

    enable_compilation_cache()
    request = job.Request(
        inputs=tuple(args.inputs),
        checkpoint=args.checkpoint,
        step=args.step,
        output=args.output,
        save=_saved(args.save, labels=bool(labels.labels_of(args.checkpoint))),
        colormap=args.colormap,
        depth_range=(args.min_depth, args.max_depth),
        intrinsics=args.intrinsics,
        fov_x=args.fov_x,
        mask=args.mask,
        mask_bottom=args.mask_bottom,
        limits=args.limits,
        unit=args.unit,
        batch_size=args.batch_size,
        overwrite=args.overwrite,
        strict=args.strict,
    )
    if labels.labels_of(args.checkpoint):
        frames, seconds = labels.run(request, warn=lambda text: print(f"warning: {text}", file=sys.stderr))
        print(
            f"{args.output}: {frames} label maps in {seconds:.1f} s ({frames / max(seconds, 1e-9):.1f} frames/s)"
        )
        return
    frames, walks, seconds = job.run(request, warn=lambda text: print(f"warning: {text}", file=sys.stderr))
    made = [f"{frames} depth maps"] if frames else []
    made += [f"{walks} trajector{'y' if walks == 1 else 'ies'}"] if walks else []
    rate = f" ({frames / max(seconds, 1e-9):.1f} frames/s)" if frames else ""
    print(f"{args.output}: {' and '.join(made)} in {seconds:.1f} s{rate}")


def _saved(text: str | None, *, labels: bool) -> frozenset[str]:
    """What to write: what was asked for, as far as such a run can give it, or the kind's default."""
    own = LABEL_SAVES if labels else DEPTH_SAVES
    names = _names(text) if text is not None else own[:2]
    for name in names:
        if name not in own:
            kind = "labels pixels" if labels else "gives depth"
            raise UserError(
                f"--save: this run {kind}, so there is no {name!r}; choose among {', '.join(own)}"
            )
    return frozenset(names)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _check(args: argparse.Namespace) -> None:
    if args.save is not None and not _names(args.save):
        raise UserError(f"--save is empty; give some of {','.join(SAVES)}")
    for name in _names(args.save or ""):
        if name not in SAVES:
            raise UserError(f"--save: there is no output {name!r}; {nearest(name, SAVES)}")
    near, far = args.min_depth, args.max_depth
    finite = all(math.isfinite(one) for one in (near, far) if one is not None)
    if not finite or (near is not None and near <= 0) or (far is not None and far <= (near or 0)):
        raise UserError(
            f"--min-depth {near} and --max-depth {far} are no range; need 0 < min < max, in metres"
        )
    if args.batch_size < 1:
        raise UserError(f"--batch-size={args.batch_size}: give 1 or more")


if __name__ == "__main__":
    run_door(main)
