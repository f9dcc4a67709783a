"""Where a run of the confidence method trusts its RGB teacher: a picture by condition, and figures.

  python benchmarks/confidence_maps.py data/world:new_scene runs/world_confidence_adapt -o confidence.png

Each row of the picture is thermal image, student's inverse depth, RGB image, teacher's inverse depth, and confidence in
the teacher's view (its logarithm: black = 0.001 or less, white = 1). The table has, where the data has RGB depth, the
error (Abs Rel) of the teacher by condition: of all pixels, and of the fifths trusted least and most. A confidence
worth its name has the larger error in the first.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator

import cv2
import jax
import numpy as np

from tdepth_jax import systems
from tdepth_jax.data import pipeline, sources
from tdepth_jax.data.transforms import resize_nearest
from tdepth_jax.errors import UserError, run_door
from tdepth_jax.training.restore import Run, load_run

MAX_DEPTH = 80.0


def frames(run: Run, source: sources.FrameSource) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(condition, batch of one frame) in order."""
    keys = {key for key in run.system.needs if not key.endswith("/depth")}
    truth = {"rgb/depth"} & source.features
    conditions = source.table["condition"]
    with pipeline.eval_batches(
        source,
        keys=frozenset(keys | truth),
        image_size=tuple(run.config.data.image_size),
        batch_size=1,
        stride=run.config.eval.stride,
    ) as batches:
        for batch in batches:
            yield str(conditions[int(batch["example"][0])]), batch


def examine(run: Run, source: sources.FrameSource) -> list[dict]:
    """Of every frame: its condition, its confidence and the teacher's relative errors (pixels alike), its picture."""
    # The label-free form of the run has the teacher as a function of its own, whatever stage the run was.
    config = run.config.copy_and_resolve_references()
    with config.unlocked():
        config.system.stage, config.system.distill_weight = "label_free", 1.0
    system = systems.make(config)
    assert system.teacher is not None
    assert system.panels is not None
    teacher, panels = (jax.jit(functools.partial(f, run.variables)) for f in (system.teacher, system.panels))
    size = tuple(run.config.data.image_size)
    found = []
    for condition, batch in frames(run, source):
        truth = batch.pop("rgb/depth", None)
        picture = np.asarray(panels(batch)["views_and_confidence"])[0]
        depth = np.asarray(teacher(batch)["depth"])[0, ..., 0]
        trust = picture[:, -size[1] :, 0] / 255.0
        error = np.full(size, np.nan)
        if truth is not None:
            true = resize_nearest(truth[0, ..., 0], size)
            known = (true > 0) & (true < MAX_DEPTH)
            error[known] = np.abs(depth - true)[known] / true[known]
        found.append({"condition": condition, "trust": trust, "error": error, "picture": picture})
    return found


def table(found: list[dict]) -> str:
    lines = [f"{'condition':<12} {'frames':>6} {'teacher':>8} {'least fifth':>11} {'most fifth':>10}"]
    for condition in sorted({one["condition"] for one in found}):
        group = [one for one in found if one["condition"] == condition]
        trust, error = (np.concatenate([one[k].ravel() for one in group]) for k in ("trust", "error"))
        trust, error = trust[np.isfinite(error)], error[np.isfinite(error)]
        if not len(error):
            lines.append(f"{condition:<12} {len(group):>6}        –           –          –")
            continue
        order = np.argsort(trust)
        fifth = len(order) // 5
        means = (error.mean(), error[order[:fifth]].mean(), error[order[-fifth:]].mean())
        lines.append(f"{condition:<12} {len(group):>6} {means[0]:>8.3f} {means[1]:>11.3f} {means[2]:>10.3f}")
    return "\n".join(lines)


def sheet(found: list[dict], each: int, scale: int) -> np.ndarray:
    """`each` rows of every condition, spread over its frames, the condition's name on the first."""
    rows = []
    for condition in sorted({one["condition"] for one in found}):
        group = [one for one in found if one["condition"] == condition]
        for i in np.linspace(0, len(group) - 1, min(each, len(group))).round().astype(int):
            row = cv2.resize(group[i]["picture"], None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            cv2.putText(
                row, condition, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA
            )
            rows.append(row)
    return np.concatenate(rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA:SPLIT")
    parser.add_argument("run")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.png")
    parser.add_argument("--rows", type=int, default=2, help="of each condition (2)")
    parser.add_argument("--scale", type=int, default=2, help="of the pictures' pixels (2)")
    flags = parser.parse_args(argv)
    run = load_run(flags.run)
    if run.config.system.name != "confidence":
        raise UserError(f"{flags.run} is a run of {run.config.system.name}, not of the confidence method")
    dataset, _, split = flags.data.rpartition(":")
    found = examine(run, sources.open_split(dataset, split))
    print(table(found))
    cv2.imwrite(flags.output, sheet(found, flags.rows, flags.scale)[..., ::-1])


if __name__ == "__main__":
    run_door(main)
