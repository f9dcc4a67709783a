"""From a user's recordings to the sequences that are written: cut where video breaks off, and split.

A still is a sequence of one frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from tdepth_jax.data.recordings import LEAST_FRAMES, Seen, Shot
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults
from tdepth_jax.thermal.faults import Fault


@dataclasses.dataclass(frozen=True)
class Camera:
    """What is the same in all frames. `rgb_K` and `rgb_from_thermal` are None without an RGB camera."""

    K: Float[np.ndarray, "3 3"]
    valid: Bool[np.ndarray, "h w"] | None
    unit: str
    rgb_K: Float[np.ndarray, "3 3"] | None = None
    rgb_from_thermal: Float[np.ndarray, "4 4"] | None = None


@dataclasses.dataclass(frozen=True)
class Spec:
    """One sequence to be written; plain values, for worker processes."""

    name: str
    shots: tuple[Shot, ...]
    rgb: tuple[Path, ...] | None
    times: tuple[int, ...]
    poses: tuple[np.ndarray, ...] | None
    condition: str
    camera: Camera

    @property
    def frames(self) -> int:
        return len(self.shots)


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that was looked at, with all that belongs to its frames.

    Attributes:
      keys: what its frames are called.
      rgb: colour files by the number of their frame; None without an RGB camera. Frames without one are left out.
    """

    seen: Seen
    keys: tuple[str, ...]
    times: Int[np.ndarray, " n"]
    poses: Float[np.ndarray, "n 4 4"] | None
    rgb: dict[int, Path] | None
    camera: Camera

    def good(self) -> list[int]:
        """Numbers of the frames that may be written."""
        bad = self.seen.constant | self.seen.repeated
        return [i for i in self._paired() if i not in bad]

    def spec(self, name: str, numbers: Sequence[int], condition: str) -> Spec:
        return Spec(
            name=name,
            shots=tuple(self.seen.shots[i] for i in numbers),
            rgb=None if self.rgb is None else tuple(self.rgb[i] for i in numbers),
            times=tuple(int(self.times[i]) for i in numbers),
            poses=None if self.poses is None else tuple(self.poses[i] for i in numbers),
            condition=condition,
            camera=self.camera,
        )

    def runs(self) -> list[list[int]]:
        """Numbers of frames in a row: cut at constant and repeated frames, and at gaps in time."""
        paired = self._paired()
        good = set(self.good())
        # Among those with a partner: where the RGB camera is slower, every other thermal frame has none.
        late = {paired[i] for i in faults.gaps(self.times[paired]).tolist()}
        runs: list[list[int]] = [[]]
        for number in paired:
            if (number not in good or number in late) and runs[-1]:
                runs.append([])
            if number in good:
                runs[-1].append(number)
        return runs

    def _paired(self) -> list[int]:
        return [i for i in range(len(self.seen.shots)) if self.rgb is None or i in self.rgb]


def video(one: Recording, condition: str) -> tuple[list[Spec], list[Fault]]:
    """The sequences of a recording: no pair of frames crosses a cut. Frames in parts too short are said."""
    runs = [run for run in one.runs() if len(run) >= LEAST_FRAMES]
    name = one.seen.name
    specs = [
        one.spec(name if len(runs) == 1 else f"{name}.{part}", run, condition)
        for part, run in enumerate(runs)
    ]
    lost = len(one.good()) - sum(map(len, runs))
    if not lost:
        return specs, []
    said = f"{lost} of {len(one.seen.shots)} frames stand in parts shorter than {LEAST_FRAMES} frames"
    return specs, [Fault("short", name, said, "they are left out; record longer stretches")]


def stills(one: Recording, conditions: Sequence[str], *, alone: bool) -> list[Spec]:
    """A sequence of every good frame; of one recording among several they are called `recording/frame`."""
    names = [key if alone else f"{one.seen.name}/{key}" for key in one.keys]
    return [one.spec(names[i], [i], conditions[i]) for i in one.good()]


def endings(option: str, text: str) -> dict[str, str]:
    """{ending: condition} of `D=day,N=night`.

    Raises:
      UserError: a part that is not ENDING=CONDITION.
    """
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not parts or not all(ending and condition for ending, _, condition in parts):
        raise UserError(
            f"{option}={text} is not ENDING=CONDITION,...; write for example {option} D=day,N=night"
        )
    return {ending.strip(): condition.strip() for ending, _, condition in parts}


def condition(option: str, name: str, known: dict[str, str]) -> str:
    """That of the longest ending that `name` has.

    Raises:
      UserError: it has none of them.
    """
    fits = [ending for ending in known if name.endswith(ending)]
    if not fits:
        raise UserError(f"{option}: {name!r} ends in none of {', '.join(known)}; add its ending")
    return known[max(fits, key=len)]


def split_video(specs: Sequence[Spec], holdout: float) -> dict[str, tuple[Spec, ...]]:
    """Train, and the end of every sequence as test; parts too short for a snippet are left out."""
    train, test = [], []
    for spec in specs:
        held = round(holdout * spec.frames)
        held = max(held, LEAST_FRAMES) if holdout and spec.frames >= 3 * LEAST_FRAMES else held
        cut = spec.frames - held
        train.append(_part(spec, slice(0, cut)))
        test.append(_part(spec, slice(cut, None)))
    splits = {
        "train": tuple(spec for spec in train if spec.frames >= LEAST_FRAMES),
        "test": tuple(spec for spec in test if spec.frames >= LEAST_FRAMES),
    }
    if not splits["train"]:
        raise UserError(
            f"no sequence has {LEAST_FRAMES} good frames in a row to train on; record longer ones, or lower --holdout "
            "(pictures that are no video: --stills)"
        )
    return {split: found for split, found in splits.items() if found}


def split_stills(specs: Sequence[Spec], holdout: float) -> dict[str, tuple[Spec, ...]]:
    """Train, and of every condition the share `holdout`, evenly spread over its frames, as test."""
    test: set[str] = set()
    for name in dict.fromkeys(spec.condition for spec in specs):
        same = [spec for spec in specs if spec.condition == name]
        held = round(holdout * len(same))
        test |= {same[int((i + 0.5) * len(same) / held)].name for i in range(held)}
    splits = {
        "train": tuple(spec for spec in specs if spec.name not in test),
        "test": tuple(spec for spec in specs if spec.name in test),
    }
    if not splits["train"]:
        raise UserError("no good still is left to train on; give more, or lower --holdout")
    return {split: found for split, found in splits.items() if found}


def _part(spec: Spec, part: slice) -> Spec:
    return dataclasses.replace(
        spec,
        shots=spec.shots[part],
        rgb=None if spec.rgb is None else spec.rgb[part],
        times=spec.times[part],
        poses=None if spec.poses is None else spec.poses[part],
    )
