"""Does calibration find a rig's pose again? Trials on a prepared data set whose pose is known; docs/calibration.md.

  python benchmarks/calibration_trials.py data/world:train data/world:test data/world:new_scene

Every trial draws its own pairs, turns the true rgb_from_thermal about a random axis by up to --degrees and shifts it by
up to --centimetres, calibrates from there, and is scored by the angle and the distance left. --noise makes depth that
of a stereo pair: an error of so many pixels in disparity at a baseline of 30 cm, alike within about 8 pixels.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import cv2
import numpy as np

from tdepth_jax.calibration import job, levels, pairs, search
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import run_door
from tdepth_jax.reports import tables
from tdepth_jax.training.setup import enable_compilation_cache

BASELINE = 0.3  # metres
BLOB = 4.0  # pixels


def moved(rig: levels.Rig, rng: np.random.Generator, degrees: float, centimetres: float) -> levels.Rig:
    """The rig with a wrong pose: sizes uniform up to the bounds, directions uniform on the sphere."""
    along = [v / np.linalg.norm(v) for v in rng.standard_normal((2, 3))]
    shift, turn = centimetres / 100 * rng.random(), np.radians(degrees) * rng.random()
    wrong = search.rigid(np.concatenate([along[0] * shift, along[1] * turn]))
    return dataclasses.replace(rig, rgb_from_thermal=wrong @ rig.rgb_from_thermal)


def noisy(pair: levels.Pair, focal: float, pixels: float, rng: np.random.Generator) -> levels.Pair:
    """Disparity errors are alike within matching windows, hence blobs."""
    error = cv2.GaussianBlur(rng.standard_normal(pair.inverse_depth.shape), (0, 0), BLOB)
    error *= pixels / error.std() / (focal * BASELINE)
    inverse = np.where(pair.known, np.maximum(pair.inverse_depth + error, 1e-3), 0).astype(np.float32)
    return dataclasses.replace(pair, inverse_depth=inverse)


def trial(place: str, seed: int, flags: argparse.Namespace) -> dict:
    dataset, _, split = place.partition(":")
    source = open_split(dataset, split)
    rng = np.random.default_rng(seed)
    taken = pairs.of_split(source, rng.permutation(len(source))[: flags.pairs])
    true = taken.rig
    if flags.noise:
        focal = float(true.rgb_K[0, 0])
        taken = dataclasses.replace(
            taken, pairs=tuple(noisy(p, focal, flags.noise, rng) for p in taken.pairs)
        )
    taken = dataclasses.replace(taken, rig=moved(true, rng, flags.degrees, flags.centimetres))
    started = time.monotonic()
    pyramid, free = job.prepared(taken, job.Search())
    found = search.solve(pyramid, taken.rig, free)
    seconds = time.monotonic() - started
    rig = search.applied(taken.rig, free, found.x)
    truth = search.between(taken.rig, true, free)
    return {
        "before": levels.apart(taken.rig, true),
        "after": levels.apart(rig, true),
        "pixels": search.shift_in_pixels(pyramid[-1], taken.rig, free, found.x, truth),
        "agreement": (found.before, found.agreement),
        "agreed": found.agreed,
        "seconds": seconds,
    }


def main(flags: argparse.Namespace) -> None:
    rows, every = [], []
    for number in range(flags.trials):
        place = flags.places[(flags.seed + number) % len(flags.places)]
        one = trial(place, flags.seed + number, flags)
        every.append(one)
        before, after = one["before"], one["after"]
        cells = [
            f"{before[0]:.2f}",
            f"{before[1]:.1f}",
            f"{after[0]:.3f}",
            f"{after[1]:.2f}",
            f"{one['pixels']:.3f}",
        ]
        cells += [f"{one['agreed']:.0%}", f"{one['seconds']:.1f}"]
        rows.append([f"{flags.seed + number} {place}", *cells])
        print(f"{number + 1}/{flags.trials}: {after[0]:.3f} deg, {after[1]:.2f} cm", flush=True)
    header = ["trial", "deg before", "cm", "deg after", "cm", "rms px", "starts agreed", "s"]
    print(tables.aligned(header, rows))
    after = np.array([one["after"] for one in every])
    for name, figure in (("median", np.median(after, 0)), ("worst", after.max(0)), ("mean", after.mean(0))):
        print(f"{name}: {figure[0]:.3f} deg, {figure[1]:.2f} cm")
    seconds = [one["seconds"] for one in every[1:]] or [every[0]["seconds"]]
    print(
        f"seconds a trial, after the first ({every[0]['seconds']:.0f} s with compiling): {np.median(seconds):.1f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="+", metavar="DATASET:SPLIT")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--degrees", type=float, default=3.0)
    parser.add_argument("--centimetres", type=float, default=10.0)
    parser.add_argument("--noise", type=float, default=0.0, metavar="PX")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    enable_compilation_cache()
    run_door(lambda _: main(options))
