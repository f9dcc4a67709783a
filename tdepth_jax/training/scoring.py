"""The arithmetic of an evaluation: batches to one row of numbers per frame, rows to tables.

Rows are all that has to travel between hosts. Everything a table groups by (condition, sequence, distance band, hot
and cold region) is formed from them at the end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import bootstrap
from tdepth_jax.metrics import depth as metrics
from tdepth_jax.metrics.baselines import Profile
from tdepth_jax.metrics.protocols import Protocol

VALID = "thermal/valid"
NAMED_FAILURES = 20  # frames named one by one in a result; the rest are counted

Baselines = Mapping[Protocol, tuple[Profile, Profile]]


def truth_of(camera: str) -> str:
    """The key of a camera's true depth."""
    return f"{camera}/depth"


class Scorer:
    """One row of numbers per frame: EXAMPLE, MASK, BAD, then the sums of each (predictor, protocol)."""

    EXAMPLE, MASK, BAD, SUMS = 0, 1, 2, 3

    def __init__(
        self,
        protocols: Sequence[Protocol],
        edges: Sequence[float],
        baselines: Baselines,
        *,
        camera: str = "thermal",
    ):
        self.camera = camera
        self.regions = metrics.REGIONS if camera == "thermal" else ()  # of temperature
        self.protocols = tuple(protocols)
        self.edges = edges
        self.baselines = baselines
        self.keys = list(dict.fromkeys(p.sums_key for p in protocols))
        self.bands = {key: metrics.bands(key, edges) for key in self.keys}
        self._slots: dict[tuple[str, Protocol], slice] = {}
        start = self.SUMS
        for key in self.keys:
            for who in ("prediction", *(profile.name for profile in baselines.get(key, ()))):
                width = (len(self.bands[key]) + len(self.regions)) * len(metrics.SUMS)
                self._slots[who, key] = slice(start, start + width)
                start += width
        self._width = start

    def rows(self, batch: Mapping[str, np.ndarray], predicted: Float[np.ndarray, "b h w 1"]) -> np.ndarray:
        """A row per frame of the batch; where "mask" is False it says so and means nothing else."""
        truth, mask = np.asarray(batch[truth_of(self.camera)]), np.asarray(batch["mask"])
        size = (truth.shape[1], truth.shape[2])
        heat = _at_size(batch["thermal/image"], size) if self.regions else None
        valid = usable(batch, size, self.camera)
        rows = np.zeros((len(mask), self._width))
        rows[:, self.EXAMPLE] = batch["example"]
        rows[:, self.MASK] = mask
        rows[:, self.BAD] = (~np.isfinite(predicted)).sum((1, 2, 3))
        for key in self.keys:
            by = {"prediction": predicted}
            for profile in self.baselines.get(key, ()):
                still = profile.predict(size)[None, ..., None]
                by[profile.name] = np.broadcast_to(still, truth.shape)
            for who, depth in by.items():
                sums = metrics.batch_sums(
                    depth, truth, key, mask=mask, valid=valid, thermal=heat, edges=self.edges
                )
                rows[:, self._slots[who, key]] = sums.reshape(len(mask), -1)
        return rows

    def result(self, table: np.ndarray, frames: np.ndarray, samples: int) -> dict[str, Any]:
        """What the rows of all frames say, ready for json.

        Returns:
          "images", "without_depth", "failures", "protocols" (see `_protocol`) and "frames", one entry per scored
          frame with its metrics under the "frames_key" of a protocol.

        Raises:
          UserError: no frame has ground truth in range.
        """
        pixels = [self._bands_of(table, "prediction", key)[..., 0].sum(1) for key in self.keys]
        known = np.any([n > 0 for n in pixels], axis=0)
        without = int((~known).sum())
        table = table[known]
        if not len(table):
            key = self.keys[0]
            raise UserError(
                f"none of the {without} frames has ground truth between {key.min_depth:g} and "
                f"{key.max_depth:g} m: nothing can be scored"
            )
        where = table[:, self.EXAMPLE].astype(int)
        return {
            "images": len(table),
            "without_depth": without,
            "failures": self._failures(table, frames),
            "protocols": [self._protocol(p, table, frames[where], samples) for p in self.protocols],
            "frames": self._frames(table, frames, where),
        }

    def _protocol(self, protocol: Protocol, table: np.ndarray, frames: np.ndarray, samples: int) -> dict:
        """{"name", "short_name", "describe", "frames_key", the fields, "groups": [`_group`], "baselines": [{…}]}."""
        baselines = [
            {
                "name": profile.name,
                "fit": profile.fit,
                "groups": self._groups(protocol, profile.name, table, frames, 0),
            }
            for profile in self.baselines.get(protocol.sums_key, ())
        ]
        return {
            "name": protocol.name,
            "short_name": protocol.short_name,
            "describe": protocol.describe(),
            "frames_key": self.frames_key(protocol),
            **dataclasses.asdict(protocol),
            "groups": self._groups(protocol, "prediction", table, frames, samples),
            "baselines": baselines,
        }

    def frames_key(self, protocol: Protocol) -> str:
        """The name of the first protocol that shares this one's sums: frames are scored once for all of them."""
        first = next(p for p in self.protocols if p.sums_key == protocol.sums_key)
        own = first.alignment if first.averaging != "per_range" else f"{first.alignment}_per_range"
        return first.published or own

    def _groups(
        self, protocol: Protocol, who: str, table: np.ndarray, frames: np.ndarray, samples: int
    ) -> list[dict]:
        """Overall; then, where there are several, conditions and sequences; then bands and regions."""
        bands = self._bands_of(table, who, protocol)
        ranged = protocol.averaging == "per_range"
        whole = bands if ranged else bands.sum(1)
        sequences = np.array([text(s) for s in frames["sequence"]])
        every = np.ones(len(table), bool)
        cuts = [("overall", "all", whole, every)]
        for kind, names in (("condition", [text(c) for c in frames["condition"]]), ("sequence", sequences)):
            of, found = np.array(names), sorted(set(names))
            if len(found) > 1:
                cuts += [(kind, name, whole[of == name], of == name) for name in found]
        if not ranged:  # whose bands are its averaging
            cuts += [("band", b.name, bands[:, i], every) for i, b in enumerate(self._bands(protocol))]
            regions = self._all(table, who, protocol)[:, len(self._bands(protocol)) :]
            cuts += [("region", name, regions[:, i], every) for i, name in enumerate(self.regions)]
        return [_group(kind, name, rows, sequences[of], protocol, samples) for kind, name, rows, of in cuts]

    def _bands(self, protocol: Protocol) -> tuple[metrics.Band, ...]:
        return self.bands[protocol.sums_key]

    def _all(self, table: np.ndarray, who: str, protocol: Protocol) -> Float[np.ndarray, "n rows sums"]:
        flat = table[:, self._slots[who, protocol.sums_key]]
        return flat.reshape(len(table), -1, len(metrics.SUMS))

    def _bands_of(self, table: np.ndarray, who: str, protocol: Protocol) -> Float[np.ndarray, "n bands sums"]:
        return self._all(table, who, protocol)[:, : len(self._bands(protocol))]

    def _failures(self, table: np.ndarray, frames: np.ndarray) -> dict[str, Any]:
        bad = table[table[:, self.BAD] > 0]
        named = [
            {
                **_where(frames, int(row[self.EXAMPLE])),
                "what": f"{int(row[self.BAD])} predicted depths are not finite",
            }
            for row in bad[:NAMED_FAILURES]
        ]
        return {"count": len(bad), "named": named}

    def _frames(self, table: np.ndarray, frames: np.ndarray, where: np.ndarray) -> list[dict]:
        rows: list[dict[str, Any]] = [_where(frames, int(i)) for i in where]
        for number, key in enumerate(self.keys):
            sums = self._bands_of(table, "prediction", key)
            averaged = sums if key.averaging == "per_range" else sums.sum(1)
            values = metrics.of_images(averaged, key.averaging)
            for row, value, pixels in zip(rows, values, sums[..., 0].sum(1), strict=True):
                if number == 0:
                    row["pixels"] = int(pixels)
                row[self.frames_key(key)] = dict(zip(metrics.METRICS, map(rounded, value), strict=True))
        return rows


