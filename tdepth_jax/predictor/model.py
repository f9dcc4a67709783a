"""Depth or labels of single thermal frames from a trained run."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from tdepth_jax import systems
from tdepth_jax.data.pipeline import MAX_RADAR_POINTS
from tdepth_jax.data.transforms import resize_image, resize_intrinsics, resize_nearest, resize_valid
from tdepth_jax.errors import UserError
from tdepth_jax.metrics.depth import resize_depth
from tdepth_jax.metrics.uncertainty import confidence
from tdepth_jax.predictor.shots import Shot, intrinsics_of, shot_of
from tdepth_jax.thermal.faults import Fault
from tdepth_jax.thermal.normalize import FULL_SCALE, HIGH, LOW
from tdepth_jax.training import calibration
from tdepth_jax.training.restore import Run, load_run
from tdepth_jax.training.uncertainty import Calibration, calibration_of

FARTHEST = 1e-6  # inverse metres; what is further is as good as infinite


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Depth of one frame, at the frame's own resolution.

    Attributes:
      depth: metres along z where `scale_type` is "metric"; up to one unknown factor where it is "relative".
      mask: where depth is usable: a valid pixel with a finite depth.
      K: intrinsics of the frame's pixels, assumed when `K_origin` says so.
      spread: scale of the Laplace distribution of ln(depth), the run's temperature in it, infinite where the model
        gives none; None for models without one.
      confidence: in [0, 1], the probability that depth is within 25 % of the truth (up to the unknown factor where it
        is relative), from `spread`.
      scale_type: "metric", "relative" or "affine".
      normalizer: how counts became the network's input: method, and the counts that map to 0 and 1.
      warnings: faults of the frame that the depth suffers from.
    """

    depth: Float32[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    K: Float32[np.ndarray, "3 3"]
    K_origin: str
    spread: Float32[np.ndarray, "h w"] | None
    confidence: Float32[np.ndarray, "h w"] | None
    scale_type: str
    normalizer: dict[str, Any]
    warnings: tuple[Fault, ...]


class Predictor:
    """A run's model, ready for frames of any size."""

    def __init__(self, run: Run, *, batch_size: int = 1, calibration: Calibration | None = None) -> None:
        """A run's model.

        Args:
          batch_size: frames in one call of the network; the last batch is filled up, so there is one program.
          calibration: of the run's spread; one of another step is not used.
        """
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; it must be 1 or more")
        self.run, self.batch_size, self.calibration = run, batch_size, calibration
        self.image_size: tuple[int, int] = tuple(run.config.data.image_size)
        # Of counts to the network's input; "" when the system has no choice of it, or sees no thermal image.
        thermal = run.system.camera == "thermal"
        self.method: str = run.config.system.get("normalization", "") if thermal else ""
        self._predict = jax.jit(run.system.predict)

    @classmethod
    def open(cls, workdir: str | os.PathLike, *, step: int | None = None, batch_size: int = 1) -> Predictor:
        """The run in `workdir`, at its latest checkpoint unless `step` says another."""
        return cls(
            load_run(Path(workdir), step=step), batch_size=batch_size, calibration=calibration_of(workdir)
        )

    @property
    def calibrated(self) -> bool:
        """Whether the spread has a temperature that was fitted to this very checkpoint."""
        return self.calibration is not None and self.calibration.step == self.run.step

    @property
    def temperature(self) -> float:
        """By what the model's spread is multiplied."""
        return self.calibration.temperature if self.calibration and self.calibrated else 1.0

    @functools.cached_property
    def has_spread(self) -> bool:
        """Whether the model says how sure it is; asked of its shapes, nothing is computed."""
        colour = np.zeros((*self.image_size, 3), np.uint8) if self.run.system.camera == "rgb" else None
        blank = self._input(Shot(np.zeros(self.image_size, np.uint16), colour=colour))
        batch = {key: value[None] for key, value in blank.items()}
        return "spread" in jax.eval_shape(self.run.system.predict, self.run.variables, batch)

    def infer(
        self,
        image: str | os.PathLike | np.ndarray | Shot,
        K: Float[np.ndarray, "3 3"] | None = None,
        *,
        valid: Bool[np.ndarray, "h w"] | None = None,
    ) -> Prediction:
        """Depth of one frame.

        Args:
          image: a file with one frame, or raw counts [h, w] (uint16; uint8 is taken as contrast-stretched), or
            a `Shot`.
          K: intrinsics in pixels of the frame.
          valid: usable pixels.

        Raises:
          UserError: a file that cannot be read or holds several frames; an array that is no thermal frame.
        """
        return next(self.infer_many([shot_of(image, K, valid)]))

    def infer_many(self, shots: Iterable[Shot]) -> Iterator[Prediction]:
        """Depth of frames in order, `batch_size` at a time; their sizes may differ."""
        for some in _batches(shots, self.batch_size):
            yield from self._batch(some)

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels of a run that labels pixels mean, by number; none of a run that gives depth."""
        classes: tuple[str, ...] = self.run.system.classes
        return classes

    def label(
        self, image: str | os.PathLike | np.ndarray | Shot, *, valid: Bool[np.ndarray, "h w"] | None = None
    ) -> Int[np.ndarray, "h w"]:
        """Numbers of `classes` at every pixel of one frame, given as for `infer`.

        Raises:
          UserError: as `infer`; a run that gives depth.
        """
        return next(self.label_many([shot_of(image, None, valid)]))

    def label_many(self, shots: Iterable[Shot]) -> Iterator[Int[np.ndarray, "h w"]]:
        """Labels of frames in order, `batch_size` at a time; their sizes may differ."""
        if not self.classes:
            raise UserError("this run gives depth and no labels; use infer")
        for some in _batches(shots, self.batch_size):
            outputs = self._run(self._predict, [self._input(shot) for shot in some])
            for shot, labels in zip(some, np.asarray(outputs["labels"]), strict=False):
                yield resize_nearest(labels, shot.counts.shape)

    def motions(self, shots: Iterable[Shot]) -> Iterator[Float[np.ndarray, "4 4"]]:
        """source_from_target of every frame (target) to the next, one fewer than `shots`; float64.

        Translations are metres where `scale` is "metric", otherwise in units of the model's own.

        Raises:
          UserError: the run's method predicts no motion.
        """
        pairs = (
            {**before, "thermal/image": np.stack([before["thermal/image"], after["thermal/image"]])}
            for before, after in itertools.pairwise(map(self._input, shots))
        )
        for some in _batches(pairs, self.batch_size):
            found = np.asarray(self._run(self._motion, some), np.float64)
            yield from found[: len(some)]

    def require_motion(self) -> Any:
        """The method's prediction of motion; raises `UserError` where it has none."""
        if self.run.system.motion is None:
            raise UserError(
                f"this run's method, {self.run.config.system.name}, predicts no camera motion; leave poses away"
            )
        return self.run.system.motion

    def limits(self, shots: Iterable[Shot]) -> tuple[float, float]:
        """The counts that map to 0 and 1 when `shots` are normalised together, for `Shot.limits`.

        One temperature is then one grey value in all of a video, so that depth does not flicker with what comes
        into view; a video whose temperatures drift far loses contrast.

        Raises:
          UserError: the run's normaliser has no range that frames could share.
        """
        if self.method not in ("frame", "snippet"):
            how = f"normalisation {self.method!r}" if self.method else "a normalisation of its own"
            raise UserError(f"this run has {how}: it has no range to share over a sequence")
        values = [_usable_counts(self._input(shot)) for shot in shots]
        return _percentiles(np.concatenate(values)) if values else (0.0, 0.0)

    @functools.cached_property
    def _motion(self) -> Any:
        return jax.jit(self.require_motion())

    def _run(self, program: Any, inputs: Sequence[dict[str, np.ndarray]]) -> Any:
        """What `program` gives for a batch that is filled up with its last frame."""
        filled = _even([*inputs, *[inputs[-1]] * (self.batch_size - len(inputs))])
        return program(self.run.variables, {key: np.stack([one[key] for one in filled]) for key in filled[0]})

    @functools.cached_property
    def _predict_mapped(self) -> Any:
        """The same network behind the normaliser that only divides by 2**14: for counts that `_mapped` made."""
        config = self.run.config.copy_and_resolve_references()  # the run keeps its own
        config.system.normalization = "full_scale"
        return jax.jit(systems.make(config).predict)

    def _batch(self, shots: Sequence[Shot]) -> Iterator[Prediction]:
        if self.classes:
            raise UserError("this run gives labels and no depth; use label")
        inputs = [self._input(shot) for shot in shots]
        normalizers = [self._normalizer(shot, one) for shot, one in zip(shots, inputs, strict=True)]
        predict = self._predict
        if any(shot.limits for shot in shots):
            predict = self._predict_mapped
            inputs = [_mapped(one, how) for one, how in zip(inputs, normalizers, strict=True)]
        outputs = self._run(predict, inputs)
        found = {key: np.asarray(outputs[key], np.float32) for key in ("depth", "spread") if key in outputs}
        for i, (shot, normalizer) in enumerate(zip(shots, normalizers, strict=True)):
            yield self._prediction(shot, normalizer, {key: value[i, ..., 0] for key, value in found.items()})

    def _input(self, shot: Shot) -> dict[str, np.ndarray]:
        """The batch keys of evaluation: what a network saw there, it sees here."""
        height, width = shot.counts.shape
        K, _ = intrinsics_of(shot)
        system = self.run.system
        if system.camera == "rgb" and shot.colour is None:
            raise UserError(
                f"{shot.name}: this run sees RGB images; give colour images or a split that has them"
            )
        image = resize_image(shot.counts if shot.colour is None else shot.colour, self.image_size)
        given = {
            f"{system.camera}/image": image if image.ndim == 3 else image[..., None],
            f"{system.camera}/K": resize_intrinsics(
                K, self.image_size[1] / width, self.image_size[0] / height
            ).astype(np.float32),
        }
        given |= shot.more
        for key in system.sees - given.keys():
            if key.split("/")[0] != "radar":
                raise UserError(
                    f"{shot.name}: this run looks at {key}, which is not there; give a prepared split"
                )
            given[key] = np.zeros(MAX_RADAR_POINTS, bool if key == "radar/valid" else np.float32)
        if "thermal/valid" in self.run.system.wants:
            valid = np.ones(shot.counts.shape, bool) if shot.valid is None else shot.valid
            given["thermal/valid"] = resize_valid(valid, self.image_size)[..., None]
        return given

    def _prediction(self, shot: Shot, normalizer: dict[str, Any], found: dict[str, np.ndarray]) -> Prediction:
        size = shot.counts.shape
        depth, known = upsample_depth(found["depth"], size)
        spread = None
        if "spread" in found:
            b = resize_depth(found["spread"], (size[0], size[1]), "bilinear")  # as evaluation resizes it
            spread = np.where(np.isfinite(b) & (b > 0), np.float32(self.temperature) * b, np.float32(np.inf))
        K, origin = intrinsics_of(shot)
        if self.run.system.intrinsics:
            K = calibration.learnt(self.run.system, self.run.variables, K).astype(np.float32)
            origin = f"learnt in training; {origin} before"
        return Prediction(
            depth=depth,
            mask=known if shot.valid is None else known & shot.valid,
            K=K,
            K_origin=origin,
            spread=spread,
            confidence=None if spread is None else confidence(spread).astype(np.float32),
            scale_type=self.run.system.scale,
            normalizer=normalizer,
            warnings=shot.warnings,
        )

    def _normalizer(self, shot: Shot, given: dict[str, np.ndarray]) -> dict[str, Any]:
        """Method and limits as they are applied to this frame."""
        if self.method not in ("frame", "snippet"):
            return {"method": self.method or "the model's own"}
        method = "sequence" if shot.limits else self.method
        low, high = shot.limits or _percentiles(_usable_counts(given))
        return {"method": method, "low_counts": low, "high_counts": high}


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    waiting = iter(items)
    while some := list(itertools.islice(waiting, size)):
        yield some


def _even(inputs: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The batch's frames with as many radar returns each; those added are not valid. And with the same keys."""
    shared = set.intersection(*(set(one) for one in inputs))  # what some frames of a split lack is optional
    most = max((len(one["radar/valid"]) for one in inputs if "radar/valid" in one), default=0)

    def longer(key: str, value: np.ndarray) -> np.ndarray:
        return np.pad(value, (0, most - len(value))) if key.startswith("radar/") else value

    return [{key: longer(key, one[key]) for key in sorted(shared)} for one in inputs]


def _usable_counts(given: dict[str, np.ndarray]) -> np.ndarray:
    valid = given.get("thermal/valid")
    return given["thermal/image"].reshape(-1) if valid is None else given["thermal/image"][valid > 0]


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, [LOW, HIGH]).tolist()
    return low, high


def _mapped(given: dict[str, np.ndarray], normalizer: dict[str, Any]) -> dict[str, np.ndarray]:
    """The batch with counts mapped to [0, 2**14] by the limits; as floats, so that no level is lost."""
    low, high = normalizer["low_counts"], normalizer["high_counts"]
    unit = np.clip((given["thermal/image"].astype(np.float32) - low) / max(high - low, 1.0), 0.0, 1.0)
    return {**given, "thermal/image": np.float32(FULL_SCALE) * unit}


def upsample_depth(
    depth: Float[np.ndarray, "h w"], size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "h2 w2"], Bool[np.ndarray, "h2 w2"]]:
    """(depth at `size`, where it is known): bilinear on inverse depth, as evaluation resizes it."""
    known = np.isfinite(depth) & (depth > 0)
    inverse: np.ndarray = np.where(known, 1.0 / np.maximum(np.where(known, depth, 1.0), 1e-6), 0.0).astype(
        np.float32
    )
    if depth.shape != size:
        inverse = cv2.resize(inverse, size[::-1], interpolation=cv2.INTER_LINEAR)
        # A pixel mixed from an unknown one is unknown.
        known = cv2.resize(known.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.999
    return np.where(known, 1.0 / np.maximum(inverse, FARTHEST), 0.0).astype(np.float32), known
