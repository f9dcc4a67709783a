"""Calibration on real RGB-thermal pairs without depth: the rotation, from a start turned by a known angle; a picture.

  python benchmarks/calibration_pairs.py 'PAIRS/*_ir.png' 'PAIRS/*_vi.png' --fov-x=57 --turn=1,-1.5,1 -o pairs.png

Of co-registered pairs (NAME_ir.png, NAME_vi.png) the true rotation is about none, so that the turn given is what has to
be taken back. Rows of the picture: edges of a thermal image in grey and those of its RGB image in orange, before and
after; --pixels draws the latter over the images themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import cv2
import numpy as np

from tdepth_jax.calibration import edges, folders, job, levels, search
from tdepth_jax.errors import run_door
from tdepth_jax.reports import calibration as report
from tdepth_jax.training.setup import enable_compilation_cache

CELL = (240, 320)
EDGE = (255, 150, 30)  # RGB


def main(flags: argparse.Namespace) -> None:
    cameras = folders.Cameras(None, flags.fov_x, None, None, "identity")
    scale = folders.Scale(assumed="infinity")
    taken = folders.of_folders(flags.thermal, flags.rgb, cameras, scale, most=flags.pairs)
    given = taken.rig
    turn = np.radians([float(word) for word in flags.turn.split(",")])
    wrong = search.rigid(np.concatenate([np.zeros(3), turn]))
    taken = dataclasses.replace(taken, rig=dataclasses.replace(given, rgb_from_thermal=wrong))
    result = job.calibrate(taken, job.Search())
    print(report.overview(taken, result))
    for name, rig in (("before", taken.rig), ("after", result.rig)):
        print(f"{name}: {levels.apart(rig, given)[0]:.2f} degrees from the registration of the pairs")
    numbers = [int((i + 0.5) * len(taken.pairs) / flags.rows) for i in range(flags.rows)]
    ends = (np.zeros_like(result.found.x), result.found.x)
    rows = []
    for number in numbers:
        pair = taken.pairs[number]
        cells = [pair.rgb] if flags.pixels else []
        cells += [
            report.overlay(taken, result, number, x) if flags.pixels else drawn(pair, result, number, x)
            for x in ends
        ]
        rows.append(
            np.concatenate([cv2.resize(c, CELL[::-1], interpolation=cv2.INTER_AREA) for c in cells], axis=1)
        )
    cv2.imwrite(str(flags.output), np.concatenate(rows)[..., ::-1])
    print(flags.output)


def drawn(pair: levels.Pair, result: job.Result, number: int, x: np.ndarray) -> np.ndarray:
    """Edges alone: how strongly the thermal image has one, and points of the RGB image's."""
    factor = levels.factors(pair.thermal.shape[1])[-1]
    found = edges.tensors(levels.shrunk(pair.thermal, factor))
    strength = found[..., 0] + found[..., 2]
    # Few levels: noise makes large files.
    grey = (np.where(strength > 0.4, strength, 0) * 5).astype(np.uint8) * 30
    picture = np.repeat(grey[..., None], 3, axis=2)
    column, row, seen = (a[number] for a in job.where(result.level, result.start, result.free, x))
    weight = np.asarray(result.level.weight[number]) * seen
    some = weight > 0.5 * weight.max()
    picture[row[some], column[some]] = EDGE
    return picture


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("thermal", type=pathlib.Path)
    parser.add_argument("rgb", type=pathlib.Path)
    parser.add_argument("--fov-x", type=float, required=True, metavar="DEG")
    parser.add_argument(
        "--turn", default="1,-1.5,1", metavar="X,Y,Z", help="degrees about right, down, ahead"
    )
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    enable_compilation_cache()
    run_door(lambda _: main(options))