def _group(
    kind: str, name: str, rows: np.ndarray, sequences: np.ndarray, protocol: Protocol, samples: int
) -> dict[str, Any]:
    found = metrics.finish(rows, protocol.averaging, sequences)
    spread = bootstrap.intervals(rows, protocol.averaging, sequences, samples=samples) if samples else {}
    pixels = rows[..., 0].reshape(len(rows), -1).sum(1)
    return {
        "kind": kind,
        "name": name,
        "images": int((pixels > 0).sum()),
        "sequences": len(set(sequences[pixels > 0])),
        "pixels": int(pixels.sum()),
        "metrics": {k: rounded(v) for k, v in found.items()},
        "interval": {k: [rounded(low), rounded(high)] for k, (low, high) in spread.items()},
    }


def usable(
    batch: Mapping[str, np.ndarray], size: tuple[int, int], camera: str = "thermal"
) -> np.ndarray | None:
    """The thermal sensor's usable pixels (no bonnet, no dead pixel) at the ground truth's size."""
    if VALID not in batch or camera != "thermal":
        return None
    return _at_size(batch[VALID], size) > 0.5


def _at_size(images: np.ndarray, size: tuple[int, int]) -> Float[np.ndarray, "b H W 1"]:
    """Images at another size by nearest neighbour: no value is made up."""
    maps = [metrics.resize_depth(image[..., 0], size, "nearest") for image in np.asarray(images, np.float32)]
    return np.stack(maps)[..., None]


def _where(frames: np.ndarray, example: int) -> dict[str, Any]:
    row = frames[example]
    return {
        "example": example,
        "sequence": text(row["sequence"]),
        "index": int(row["index"]),
        "condition": text(row["condition"]),
    }


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def rounded(value: float) -> float | None:
    """Six significant digits; None for what is not a number (JSON has no NaN)."""
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None
