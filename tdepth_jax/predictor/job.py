"""The predict door's work: gather and check all frames, then predict and write them one by one."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tdepth_jax.errors import UserError
from tdepth_jax.predictor import inputs, outputs, poses
from tdepth_jax.predictor.inputs import Item
from tdepth_jax.predictor.model import Prediction, Predictor
from tdepth_jax.predictor.shots import Shot
from tdepth_jax.thermal import faults
from tdepth_jax.thermal.faults import Fault
from tdepth_jax.thermal.normalize import FULL_SCALE
from tdepth_jax.training.uncertainty import FILE

RANGE_FRAMES = 8  # frames of a sequence that its colours are fitted to, evenly spread
LIMIT_FRAMES = 32  # and those that its limits of counts are taken from
COARSE = 0.02  # a step of the depth PNG, of the nearest depth, that is worth a word
NONE = np.zeros(1, bool)
HARMLESS = frozenset({"column_stripes", "dead_pixels", "static"})  # no cause to distrust a depth map


@dataclasses.dataclass(frozen=True)
class Request:
    """What to predict and what to write; names as the door's flags."""

    inputs: tuple[str, ...]
    checkpoint: Path
    output: Path
    save: frozenset[str]
    step: int | None = None
    colormap: str = "magma"
    depth_range: tuple[float | None, float | None] = (None, None)
    intrinsics: str | None = None
    fov_x: float | None = None
    mask: Path | None = None
    mask_bottom: float | None = None
    limits: str = "frame"
    unit: str | None = None
    batch_size: int = 4
    overwrite: bool = False
    strict: bool = False


def run(request: Request, *, warn: Callable[[str], None]) -> tuple[int, int, float]:
    """Predicts and writes; `warn` gets one sentence for every kind of fault.

    Returns:
      depth maps written, trajectories written, and the seconds that took.

    Raises:
      UserError: before anything is written, for all that can be known before.
    """
    camera = inputs.Camera(request.intrinsics, request.fov_x, request.mask, request.mask_bottom)
    items = inputs.gather(
        request.inputs,
        output=request.output,
        unit=request.unit,
        camera=camera,
        senses=inputs.Senses.of(request.checkpoint),
    )
    per_frame = request.save - {"poses"}
    files = [outputs.paths(request.output, item.key, per_frame) for item in items]
    walks = poses.of(items) if "poses" in request.save else []
    every = [*files, *(walk.files(request.output) for walk in walks)]
    refuse_output(request.output, every, overwrite=request.overwrite)
    predictor = Predictor.open(request.checkpoint, step=request.step, batch_size=request.batch_size)
    if walks:
        predictor.require_motion()
    seen = _look(items, predictor, request)
    warnings = [*seen.warnings, *camera.notes, *_uncalibrated(predictor, request)]
    if request.strict and warnings:
        raise UserError(f"{warnings[0]} (stopped by --strict)")
    for sentence in warnings:
        warn(sentence)
    started = time.monotonic()
    walked = [poses.write(walk, predictor, request.output) for walk in walks]
    for sentence in poses.describe(walked):
        warn(sentence)
        warnings.append(sentence)
    if not per_frame:
        items, files = [], []
    if request.limits == "sequence":
        items = _with_limits(predictor, items)
    ranges = _ranges(predictor, items, request)
    rows = []
    for item, names, shot, found in _predicted(predictor, items, files):
        outputs.write(
            names,
            shot.counts,
            found,
            depth_range=ranges[item.sequence],
            colormap=getattr(cv2, f"COLORMAP_{request.colormap.upper()}"),
        )
        if item.key in seen.faults:
            found = dataclasses.replace(found, warnings=(*found.warnings, *seen.faults[item.key]))
        rows.append(_row(item, names, found, ranges[item.sequence], request.output))
    warnings += _coarse(rows, warn)
    meta = _meta(request, predictor, warnings, rows)
    if walked:
        meta["trajectories"] = walked
    outputs.write_whole(request.output / "meta.json", (json.dumps(meta, indent=1) + "\n").encode())
    return len(items), len(walked), time.monotonic() - started


def _uncalibrated(predictor: Predictor, request: Request) -> list[str]:
    """Whether what is written of the model's confidence may be far off."""
    if not request.save & {"npz", "vis"} or not predictor.has_spread or predictor.calibrated:
        return []
    why = f"{request.checkpoint} has no {FILE}"
    if predictor.calibration:
        why = f"{FILE} in {request.checkpoint} is of step {predictor.calibration.step}, not {predictor.run.step}"
    return [
        f"the confidence is not calibrated: {why}; run evaluate on held-out frames with ground truth, which writes it"
    ]


