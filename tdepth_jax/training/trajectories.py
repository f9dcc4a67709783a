"""Scores a system's camera motion on a split with ground-truth poses, beside two motions that see no image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from tdepth_jax.data.pipeline import eval_batches
from tdepth_jax.metrics import pose
from tdepth_jax.training.evaluator import inputs, inputs_of
from tdepth_jax.training.scoring import rounded, text

POSE = "thermal/world_from_camera"
MOST_POINTS = 400  # of a drawn path

Motion = Callable[[Mapping[str, np.ndarray]], Any]

DESCRIBE = (
    f"snippets: every {pose.SNIPPET} consecutive frames, scaled to the ground truth, mean ± standard deviation over "
    f"snippets; ATE = ||g - s·p|| / {pose.SNIPPET}, RE = mean angle, as published for ViViD (Shin et al., 2022; Fan "
    "et al., 2024). Whole trajectories: ATE = root mean square distance after rigid (SE3) or similarity (Sim3) "
    "alignment, RPE = root mean square over steps of one frame at the scale of Sim3; of several, over all their frames"
)


def evaluate(
    motion: Motion,
    source: Any,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    progress: Callable[..., Iterable] = lambda batches, **_: batches,
) -> dict[str, Any] | None:
    """Chains the motion between consecutive frames of every sequence and compares it with the true poses.

    A sequence with gaps, or with frames whose pose is not known, is cut there; each piece of at least five frames is
    a trajectory of its own. Every frame is read, whatever the stride of the depth evaluation.

    Args:
      motion: {"thermal/image": UInt16[b 2 h w 1], "thermal/K": Float[b 3 3], "thermal/valid" where the data set has
        it} -> source_from_target Float[b 4 4], target = the earlier frame; jitted by the caller. Always called with
        full batches.
      source: an opened split whose features hold `POSE`.
      image_size, batch_size, progress: as for `evaluator.evaluate`.

    Returns:
      A result that json can write, or None where no piece is long enough: "describe"; "all", "baselines" (each with
      "name") and "trajectories" ("name" of the sequence, "first" and "last" frame, "path" of truth and prediction)
      with the figures of `pose.finish`.
    """
    motions, truth = _read(motion, source, image_size, batch_size, progress)
    pieces = _pieces(source.table, np.isfinite(truth).all((1, 2)))
    if not pieces:
        return None
    found: list[pose.Errors] = []
    rivals: dict[str, list[pose.Errors]] = {pose.STILL: [], pose.AHEAD: []}
    listed = []
    for piece in pieces:
        true = truth[piece]
        predicted = pose.accumulate(motions[piece[1:]])
        errors = pose.errors(predicted, true)
        found.append(errors)
        for name, path in pose.baselines(true).items():
            rivals[name].append(pose.errors(path, true))
        rows = source.table[piece[[0, -1]]]
        listed.append(
            {
                "name": text(rows[0]["sequence"]),
                "first": int(rows[0]["index"]),
                "last": int(rows[1]["index"]),
                **_figures(errors),
                "path": _path(predicted, true),
            }
        )
    return {
        "describe": DESCRIBE,
        "all": {"name": "all", **_figures(pose.join(found))},
        "baselines": [{"name": name, **_figures(pose.join(parts))} for name, parts in rivals.items()],
        "trajectories": listed,
    }


def _read(
    motion: Motion,
    source: Any,
    image_size: tuple[int, int],
    batch_size: int,
    progress: Callable[..., Iterable],
) -> tuple[Float[np.ndarray, "n 4 4"], Float[np.ndarray, "n 4 4"]]:
    """For every frame of the split the motion from the frame before it (of the first: nothing known), and its pose."""
    motions, truth = np.full((2, len(source), 4, 4), np.nan)
    keys = inputs_of(source) | {POSE}
    batches = eval_batches(source, keys=keys, image_size=image_size, batch_size=batch_size)
    last = None
    for batch in progress(batches, total=math.ceil(len(source) / batch_size)):
        images = np.asarray(batch["thermal/image"])
        before = images[:1] if last is None else last
        pairs = np.stack([np.concatenate([before, images[:-1]]), images], axis=1)
        last = images[-1:]
        known = np.asarray(batch["mask"])
        at = np.asarray(batch["example"])[known]
        motions[at] = np.asarray(motion(inputs(batch) | {"thermal/image": pairs}), np.float64)[known]
        truth[at] = np.asarray(batch[POSE], np.float64)[known]
    return motions, truth


def _pieces(table: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Record numbers of every run of consecutive frames with poses that holds a snippet."""
    if not len(table):
        return []
    follows = (table["sequence"][1:] == table["sequence"][:-1]) & (
        table["index"][1:] == table["index"][:-1] + 1
    )
    cuts = np.nonzero(~(follows & known[1:] & known[:-1]))[0] + 1
    runs = np.split(np.arange(len(table)), cuts)
    return [run for run in runs if len(run) >= pose.SNIPPET and known[run].all()]


def _figures(errors: pose.Errors) -> dict[str, float | int | None]:
    found = pose.finish(errors)
    return {name: int(v) if name == "frames" else rounded(v) for name, v in found.items()}


def _path(predicted: pose.Trajectory, truth: pose.Trajectory) -> dict[str, list[list[float]]]:
    """Both paths from above in the first true camera's axes, [right, ahead] in metres; the prediction Sim3-aligned."""
    fit = pose.umeyama(predicted[:, :3, 3], truth[:, :3, 3], with_scale=True)
    camera_from_world = np.linalg.inv(truth[0])
    thin = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).round().astype(int))
    paths = {}
    for name, points in (("truth", truth[:, :3, 3]), ("predicted", fit.apply(predicted[:, :3, 3]))):
        seen = points[thin] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        paths[name] = [[rounded(x) or 0.0, rounded(z) or 0.0] for x, _, z in seen]
    return paths
