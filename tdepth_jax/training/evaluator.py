"""Scores a predictor on a split: every protocol, condition and distance band from one pass over it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from tdepth_jax.data.pipeline import eval_batches
from tdepth_jax.data.transforms import resize_valid
from tdepth_jax.errors import UserError
from tdepth_jax.metrics import depth as metrics
from tdepth_jax.metrics.protocols import Protocol
from tdepth_jax.metrics.uncertainty import confidence
from tdepth_jax.training import scoring, uncertainty
from tdepth_jax.training.scoring import VALID, Baselines, truth_of

RIG = "rgb_from_thermal"  # where what is measured in the thermal camera's axes lies in the RGB one's

Predict = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]


def evaluate(
    predict: Predict,
    source: Any,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    protocols: Sequence[Protocol],
    camera: str = "thermal",
    sees: frozenset[str] = frozenset(),
    spread: Protocol | None = None,
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
      predict: {"thermal/image": UInt16[b h w 1], "thermal/K": Float[b 3 3]} (of `camera`) -> {"depth":
        Float[b h w 1]} in metres; jitted by the caller. Called equally often on every host, always with full batches.
      source: an opened split (`tdepth_jax.data.sources.open_split`).
      image_size: (height, width) the network sees; scoring happens at the ground truth's own size.
      batch_size: over all hosts.
      protocols: what to score under; those that differ in name and averaging alone cost nothing more.
      camera: whose depth is predicted.
      sees: further keys that `predict` reads.
      spread: under what to score the spread of predictions that have one; None: not at all.
      baselines: `metrics.baselines.fit(...)`, scored beside the prediction.
      edges: inner edges of the distance bands, metres.
      stride: score every n-th frame.
      samples: bootstrap draws behind the 95 % intervals.
      progress: wraps the iterator of batches, e.g. in a bar; called as progress(batches, total=n).

    Returns:
      A result that json can write: see `scoring.Scorer.result`, with "images_per_sec" and "stride"; and "uncertainty"
      (`uncertainty.result`) where a spread is predicted, None where it is not to be scored.

    Raises:
      UserError: the split has no depth, no frame has any in range, or the predictor gives no depth.
    """
    require(source, camera, sees)
    batches = eval_batches(
        source,
        keys=inputs_of(source, camera, sees) | {truth_of(camera)},
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
        camera=camera,
        sees=sees,
        spread=spread,
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
    camera: str = "thermal",
    sees: frozenset[str] = frozenset(),
    spread: Protocol | None = None,
    baselines: Baselines | None = None,
    edges: Sequence[float] = metrics.BAND_EDGES,
    samples: int = 1000,
) -> dict[str, Any]:
    """`evaluate` of batches already made: those of `eval_batches`, with `frames` their source's table."""
    scorer = scoring.Scorer(protocols, edges, baselines or {}, camera=camera)
    rows, spreads, clock, images = [], [], Clock(), 0
    for batch in batches:
        with clock:
            outputs = predict(inputs(batch, camera, sees))
            predicted = _depth(outputs)
        rows.append(scorer.rows(batch, predicted))
        if spread and "spread" in outputs:
            b = np.asarray(outputs["spread"], np.float32)
            spreads.append(uncertainty.rows(batch, predicted, b, spread, camera))
        images = len(predicted)
    if not rows:
        raise UserError("this split has no frames: nothing can be scored")
    both = [np.concatenate(rows), *([np.concatenate(spreads)] if spreads else [])]
    table = all_hosts(np.concatenate(both, axis=1))
    table = table[table[:, scorer.MASK] > 0]
    table = table[np.argsort(table[:, scorer.EXAMPLE], kind="stable")]
    result = {**scorer.result(table, frames, samples), "images_per_sec": clock.rate(images)}
    if spread and spreads:
        seen = frames[table[:, scorer.EXAMPLE].astype(int)]
        result["uncertainty"] = uncertainty.result(table[:, rows[0].shape[1] :], seen, spread)
    elif "spread" in outputs:
        result["uncertainty"] = None
    return result


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame as the predictor saw it and what it said.

    Attributes:
      image: raw counts [h w] or colours [h w 3].
      predicted, truth: metres.
      valid: usable pixels or None.
      maps: what the method gives to explain itself by (`System.explain`).
    """

    image: UInt16[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]
    predicted: Float[np.ndarray, "h w"]
    truth: Float[np.ndarray, "H W"]
    valid: Bool[np.ndarray, "H W"] | None
    maps: Mapping[str, Float[np.ndarray, "u v"]] = dataclasses.field(default_factory=dict)


def revisit(
    predict: Predict,
    source: Any,
    examples: Sequence[int],
    *,
    image_size: tuple[int, int],
    batch_size: int,
    camera: str = "thermal",
    sees: frozenset[str] = frozenset(),
    explain: Predict | None = None,
) -> list[Frame]:
    """Predicts single frames once more, in the order given; for pictures. `explain` is a System's, with variables."""
    found = []
    subset: Any = _Subset(source, examples)
    batches = eval_batches(
        subset,
        keys=inputs_of(source, camera, sees) | {truth_of(camera)},
        image_size=image_size,
        batch_size=batch_size,
        host=0,
        hosts=1,
    )
    for batch in batches:
        seen = inputs(batch, camera, sees)
        outputs = predict(seen)
        predicted = _depth(outputs)
        maps = {name: np.asarray(x, np.float32) for name, x in (explain(seen) if explain else {}).items()}
        if "spread" in outputs:
            b = np.asarray(outputs["spread"], np.float32)[..., 0]
            maps["doubt (1 − raw confidence)"] = 1 - confidence(np.where(b > 0, b, np.inf))
        truth = np.asarray(batch[truth_of(camera)])
        valid = scoring.usable(batch, (truth.shape[1], truth.shape[2]), camera)
        for i in np.nonzero(batch["mask"])[0]:
            usable = None if valid is None else valid[i, ..., 0]
            image = (
                batch[f"{camera}/image"][i].squeeze(-1)
                if camera == "thermal"
                else batch[f"{camera}/image"][i]
            )
            found.append(
                Frame(
                    image, predicted[i, ..., 0], truth[i, ..., 0], usable, {n: x[i] for n, x in maps.items()}
                )
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
    """What a training log keeps of a result: {"median/abs_rel": 0.1, "shin2022/abs_rel/night": 0.12, …}."""
    found: dict[str, float | None] = {}
    for protocol in result["protocols"]:
        name = protocol["short_name"]
        for group in protocol["groups"]:
            if group["kind"] == "overall":
                found |= {f"{name}/{m}": group["metrics"][m] for m in ("abs_rel", "rmse", "d1")}
            elif group["kind"] == "condition":
                found[f"{name}/abs_rel/{group['name']}"] = group["metrics"]["abs_rel"]
    return {k: v for k, v in found.items() if v is not None}


def require(source: Any, camera: str, sees: frozenset[str] = frozenset()) -> None:
    """Raises `UserError` unless the split has the camera's true depth and what the method looks at."""
    if truth_of(camera) not in source.features:
        raise UserError(
            f"{source.name}/{source.split} has no {truth_of(camera)}, so depth cannot be scored; "
            f"it has {', '.join(sorted(source.features))}"
        )
    look(source, camera, sees)


def look(source: Any, camera: str, sees: frozenset[str]) -> None:
    """Raises `UserError` unless the split has what a method looks at."""
    if missing := ({f"{camera}/image", f"{camera}/K"} | sees) - source.features:
        raise UserError(
            f"this run's network looks at {', '.join(sorted(missing))}, which {source.name}/{source.split} does not "
            "have"
        )


def inputs_of(source: Any, camera: str = "thermal", sees: frozenset[str] = frozenset()) -> frozenset[str]:
    """The keys that predictors of depth and of motion see, of those the split has."""
    optional = {VALID} if camera == "thermal" else {RIG}
    return frozenset({f"{camera}/image", f"{camera}/K"}) | sees | (optional & source.features)


class Clock:
    """Seconds inside the `with`, without the first time (it compiles)."""

    def __init__(self):
        self._times: list[float] = []

    def __enter__(self):
        self._start = time.perf_counter()

    def __exit__(self, *_):
        self._times.append(time.perf_counter() - self._start)

    def rate(self, batch_size: int) -> float | None:
        later = self._times[1:]
        return scoring.rounded(batch_size * len(later) / sum(later)) if later else None


def _depth(outputs: Mapping[str, Any]) -> Float[np.ndarray, "b h w 1"]:
    if "depth" not in outputs:
        raise UserError(f"this run predicts {', '.join(sorted(outputs))} and no depth; only depth is scored")
    return np.asarray(outputs["depth"], np.float32)


def inputs(
    batch: Mapping[str, np.ndarray], camera: str = "thermal", sees: frozenset[str] = frozenset()
) -> dict[str, np.ndarray]:
    """What the predictor sees, the usable-pixel mask at the image's size as in training."""
    wanted = (
        {f"{camera}/image", f"{camera}/K"} | sees | ({RIG} & batch.keys() if camera != "thermal" else set())
    )
    seen = {key: batch[key] for key in sorted(wanted)}
    if camera == "thermal" and VALID in batch:
        size = seen["thermal/image"].shape[1:3]
        seen[VALID] = np.stack([resize_valid(np.asarray(v[..., 0]), size) for v in batch[VALID]])[..., None]
    return seen


def all_hosts(rows: np.ndarray) -> np.ndarray:
    """Every host's rows on every host. Sent as bytes: JAX would round float64 to float32."""
    if jax.process_count() == 1:
        return rows
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(np.ascontiguousarray(rows).view(np.uint8), tiled=True)
    return np.ascontiguousarray(gathered).view(np.float64)
