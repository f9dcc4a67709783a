"""The predict door's work for runs that label pixels: label maps, overlays, and the share of every class."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import classes
from tdepth_jax.errors import UserError
from tdepth_jax.predictor import inputs, job, outputs
from tdepth_jax.predictor.inputs import Item
from tdepth_jax.predictor.model import Predictor
from tdepth_jax.reports import frames
from tdepth_jax.reports.labels import overlay
from tdepth_jax.thermal.normalize import EIGHT_BIT

SAVES = {"labels": "_labels.png", "overlay": "_overlay.png"}
AREAS = "areas.csv"


def labels_of(checkpoint: Path) -> tuple[str, ...]:
    """The classes that the run in `checkpoint` labels pixels with; none for a run that gives depth."""
    config = checkpoint / "config.json"
    return systems.make(configs.from_json(config, systems.schema)).classes if config.is_file() else ()


def run(request: job.Request, *, warn: Callable[[str], None]) -> tuple[int, float]:
    """Labels frames and writes `request.save` of `SAVES`, areas.csv and meta.json.

    Returns:
      frames, and the seconds that took.

    Raises:
      UserError: before anything is written, for all that can be known before.
    """
    camera = inputs.Camera(request.intrinsics, request.fov_x, request.mask, request.mask_bottom)
    items = inputs.gather(request.inputs, output=request.output, unit=request.unit, camera=camera)
    files = [{name: request.output / f"{item.key}{SAVES[name]}" for name in request.save} for item in items]
    shared = {"areas": request.output / AREAS}
    job.refuse_output(request.output, [*files, shared], overwrite=request.overwrite)
    predictor = Predictor.open(request.checkpoint, step=request.step, batch_size=request.batch_size)
    if predictor.run.system.sees:
        raise UserError(
            f"{request.checkpoint} looks at {', '.join(sorted(predictor.run.system.sees))} too, and predict has "
            "thermal frames alone; give a student's run, or score this one with `tdepth evaluate`"
        )
    warnings = [*_look(items, predictor), *camera.notes]
    if request.strict and warnings:
        raise UserError(f"{warnings[0]} (stopped by --strict)")
    for sentence in warnings:
        warn(sentence)
    started = time.monotonic()
    names = predictor.run.system.classes
    palette = classes.colours(names)
    rows = []
    looked_at, given = itertools.tee(item.load() for item in items)
    bar = tqdm(looked_at, total=len(items), unit=" frames", file=sys.stderr, disable=not sys.stderr.isatty())
    for item, paths, shot, labels in zip(items, files, bar, predictor.label_many(given), strict=True):
        for name, path in paths.items():
            shown = overlay(frames.stretch(shot.counts), labels, palette)
            outputs.write_whole(path, _label_png(labels, palette) if name == "labels" else outputs.png(shown))
        shares = np.bincount(labels.reshape(-1), minlength=len(names)) / labels.size
        rows.append(
            {
                "input": item.source,
                "files": {k: p.relative_to(request.output).as_posix() for k, p in paths.items()},
                "size": list(labels.shape),
                "areas": {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)},
            }
        )
    outputs.write_whole(shared["areas"], _areas(rows, names))
    meta = _meta(request, predictor, warnings, rows, palette)
    outputs.write_whole(request.output / "meta.json", (json.dumps(meta, indent=1) + "\n").encode())
    return len(items), time.monotonic() - started


def _look(items: Sequence[Item], predictor: Predictor) -> list[str]:
    """One sentence for every kind of fault that a label map suffers from.

    A run that was trained on eight-bit images is not told that frames have eight bits, but that they have more.
    """
    eight = predictor.method == "eight_bit"
    found: dict[str, list[str]] = {}
    for item in items:
        shot = item.load()
        for fault in shot.warnings:
            if fault.name not in job.HARMLESS and not (eight and fault.name in ("eight_bit", "assumed")):
                found.setdefault(fault.name, []).append(str(fault))
        if eight and shot.counts.max() > EIGHT_BIT:
            said = f"{item.source} has counts above 255, which this run, trained on 8-bit images, all sees as white"
            found.setdefault("beyond_eight_bit", []).append(f"{said}; stretch it to 8 bits first")
    return [
        several[0] + (f" ({len(several)} such frames)" if len(several) > 1 else "")
        for several in found.values()
    ]


def _label_png(labels: Int[np.ndarray, "h w"], palette: UInt8[np.ndarray, "n 3"]) -> bytes:
    """Class numbers as an 8-bit PNG with the classes' colours as its palette: viewers show colours, readers numbers."""
    from PIL import Image

    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette.reshape(-1).tolist())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _areas(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """The share of every class in every frame."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["input", *names])
    table.writerows([row["input"], *row["areas"].values()] for row in rows)
    return file.getvalue().encode()


def _meta(
    request: job.Request,
    predictor: Predictor,
    warnings: Sequence[str],
    rows: list[dict[str, Any]],
    palette: UInt8[np.ndarray, "n 3"],
) -> dict[str, Any]:
    names = predictor.run.system.classes
    return {
        "model": job.about(request, predictor),
        "classes": [
            {"number": i, "name": name, "colour": palette[i].tolist()} for i, name in enumerate(names)
        ],
        "areas": "shares of the frame's pixels",
        "resizing": "frames are resized to network_size, labels back by nearest neighbour",
        "warnings": list(warnings),
        "frames": rows,
    }