def _coarse(rows: Sequence[dict[str, Any]], warn: Callable[[str], None]) -> list[str]:
    """Whether the depth PNGs round away what the model says; it shows only once there is depth."""
    steps = [row["png16_step"] for row in rows if row.get("png16_step", 0) > COARSE]
    if not steps:
        return []
    sentence = (
        f"the nearest depths are so small that the steps of 1/256 in the depth PNGs are {max(steps):.0%} of them "
        f"({len(steps)} frames): use the float32 depth of --save=npz"
    )
    warn(sentence)
    return [sentence]


def refuse_output(output: Path, files: Sequence[dict[str, Path]], *, overwrite: bool) -> None:
    """What can be known of the output folder ahead of all work."""
    there_is = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there_is.is_dir():
        raise UserError(f"-o {output}: {there_is} is a file; give a folder")
    if not os.access(there_is, os.W_OK):
        raise UserError(f"-o {output}: {there_is} cannot be written; choose another -o")
    if overwrite:
        return
    there = [path for names in files for path in names.values() if path.exists()]
    there += [path for path in (output / "meta.json",) if path.exists()]
    if there:
        raise UserError(
            f"{there[0]} is there already ({len(there)} such files); add --overwrite, or choose another -o"
        )


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a look at all frames showed.

    Attributes:
      warnings: one sentence for every kind of fault: the first frame that has it, and how many have it.
      faults: by item key, those that only the neighbours or the model show.
    """

    warnings: list[str]
    faults: dict[str, list[Fault]]


def _look(items: Sequence[Item], predictor: Predictor, request: Request) -> _Seen:
    kinds: dict[str, list[Fault]] = {}
    near: dict[str, list[Shot]] = {}
    before: dict[str, Shot] = {}
    more_of: dict[str, list[Fault]] = {}
    assumed = blind = 0
    for item in items:
        shot = item.load()
        assumed += shot.K is None
        blind += "radar/valid" in predictor.run.system.sees and not shot.more.get("radar/valid", NONE).any()
        last = before.get(item.sequence)
        froze = last and faults.frozen(shot.counts, last.counts, item.source)
        found_now = [fault for fault in (froze, _clipped(shot, predictor)) if fault]
        if found_now:
            more_of[item.key] = found_now
        before[item.sequence] = shot
        for fault in (*shot.warnings, *found_now):
            kinds.setdefault(fault.name, []).append(fault)
        first = near.setdefault(item.sequence, [])
        if len(first) < RANGE_FRAMES and (not first or first[0].counts.shape == shot.counts.shape):
            first.append(shot)
    for sequence, shots in near.items():
        where = sequence.partition("/")[2] or "the input"
        for fault in faults.sequence_faults(np.stack([shot.counts for shot in shots]), where):
            if fault.name != "repeated":  # of all frames that is known already
                kinds.setdefault(fault.name, []).append(fault)
    found = []
    for name, several in kinds.items():
        if name not in HARMLESS:
            more = f" ({len(several)} such frames)" if len(several) > 1 else ""
            found.append(f"{several[0]}{more}")
    if blind:
        found.append(
            f"this run sees radar too, of which {blind} of {len(items)} frames have none: their depth rests on the "
            "image alone; give a prepared split, as data/NAME:test, whose records have radar"
        )
    if assumed and "ply" in request.save:
        found.append("no intrinsics are known, so points assume a field of view of 60 degrees; give --fov-x")
    return _Seen(found, more_of)


def _clipped(shot: Shot, predictor: Predictor) -> Fault | None:
    """Counts above 14 bits, which a run with the normalisation full_scale cannot tell apart."""
    if predictor.method != "full_scale":
        return None
    counts = shot.counts if shot.valid is None else shot.counts[shot.valid]
    share = float((counts > FULL_SCALE).mean()) if counts.size else 0.0
    if not share:
        return None
    said = f"{share:.1%} of its pixels are above 14 bits, which this run's normalisation full_scale maps to 1"
    return Fault("beyond_full_scale", shot.name, said, "use a run with the normalisation snippet or frame")


def _with_limits(predictor: Predictor, items: Sequence[Item]) -> list[Item]:
    """The items, each loading its frame with the limits of the whole sequence."""
    limits = {
        sequence: predictor.limits(one.load() for one in _spread(members, LIMIT_FRAMES))
        for sequence, members in _by_sequence(items).items()
    }

    def load(item: Item) -> Shot:
        return dataclasses.replace(item.load(), limits=limits[item.sequence])

    return [dataclasses.replace(item, load=functools.partial(load, item)) for item in items]


def _by_sequence(items: Sequence[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.sequence, []).append(item)
    return found


def _spread(members: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of them, evenly over their whole length."""
    return [members[i] for i in np.unique(np.linspace(0, len(members) - 1, count).astype(int))]


