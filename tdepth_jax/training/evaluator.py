"""Scores a predictor on a split: every protocol, condition and distance band from one pass over it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt16

from tdepth_jax.data.pipeline import eval_batches
from tdepth_jax.data.transforms import resize_valid
from tdepth_jax.errors import UserError
from tdepth_jax.metrics import depth as metrics
from tdepth_jax.metrics.baselines import Profile
from tdepth_jax.metrics.depth import Protocol

INPUTS = frozenset({"thermal/image", "thermal/K"})
TRUTH = "thermal/depth"
VALID = "thermal/valid"
NAMED_FAILURES = 20  # frames named one by one in a result; the rest are counted

Predict = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
Baselines = Mapping[Protocol, tuple[Profile, Profile]]


def evaluate(
    predict: Predict,
    source: Any,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    protocols: Sequence[Protocol],
    baselines: Baselines | None = None,
    edges: Sequence[float] = metrics.BAND_EDGES,
    stride: int = 1,
    host: int = 0,
    hosts: int = 1,
    samples: int = 1000,
    progress: Callable[..., Iterable] = lambda batches, **_: batches,
) -> dict[str, Any]:
    """Scores `predict` on a split with ground-truth depth.

    Args:
      predict: {"thermal/image": UInt16[b h w 1], "thermal/K": Float[b 3 3]} -> {"depth": Float[b h w 1]} in
        metres; jitted by the caller. Called equally often on every host, always with full batches.
      source: an opened split (`tdepth_jax.data.sources.open_split`).
      image_size: (height, width) the network sees; scoring happens at the ground truth's own size.
      batch_size: over all hosts.
      protocols: what to score under; protocols that differ in averaging alone cost nothing more.
      baselines: `metrics.baselines.fit(...)`, scored beside the prediction.
      edges: inner edges of the distance bands, metres.
      stride: score every n-th frame.
      samples: bootstrap draws behind the 95 % intervals.
      progress: wraps the iterator of batches, e.g. in a bar; called as progress(batches, total=n).

    Returns:
      A result that json can write: "images", "without_depth", "failures", "protocols" (see `_protocol`),
      "frames" (one row per scored frame) and "images_per_sec".

    Raises:
      UserError: the split has no depth, no frame has any in range, or the predictor gives no depth.
    """
    if TRUTH not in source.features:
        raise UserError(
            f"this split has no {TRUTH}, so depth cannot be scored; "
            f"it has {', '.join(sorted(source.features))}"
        )
    batches = eval_batches(
        source,
        keys=_keys(source),
        image_size=image_size,
        batch_size=batch_size,
        host=host,
        hosts=hosts,
        stride=stride,
    )
    total = math.ceil(math.ceil(len(source) / stride) / batch_size)
    result = score(
        predict,
        progress(batches, total=total),
        frames=source.table,
        protocols=protocols,
        baselines=baselines,
        edges=edges,
        samples=samples,
    )
    return result | {"stride": stride}


def score(
    predict: Predict,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    frames: np.ndarray,
    protocols: Sequence[Protocol],
    baselines: Baselines | None = None,
    edges: Sequence[float] = metrics.BAND_EDGES,
    samples: int = 1000,
) -> dict[str, Any]:
    """`evaluate` of batches already made: those of `eval_batches`, with `frames` their source's table."""
    scorer = _Scorer(protocols, edges, baselines or {})
    rows, clock, images = [], _Clock(), 0
    for batch in batches:
        with clock:
            predicted = _depth(predict(_inputs(batch)))
        rows.append(scorer.rows(batch, predicted))
        images = len(predicted)
    if not rows:
        raise UserError("this split has no frames: nothing can be scored")
    table = _all_hosts(np.concatenate(rows))
    table = table[table[:, scorer.MASK] > 0]
    table = table[np.argsort(table[:, scorer.EXAMPLE], kind="stable")]
    return {**scorer.result(table, frames, samples), "images_per_sec": clock.rate(images)}


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame as the predictor saw it and what it said: raw counts, metres, metres, usable pixels or None."""

    thermal: UInt16[np.ndarray, "h w"]
    predicted: Float[np.ndarray, "h w"]
    truth: Float[np.ndarray, "H W"]
    valid: Bool[np.ndarray, "H W"] | None


def revisit(
    predict: Predict,
    source: Any,
    examples: Sequence[int],
    *,
    image_size: tuple[int, int],
    batch_size: int,
) -> list[Frame]:
    """Predicts single frames once more, in the order given; for pictures."""
    found = []
    subset: Any = _Subset(source, examples)
    batches = eval_batches(
        subset,
        keys=_keys(source),
        image_size=image_size,
        batch_size=batch_size,
        host=0,
        hosts=1,
    )
    for batch in batches:
        predicted = _depth(predict(_inputs(batch)))
        truth = np.asarray(batch[TRUTH])
        valid = _usable(batch, (truth.shape[1], truth.shape[2]))
        for i in np.nonzero(batch["mask"])[0]:
            usable = None if valid is None else valid[i, ..., 0]
            found.append(
                Frame(batch["thermal/image"][i, ..., 0], predicted[i, ..., 0], truth[i, ..., 0], usable)
            )
    return found


class _Subset:
    """Some frames of a source, in the order given, as a source of its own."""

    def __init__(self, source: Any, examples: Sequence[int]):
        self._source, self._examples = source, list(examples)
        self.table = source.table[self._examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Any:
        return self._source[self._examples[i]]

    def read(self, i: int, keys: Any = None) -> Any:
        return self._source.read(self._examples[i], keys)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there yet: a copy is being unpickled
            raise AttributeError(name)
        return getattr(self._source, name)


def self_scores(
    loss: Callable[[Mapping[str, np.ndarray]], Mapping[str, tuple]], batches: Iterable
) -> dict[str, float]:
    """A method's own loss terms, averaged over batches of snippets: all there is to say without ground truth.

    Args:
      loss: batch -> {term: (sum, count)}, as a System's update gives it, jitted by the caller.
      batches: training-shaped batches, without augmentation.
    """
    sums: dict[str, np.ndarray] = {}
    for batch in batches:
        for name, (total, count) in loss(batch).items():
            pair = np.stack(np.broadcast_arrays(np.asarray(total, np.float64), np.asarray(count, np.float64)))
            sums[name] = sums.get(name, np.zeros_like(pair)) + pair
    return {name: float((s / np.maximum(n, 1e-12)).sum()) for name, (s, n) in sums.items() if np.any(n > 0)}


def headline(result: Mapping[str, Any]) -> dict[str, float]:
    """What a training log keeps of a result: {"median/abs_rel": 0.1, "median/abs_rel/night": 0.12, …}."""
    found: dict[str, float | None] = {}
    for protocol in result["protocols"]:
        name = protocol["alignment"]
        if protocol["averaging"] != "per_image":
            name += "_pooled"
        for group in protocol["groups"]:
            if group["kind"] == "overall":
                found |= {f"{name}/{m}": group["metrics"][m] for m in ("abs_rel", "rmse", "d1")}
            elif group["kind"] == "condition":
                found[f"{name}/abs_rel/{group['name']}"] = group["metrics"]["abs_rel"]
    return {k: v for k, v in found.items() if v is not None}


def _keys(source: Any) -> frozenset[str]:
    return INPUTS | {TRUTH} | ({VALID} & source.features)


class _Scorer:
    """One row of numbers per frame: EXAMPLE, MASK, BAD, then the sums of each (predictor, protocol)."""

    EXAMPLE, MASK, BAD, SUMS = 0, 1, 2, 3

    def __init__(self, protocols: Sequence[Protocol], edges: Sequence[float], baselines: Baselines):
        self.protocols = tuple(protocols)
        self.edges = edges
        self.baselines = baselines
        self.keys = list(dict.fromkeys(p.sums_key for p in protocols))
        ranges = {(p.min_depth, p.max_depth) for p in protocols}
        if len(ranges) != 1:
            raise UserError(f"protocols of one evaluation share one depth range; got {sorted(ranges)}")
        self.bands = metrics.bands(self.keys[0], edges)
        self.columns = [
            (who, key)
            for key in self.keys
            for who in ("prediction", *(profile.name for profile in baselines.get(key, ())))
        ]

    def rows(self, batch: Mapping[str, np.ndarray], predicted: Float[np.ndarray, "b h w 1"]) -> np.ndarray:
        truth, mask = np.asarray(batch[TRUTH]), np.asarray(batch["mask"])
        valid = _usable(batch, (truth.shape[1], truth.shape[2]))
        size = (len(self.bands), len(metrics.SUMS))
        rows = np.zeros((len(mask), self.SUMS + len(self.columns) * size[0] * size[1]))
        rows[:, self.EXAMPLE] = batch["example"]
        rows[:, self.MASK] = mask
        rows[:, self.BAD] = (~np.isfinite(predicted)).sum((1, 2, 3))
        for key in self.keys:
            by = {"prediction": predicted}
            for profile in self.baselines.get(key, ()):
                still = profile.predict(truth.shape[1:3])[None, ..., None]
                by[profile.name] = np.broadcast_to(still, truth.shape)
            for who, depth in by.items():
                sums = metrics.batch_sums(depth, truth, key, mask=mask, valid=valid, edges=self.edges)
                rows[:, self._slot(who, key)] = sums.reshape(len(mask), -1)
        return rows

    def _slot(self, who: str, key: Protocol) -> slice:
        width = len(self.bands) * len(metrics.SUMS)
        start = self.SUMS + self.columns.index((who, key)) * width
        return slice(start, start + width)

    def sums(self, table: np.ndarray, who: str, protocol: Protocol) -> Float[np.ndarray, "n bands sums"]:
        flat = table[:, self._slot(who, protocol.sums_key)]
        return flat.reshape(len(table), len(self.bands), len(metrics.SUMS))

    def result(self, table: np.ndarray, frames: np.ndarray, samples: int) -> dict[str, Any]:
        known = self.sums(table, "prediction", self.keys[0])[..., 0].sum(1) > 0
        without = int((~known).sum())
        table = table[known]
        if not len(table):
            raise UserError(
                f"none of the {without} frames has ground truth between {self.keys[0].min_depth:g} and "
                f"{self.keys[0].max_depth:g} m: nothing can be scored"
            )
        where = table[:, self.EXAMPLE].astype(int)
        conditions = np.array([_text(c) for c in frames["condition"][where]])
        return {
            "images": len(table),
            "without_depth": without,
            "failures": self._failures(table, frames),
            "bands": [b.name for b in self.bands],
            "protocols": [self._protocol(p, table, conditions, samples) for p in self.protocols],
            "frames": self._frames(table, frames, where),
        }

    def _protocol(self, protocol: Protocol, table: np.ndarray, conditions: np.ndarray, samples: int) -> dict:
        """{"name", "describe", the protocol's fields, "groups": [`_group`, …], "baselines": [{…}]}."""
        groups = self._groups(protocol, "prediction", table, conditions, samples)
        baselines = [
            {
                "name": profile.name,
                "fit": profile.fit,
                "groups": self._groups(protocol, profile.name, table, conditions, 0),
            }
            for profile in self.baselines.get(protocol.sums_key, ())
        ]
        fields = {f: getattr(protocol, f) for f in protocol.__dataclass_fields__}
        return {
            "name": protocol.name,
            "describe": protocol.describe(),
            **fields,
            "groups": groups,
            "baselines": baselines,
        }

    def _groups(
        self, protocol: Protocol, who: str, table: np.ndarray, conditions: np.ndarray, samples: int
    ) -> list[dict]:
        sums = self.sums(table, who, protocol)
        whole = sums.sum(1)
        cuts = [("overall", "all", whole)]
        if len(set(conditions)) > 1:
            cuts += [("condition", c, whole[conditions == c]) for c in sorted(set(conditions))]
        cuts += [("band", band.name, sums[:, i]) for i, band in enumerate(self.bands)]
        return [_group(kind, name, rows, protocol, samples) for kind, name, rows in cuts]

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
        pixels = self.sums(table, "prediction", self.keys[0])[..., 0].sum(1)
        rows = [_where(frames, int(i)) | {"pixels": int(n)} for i, n in zip(where, pixels, strict=True)]
        for key in self.keys:
            values = metrics.from_sums(self.sums(table, "prediction", key).sum(1))
            for row, value in zip(rows, values, strict=True):
                row[key.alignment] = dict(zip(metrics.METRICS, map(_round, value), strict=True))
        return rows


class _Clock:
    """Seconds inside the `with`, without the first time (it compiles)."""

    def __init__(self):
        self._times: list[float] = []

    def __enter__(self):
        self._start = time.perf_counter()

    def __exit__(self, *_):
        self._times.append(time.perf_counter() - self._start)

    def rate(self, batch_size: int) -> float | None:
        later = self._times[1:]
        return _round(batch_size * len(later) / sum(later)) if later else None


def _group(kind: str, name: str, rows: np.ndarray, protocol: Protocol, samples: int) -> dict[str, Any]:
    found = metrics.finish(rows, protocol.averaging)
    spread = metrics.intervals(rows, protocol.averaging, samples=samples) if samples else {}
    return {
        "kind": kind,
        "name": name,
        "images": int((rows[:, 0] > 0).sum()),
        "pixels": int(rows[:, 0].sum()),
        "metrics": {k: _round(v) for k, v in found.items()},
        "interval": {k: [_round(low), _round(high)] for k, (low, high) in spread.items()},
    }


def _depth(outputs: Mapping[str, Any]) -> Float[np.ndarray, "b h w 1"]:
    if "depth" not in outputs:
        raise UserError(f"this run predicts {', '.join(sorted(outputs))} and no depth; only depth is scored")
    return np.asarray(outputs["depth"], np.float32)


def _inputs(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the predictor sees, the usable-pixel mask at the image's size as in training."""
    inputs = {key: batch[key] for key in sorted(INPUTS)}
    if VALID in batch:
        size = inputs["thermal/image"].shape[1:3]
        inputs[VALID] = np.stack([resize_valid(np.asarray(v[..., 0]), size) for v in batch[VALID]])[..., None]
    return inputs


def _usable(batch: Mapping[str, np.ndarray], size: tuple[int, int]) -> np.ndarray | None:
    """The sensor's usable pixels (no bonnet, no dead pixel) at the ground truth's size."""
    if VALID not in batch:
        return None
    maps = [metrics.resize_depth(v[..., 0], size, "nearest") for v in np.asarray(batch[VALID], np.float32)]
    return np.stack(maps)[..., None] > 0.5


def _where(frames: np.ndarray, example: int) -> dict[str, Any]:
    row = frames[example]
    return {
        "example": example,
        "sequence": _text(row["sequence"]),
        "index": int(row["index"]),
        "condition": _text(row["condition"]),
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _round(value: float) -> float | None:
    """Six significant digits; None for what is not a number (JSON has no NaN)."""
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _all_hosts(rows: np.ndarray) -> np.ndarray:
    """Every host's rows on every host. Sent as bytes: JAX would round float64 to float32."""
    if jax.process_count() == 1:
        return rows
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(np.ascontiguousarray(rows).view(np.uint8), tiled=True)
    return np.ascontiguousarray(gathered).view(np.float64)
