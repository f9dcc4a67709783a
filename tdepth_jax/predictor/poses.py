"""The camera's path through a video, from the motions a run predicts: TUM text and a picture; no truth is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdepth_jax.data import tracks
from tdepth_jax.errors import UserError
from tdepth_jax.metrics import pose
from tdepth_jax.predictor.inputs import Item
from tdepth_jax.predictor.model import Predictor
from tdepth_jax.predictor.outputs import write_whole
from tdepth_jax.reports import paths


@dataclasses.dataclass(frozen=True)
class Track:
    """The frames of one sequence, neighbours in time; `name` is where its results go, without a suffix."""

    name: str
    items: tuple[Item, ...]

    def files(self, output: Path) -> dict[str, Path]:
        return {
            "poses": output / f"{self.name}_poses.txt",
            "trajectory": output / f"{self.name}_trajectory.png",
        }


def of(items: Sequence[Item]) -> list[Track]:
    """The sequences of at least two frames in `items`, in order.

    Raises:
      UserError: there is none, or two share a name.
    """
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.sequence, []).append(item)
    walks = [Track(members[0].track, tuple(members)) for members in found.values() if len(members) > 1]
    if not walks:
        raise UserError(
            "--save=poses: the input has no two frames of one sequence; give a folder, a stack or a prepared split"
        )
    names = [walk.name for walk in walks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(
            f"--save=poses: two sequences are called {twice}; predict them into different folders"
        )
    return walks


def write(track: Track, predictor: Predictor, output: Path) -> dict[str, Any]:
    """Predicts and chains the motions of one track; returns what meta.json says of it.

    Poses are world_from_camera; the world is the first camera (x right, y down, z forward).
    """
    files = track.files(output)
    path = pose.accumulate(np.stack(list(predictor.motions(item.load() for item in track.items))))
    metric = predictor.run.system.scale == "metric"
    unit = "metres" if metric else "units of the model's own (one unknown scale)"
    known = [item.seconds for item in track.items if item.seconds is not None]
    timed = len(known) == len(track.items)
    text = f"# world_from_camera, the first camera's axes (x right, y down, z forward); {unit}\n"
    text += f"# {'seconds' if timed else 'number of the frame'}, then tx ty tz qx qy qz qw\n"
    text += tracks.tum(known if timed else range(len(path)), path)
    write_whole(files["poses"], text.encode())
    length = float(np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1).sum())
    drawn = {
        "name": track.name,
        "first": 0,
        "last": len(path) - 1,
        "length": length,
        "unit": "m" if metric else "",
        "path": {"predicted": path[:, [0, 2], 3].tolist()},
    }
    write_whole(files["trajectory"], paths.encode(paths.picture(drawn)))
    ahead = (np.linalg.inv(path[:-1]) @ path[1:])[:, 2, 3]  # along the earlier camera's optical axis
    return {
        "sequence": track.name,
        "frames": len(path),
        "files": {kind: file.relative_to(output).as_posix() for kind, file in files.items()},
        "translation": unit,
        "length": round(length, 6),
        "backwards": round(float((ahead < 0).mean()), 4),
    }


def describe(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What a user should hear of paths that look wrong."""
    for row in rows:
        if row["backwards"] > 0.5:
            yield (
                f"{row['sequence']}: in {row['backwards']:.0%} of its steps the camera is said to drive backwards; "
                "of a camera that drives ahead the motion was not learnt"
            )
