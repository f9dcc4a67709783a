"""A sheet of label maps over thermal images: a row a frame, a column a run; for docs/cekd.md and docs/heatnet.md.

  python benchmarks/label_sheet.py data/world:test --runs supervised=RUN student=RUN teacher=RUN -o sheet.png
  python benchmarks/label_sheet.py shared/real/msrs_pairs --runs supervised=RUN student=RUN -o sheet.png

Of a prepared split the true labels stand first; of a folder of real pairs (NAME_ir.png, NAME_vi.png) the colour image,
which no run sees.
"""

from __future__ import annotations

import argparse
import functools
import pathlib

import cv2
import jax
import numpy as np
from PIL import Image

from tdepth_jax.data import classes
from tdepth_jax.data.sources import open_split
from tdepth_jax.data.transforms import resize_image, resize_nearest
from tdepth_jax.reports import frames
from tdepth_jax.reports.labels import overlay
from tdepth_jax.training import segments
from tdepth_jax.training.restore import Run, load_run

CELL, GAP = (192, 240), 4


def of_split(where: str, runs: dict[str, Run], count: int) -> list[list[np.ndarray]]:
    """Thermal, truth, and every run, of frames spread evenly over a split."""
    dataset, _, split = where.partition(":")
    names = next(iter(runs.values())).system.classes
    palette = classes.colours(names)
    source = classes.relabelled(open_split(dataset, split), names)
    examples = [round((i + 0.5) * len(source) / count) for i in range(count)]
    rows: list[list[np.ndarray]] = [[] for _ in examples]
    for run in runs.values():
        predict = functools.partial(jax.jit(run.system.predict), run.variables)
        size = tuple(run.config.data.image_size)
        found = segments.revisit(predict, source, examples, sees=run.system.sees, image_size=size)
        for row, frame in zip(rows, found, strict=True):
            grey = cv2.resize(frames.stretch(frame.thermal), frame.truth.shape[::-1])
            row += [] if row else [grey, overlay(grey, frame.truth, palette)]
            row.append(overlay(grey, frame.predicted, palette))
    return rows


def of_pairs(folder: pathlib.Path, runs: dict[str, Run], count: int) -> list[list[np.ndarray]]:
    """Thermal, colour, and every run, of pairs spread evenly over a folder."""
    paths = sorted(folder.glob("*_ir.png"))
    rows = []
    for path in (paths[round((i + 0.5) * len(paths) / count)] for i in range(count)):
        counts = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        grey = frames.stretch(counts)
        row = [grey, cv2.imread(str(path).replace("_ir", "_vi"))[..., ::-1]]
        for run in runs.values():
            image = resize_image(counts, tuple(run.config.data.image_size))[None, ..., None]
            batch = {"thermal/image": image, "thermal/valid": np.ones(image.shape, bool)}
            labels = np.asarray(jax.jit(run.system.predict)(run.variables, batch)["labels"])[0]
            row.append(
                overlay(grey, resize_nearest(labels, counts.shape), classes.colours(run.system.classes))
            )
        rows.append(row)
    return rows


def sheet(rows: list[list[np.ndarray]], titles: list[str], legend: Run) -> np.ndarray:
    """The cells under their titles, and the classes' colours below."""
    (h, w), (n, m) = CELL, (len(rows), len(titles))
    canvas = np.full((n * (h + GAP) + 48, m * (w + GAP) - GAP, 3), 255, np.uint8)
    write = functools.partial(cv2.putText, fontFace=0, fontScale=0.45, color=(0, 0, 0), lineType=cv2.LINE_AA)
    for j, title in enumerate(titles):
        write(canvas, title, (j * (w + GAP) + 4, 16))
        for i, row in enumerate(rows):
            canvas[24 + i * (h + GAP) :, j * (w + GAP) :][:h, :w] = cv2.resize(
                row[j], (w, h), interpolation=cv2.INTER_AREA if row[j].shape[0] > h else cv2.INTER_NEAREST
            )
    names = legend.system.classes
    step = canvas.shape[1] // len(names)
    for i, (name, colour) in enumerate(zip(names, classes.colours(names), strict=True)):
        canvas[-18:-4, i * step : i * step + 14] = colour
        write(canvas, name, (i * step + 18, canvas.shape[0] - 6))
    return canvas


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frames", help="DATASET:SPLIT, or a folder of pairs")
    parser.add_argument("--runs", nargs="+", required=True, metavar="TITLE=RUN")
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    flags = parser.parse_args()
    runs = {title: load_run(run) for title, _, run in (one.partition("=") for one in flags.runs)}
    if ":" in flags.frames:
        rows, known = of_split(flags.frames, runs, flags.rows), "true labels"
    else:
        rows, known = of_pairs(pathlib.Path(flags.frames), runs, flags.rows), "colour (not seen)"
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    picture = sheet(rows, ["thermal", known, *runs], next(iter(runs.values())))
    Image.fromarray(picture).quantize(256).save(flags.output)  # a third of the bytes
    print(flags.output)
