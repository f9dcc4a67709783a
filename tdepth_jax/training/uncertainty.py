"""What an evaluation says of a predicted spread, by condition, raw and with a temperature; and where that is kept.

The temperature that users get is fitted on all frames of the evaluated split. What is reported as calibrated is
cross-fitted: the sequences are halved, and each half is scored with the temperature of the other.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import uncertainty as metrics
from tdepth_jax.metrics.protocols import Protocol
from tdepth_jax.training import scoring
from tdepth_jax.training.scoring import rounded, text

FILE = "confidence.json"
ALIGNMENT = {
    "metric": "none",
    "relative": "median",
}  # by a system's scale: what its users' depth needs to be metres


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """`FILE` of a run: by what its spread is to be multiplied, and how that is known.

    Attributes:
      temperature: b -> temperature · b.
      dataset, split: where it was fitted, on how many `frames`, under which `protocol`.
      step: the checkpoint's; the spread of another one is another.
    """

    temperature: float
    dataset: str
    split: str
    protocol: str
    frames: int
    step: int

    def __post_init__(self):
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"the temperature is {self.temperature}, not above 0")

    def keep(self, workdir: Any) -> None:
        """Writes `FILE` into a run's folder, whole or not at all."""
        path = epath.Path(workdir) / FILE
        temporary = path.parent / f".{FILE}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        temporary.replace(path)


def calibration_of(workdir: Any) -> Calibration | None:
    """What `FILE` in a run's folder says; None where there is none.

    Raises:
      UserError: a file that is damaged.
    """
    path = epath.Path(workdir) / FILE
    if not path.exists():
        return None
    try:
        return Calibration(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, or have evaluate write it anew") from error


def suited(protocols: Sequence[Protocol], scale: str) -> Protocol | None:
    """The first protocol under which depth is what users of a run get: as it is where it is metric, scaled per image
    where it is relative. None where no such one is asked for."""
    return next((p for p in protocols if p.alignment == ALIGNMENT.get(scale)), None)


def rows(
    batch: Mapping[str, np.ndarray],
    predicted: Float[np.ndarray, "b h w 1"],
    spread: Float[np.ndarray, "b h w 1"],
    protocol: Protocol,
    camera: str = "thermal",
) -> Float[np.ndarray, "b columns"]:
    """A row per frame of an evaluation's batch, over the pixels that depth is scored on."""
    truth = np.asarray(batch[scoring.truth_of(camera)])
    valid = scoring.usable(batch, (truth.shape[1], truth.shape[2]), camera)
    return metrics.batch_rows(predicted, spread, truth, protocol, mask=np.asarray(batch["mask"]), valid=valid)


def result(
    table: Float[np.ndarray, "n columns"], frames: np.ndarray, protocol: Protocol
) -> dict[str, Any] | None:
    """What the rows of all frames say, ready for json; None where no frame has ground truth in range.

    Returns:
      "protocol", "describe"; "temperature" of all frames and those of the "halves", with what a half is ("halved"); how
      many pixels have an "unusable" spread; "levels" and "fit_levels" (nominal coverages); "groups", see `_group`.
    """
    known = metrics.pixels(table) > 0
    table, frames = table[known], frames[known]
    if not len(table):
        return None
    sequences = np.array([text(s) for s in frames["sequence"]])
    conditions = np.array([text(c) for c in frames["condition"]])
    second, halved = halves(sequences, conditions)
    fitted = None
    if second is not None:
        first_t, second_t = metrics.temperature(table[~second]), metrics.temperature(table[second])
        fitted = np.where(second, first_t, second_t)  # each half has the other's
    cuts = [("overall", "all", np.ones(len(table), bool))]
    for kind, of in (("condition", conditions), ("sequence", sequences)):
        found = sorted(set(of))
        if len(found) > 1:
            cuts += [(kind, name, of == name) for name in found]
    return {
        "protocol": protocol.name,
        "describe": protocol.describe(),
        "temperature": rounded(metrics.temperature(table)),
        "halves": [] if second is None else [rounded(first_t), rounded(second_t)],
        "halved": halved,
        "unusable": metrics.unusable(table),
        "levels": list(metrics.LEVELS),
        "fit_levels": metrics.FIT_LEVELS.tolist(),
        "groups": [
            _group(k, name, table[of], None if fitted is None else fitted[of]) for k, name, of in cuts
        ],
    }


def halves(sequences: np.ndarray, conditions: np.ndarray) -> tuple[Bool[np.ndarray, " n"] | None, str]:
    """(which frames, in their order of time, are of the second half; what a half is).

    Whole sequences, taken in turn within a condition, so that both halves see all conditions where there are enough of
    them. Of one sequence the first and the last frames, of one frame none.
    """
    starts = {name: conditions[np.argmax(sequences == name)] for name in np.unique(sequences)}
    order = sorted(starts, key=lambda name: (starts[name], name))
    if len(order) > 1:
        return np.isin(sequences, order[1::2]), "sequences in turn within a condition"
    if len(sequences) > 1:
        return np.arange(len(sequences)) >= len(
            sequences
        ) // 2, "the first and the last frames of the one sequence"
    return None, "one frame cannot be halved"


def _group(kind: str, name: str, rows: np.ndarray, fitted: np.ndarray | None) -> dict[str, Any]:
    """{"kind", "name", "images", "pixels", "within" (share with an error below 25 %), "errors": {error: {"all", "ause",
    "aurg", "curves": [by spread, oracle]}}, "raw", "calibrated" (None where nothing could be halved): see `_size`}."""
    errors = {}
    for error, curves in metrics.sparsification(rows).items():
        ause, aurg = metrics.areas(curves)
        kept = {} if kind == "sequence" else {"curves": [[rounded(v) for v in c] for c in curves]}
        errors[error] = {"all": rounded(curves[0, 0]), "ause": rounded(ause), "aurg": rounded(aurg), **kept}
    _, true, share = metrics.promises(rows).T
    return {
        "kind": kind,
        "name": name,
        "images": len(rows),
        "pixels": int(metrics.pixels(rows).sum()),
        "within": rounded(np.nansum(true * share)),
        "errors": errors,
        "raw": _size(rows, 1.0),
        "calibrated": None if fitted is None else _size(rows, fitted),
    }


def _size(rows: np.ndarray, temperatures: np.ndarray | float) -> dict[str, Any]:
    """{"coverage" at "levels", "reliability" at "fit_levels", "off" (mean distance of those two), "confidence" (mean),
    "promises": [[confidence said, share that is within 25 %, share of the pixels]]}."""
    promises = metrics.promises(rows, temperatures)
    said, _, share = promises.T
    return {
        "coverage": [rounded(v) for v in metrics.coverage(rows, temperatures)],
        "reliability": [rounded(v) for v in metrics.coverage(rows, temperatures, metrics.FIT_LEVELS)],
        "off": rounded(metrics.miscalibration(rows, temperatures)),
        "confidence": rounded(np.nansum(said * share)),
        "promises": [[rounded(v) for v in one] for one in promises],
    }