def _ranges(predictor: Predictor, items: Sequence[Item], request: Request) -> dict[str, tuple[float, float]]:
    """The depths of the nearest and the farthest colour, one pair for every sequence."""
    near, far = request.depth_range
    ranges = {}
    for sequence, members in _by_sequence(items).items():
        low, high = near or 0.1, far or 100.0
        if "vis" in request.save and (near is None or far is None):
            found = list(predictor.infer_many(one.load() for one in _spread(members, RANGE_FRAMES)))
            depths = np.concatenate([one.depth[one.mask] for one in found])
            if depths.size:
                fitted = np.percentile(depths, [2, 98])
                low, high = near or float(fitted[0]), far or float(fitted[1])
        ranges[sequence] = (low, max(high, low * 1.01))
    return ranges


def _predicted(
    predictor: Predictor, items: Sequence[Item], files: Sequence[dict[str, Path]]
) -> Iterator[tuple[Item, dict[str, Path], Shot, Prediction]]:
    """Items with their predictions; the frames of a batch are kept, none is read twice for that."""
    from tqdm import tqdm

    kept: list[Shot] = []

    def shots() -> Iterator[Shot]:
        for item in items:
            kept.append(item.load())
            yield kept[-1]

    with tqdm(total=len(items), unit=" frames", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        for item, names, found in zip(items, files, predictor.infer_many(shots()), strict=True):
            yield item, names, kept.pop(0), found
            bar.update()


def _row(
    item: Item, names: dict[str, Path], found: Prediction, depth_range: tuple[float, float], output: Path
) -> dict[str, Any]:
    known = found.depth[found.mask]
    row: dict[str, Any] = {
        "input": item.source,
        "files": {name: path.relative_to(output).as_posix() for name, path in names.items()},
        "size": list(found.depth.shape),
        "K": np.round(found.K.astype(np.float64), 4).tolist(),
        "K_origin": found.K_origin,
        "normalizer": found.normalizer,
        "depth_percentiles": dict(
            zip(("1", "50", "99"), np.percentile(known, [1, 50, 99]).round(4).tolist(), strict=True)
        )
        if known.size
        else None,
        "warnings": [str(fault) for fault in found.warnings],
    }
    if "vis" in names:
        row["colour_range"] = [round(x, 4) for x in depth_range]
    if "png16" in names and known.size:
        row["beyond_png16"] = float((known > outputs.PNG_TOP).mean())  # such pixels are 0 in the PNG
        # How coarse the PNG is where the frame is near: relative depth may be small numbers.
        row["png16_step"] = round(float(outputs.PNG_STEP / np.percentile(known, 1)), 5)
    return row


def about(request: Request, predictor: Predictor) -> dict[str, Any]:
    """What meta.json says of the model."""
    config = predictor.run.config
    return {
        "run": str(request.checkpoint),
        "step": int(predictor.run.step),
        "system": config.system.name,
        "dataset": config.data.dataset,
        "network_size": list(predictor.image_size),
    }


def _meta(
    request: Request, predictor: Predictor, warnings: Sequence[str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    meta = {
        "model": about(request, predictor),
        "scale_type": predictor.run.system.scale,
        "depth": "metres along z"
        if predictor.run.system.scale == "metric"
        else "z up to an unknown factor"
        if predictor.run.system.scale == "relative"
        else "inverse depth is known up to a factor and a shift",
        "resizing": "frames are resized to network_size, depth back by bilinear interpolation of inverse depth",
        "colormap": request.colormap,
        "warnings": list(warnings),
        "frames": rows,
    }
    if predictor.has_spread:
        meta["confidence"] = {
            "meaning": "the probability that depth is within 25 % of the truth, 1 - exp(-ln 1.25 / spread)"
            + ("" if predictor.run.system.scale == "metric" else ", up to the unknown factor"),
            "calibrated": predictor.calibrated,
            "temperature": predictor.temperature,
            "fitted_on": dataclasses.asdict(predictor.calibration)
            if predictor.calibration and predictor.calibrated
            else None,
        }
    return meta
