"""Scores predicted labels on a split: confusion matrices of every frame in one pass, tables from their sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tdepth_jax.data.pipeline import eval_batches
from tdepth_jax.data.transforms import resize_nearest
from tdepth_jax.errors import UserError
from tdepth_jax.losses.segmentation import edge_labels
from tdepth_jax.metrics import segmentation as metrics
from tdepth_jax.metrics.segmentation import LabelProtocol
from tdepth_jax.training.evaluator import Clock, Predict, all_hosts, inputs, inputs_of
from tdepth_jax.training.scoring import rounded, text

TRUTH = "thermal/labels"
EXAMPLE, MASK, COUNTS = 0, 1, 2
EDGE_WIDTH = 2 * len(metrics.EDGE_THRESHOLDS)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame as the network saw it and what it said: raw counts at its size, labels at the true labels' size."""

    thermal: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray


def evaluate(
    predict: Predict,
    source: Any,
    *,
    sees: frozenset[str],
    image_size: tuple[int, int],
    batch_size: int,
    protocols: Sequence[LabelProtocol],
    stride: int = 1,
    host: int = 0,
    hosts: int = 1,
    progress: Callable[..., Iterable] = lambda batches, **_: batches,
) -> dict[str, Any]:
    """Scores `predict` on a split with label maps.

    Args:
      predict: batch -> {"labels": Int[b h w], optionally "edges": Float[b u v 1]}; jitted by the caller.
      source: an opened split whose labels are the method's classes (`data.classes.relabelled`).
      sees: batch keys that `predict` reads beside the thermal image.
      image_size: (height, width) the network sees. Labels are compared at the true ones' size: predicted ones are
        brought there by nearest neighbour.
      protocols: how per-class figures become one.
      stride: score every n-th frame.

    Returns:
      A result that json can write: "classes", "images", "without_labels", "confusion" (rows: true class), "protocols":
      [{"name", "describe", "groups": [{"kind", "name", "images", "pixels", "metrics", "absent"}]}], "frames",
      "images_per_sec", "stride". Groups are all frames, the conditions and what the protocol combines of them. Their
      metrics are "macc", "miou", "acc/<class>", "iou/<class>" and, where the method finds edges, "edge_iou"; those of
      all frames also "macc/<condition>" and "miou/<condition>".

    Raises:
      UserError: the split has no label maps, lacks what the method looks at, or no frame has a labelled pixel.
    """
    _require(source, sees)
    names = list(source.metadata["label_names"])
    rows, clock = [], Clock()
    batches = _batches(source, sees, image_size, batch_size, host, hosts, stride)
    total = math.ceil(math.ceil(len(source) / stride) / batch_size)
    for batch in progress(batches, total=total):
        with clock:
            found = {k: np.asarray(v) for k, v in predict(_seen(batch, sees)).items()}
        rows.append(_rows(batch, found, len(names)))
    table = all_hosts(np.concatenate(rows))
    table = table[table[:, MASK] > 0]
    table = table[np.argsort(table[:, EXAMPLE], kind="stable")]
    result = _result(table, source.table, names, protocols)
    return result | {"images_per_sec": clock.rate(batch_size), "stride": stride}


def revisit(
    predict: Predict,
    source: Any,
    examples: Sequence[int],
    *,
    sees: frozenset[str],
    image_size: tuple[int, int],
) -> list[Frame]:
    """Predicts single frames once more, in the order given; for pictures."""
    found = []
    for example in examples:
        one: Any = _One(source, example)
        (batch,) = _batches(one, sees, image_size, 1, 0, 1, 1)
        truth = batch[TRUTH][0]
        labels = np.asarray(predict(_seen(batch, sees))["labels"])[0]
        found.append(Frame(batch["thermal/image"][0, ..., 0], resize_nearest(labels, truth.shape), truth))
    return found


class _One:
    """One frame of a source as a source of its own."""

    def __init__(self, source: Any, example: int):
        self._source, self._example = source, example

    def __len__(self) -> int:
        return 1

    def read(self, i: int, keys: Any = None) -> Any:
        return self._source.read(self._example, keys)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there yet: a copy is being unpickled
            raise AttributeError(name)
        return getattr(self._source, name)


def headline(result: Mapping[str, Any]) -> dict[str, float]:
    """What a training log keeps of a result: {"rtfnet/miou": 0.5, "rtfnet/miou/night": 0.4, …}."""
    found: dict[str, float | None] = {}
    for protocol in result["protocols"]:
        name = protocol["name"]
        for group in protocol["groups"]:
            if group["kind"] == "overall":
                found |= {
                    f"{name}/{m}": v for m, v in group["metrics"].items() if m in ("macc", "miou", "edge_iou")
                }
            else:
                found[f"{name}/miou/{group['name']}"] = group["metrics"]["miou"]
    return {k: v for k, v in found.items() if v is not None}


def _require(source: Any, sees: frozenset[str]) -> None:
    where = f"{source.name}/{source.split}"
    if TRUTH not in source.features:
        raise UserError(
            f"{where} has no {TRUTH}, so labels cannot be scored; it has {', '.join(sorted(source.features))}"
        )
    if missing := sees - source.features:
        raise UserError(
            f"this run's network looks at {', '.join(sorted(missing))}, which {where} does not have"
        )


def _batches(
    source: Any,
    sees: frozenset[str],
    image_size: tuple[int, int],
    size: int,
    host: int,
    hosts: int,
    stride: int,
) -> Iterable[Mapping[str, np.ndarray]]:
    keys = inputs_of(source) | {TRUTH} | sees
    return eval_batches(
        source, keys=keys, image_size=image_size, batch_size=size, host=host, hosts=hosts, stride=stride
    )


def _seen(batch: Mapping[str, np.ndarray], sees: frozenset[str]) -> dict[str, np.ndarray]:
    return inputs(batch) | {key: batch[key] for key in sees}


def _rows(batch: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """A row per frame: EXAMPLE, MASK, its confusion matrix, and edges' (intersection, union) where there are some."""
    if "labels" not in found:
        raise UserError(f"this run predicts {', '.join(sorted(found))} and no labels")
    width = COUNTS + classes**2 + (EDGE_WIDTH if "edges" in found else 0)
    rows = np.zeros((len(batch["mask"]), width), np.int64)
    rows[:, EXAMPLE], rows[:, MASK] = batch["example"], batch["mask"]
    for i in np.nonzero(batch["mask"])[0]:
        truth = batch[TRUTH][i]
        labels = resize_nearest(found["labels"][i], truth.shape)
        rows[i, COUNTS : COUNTS + classes**2] = metrics.confusion(labels, truth, classes).reshape(-1)
        if "edges" in found:
            edges = found["edges"][i, ..., 0]
            true, known = (np.asarray(x)[0, ..., 0] for x in edge_labels(truth[None], edges.shape))
            rows[i, COUNTS + classes**2 :] = metrics.edge_counts(edges, true, known).reshape(-1)
    return rows


def _result(
    table: np.ndarray, frames: np.ndarray, names: list[str], protocols: Sequence[LabelProtocol]
) -> dict[str, Any]:
    n = len(names)
    matrices = table[:, COUNTS : COUNTS + n * n].reshape(-1, n, n)
    edges = table[:, COUNTS + n * n :].reshape(len(table), -1, 2)
    labelled = matrices.sum((1, 2)) > 0
    if not labelled.any():
        raise UserError(f"none of the {len(table)} frames has a labelled pixel: nothing can be scored")
    matrices, edges, where = matrices[labelled], edges[labelled], table[labelled, EXAMPLE]
    conditions = np.array([text(c) for c in frames["condition"][where]])
    cuts = [("overall", "all", np.ones(len(where), bool))]
    if len(set(conditions)) > 1:
        cuts += [("condition", name, conditions == name) for name in sorted(set(conditions))]
    scored: list[dict[str, Any]] = [
        {
            "name": protocol.name,
            "describe": protocol.describe,
            "absent": protocol.absent,
            "groups": [
                _group(kind, name, matrices[of], edges[of], names, protocol) for kind, name, of in cuts
            ],
        }
        for protocol in protocols
    ]
    by = {name: matrices[of] for kind, name, of in cuts if kind == "condition"}
    for row, asked in zip(scored, protocols, strict=True):
        if asked.combined and by.keys() >= set(asked.combined):
            parts = [by[name] for name in asked.combined]
            row["groups"].append(_combined(parts, bool(edges.size), names, asked))
    for protocol in scored:  # so that a table can ask for them by one name
        overall, *others = protocol["groups"]
        for group in others:
            overall["metrics"] |= {f"{m}/{group['name']}": group["metrics"][m] for m in ("macc", "miou")}
    return {
        "classes": names,
        "images": len(where),
        "without_labels": int((~labelled).sum()),
        "confusion": matrices.sum(0).tolist(),
        "protocols": scored,
        "frames": [_frame(frames[i], int(i), matrix) for i, matrix in zip(where, matrices, strict=True)],
    }


def _group(
    kind: str, name: str, matrices: np.ndarray, edges: np.ndarray, names: list[str], protocol: LabelProtocol
) -> dict[str, Any]:
    found = metrics.finish(matrices.sum(0), protocol, names)
    more = {"edge_iou": metrics.edge_iou(edges.sum(0))} if edges.size else {}
    return _listed(kind, name, matrices, found, more, names)


def _combined(
    parts: Sequence[np.ndarray], with_edges: bool, names: list[str], protocol: LabelProtocol
) -> dict[str, Any]:
    """The mean of several conditions, class by class."""
    found = metrics.combine([metrics.finish(p.sum(0), protocol, names) for p in parts], protocol, names)
    more = {"edge_iou": None} if with_edges else {}
    return _listed("combined", "combined", np.concatenate(parts), found, more, names)


def _listed(
    kind: str,
    name: str,
    matrices: np.ndarray,
    found: Mapping[str, Any],
    more: Mapping[str, float | None],
    names: list[str],
) -> dict[str, Any]:
    values = {"macc": found["macc"], "miou": found["miou"], **more}
    for i, label in enumerate(names):
        values |= {f"acc/{label}": found["acc"][i], f"iou/{label}": found["iou"][i]}
    return {
        "kind": kind,
        "name": name,
        "images": len(matrices),
        "pixels": matrices.sum((0, 2)).tolist(),
        "metrics": {k: None if v is None else rounded(v) for k, v in values.items()},
        "interval": {},
        "absent": [names[i] for i in found["absent"]],
    }


def _frame(row: np.void, example: int, matrix: np.ndarray) -> dict[str, Any]:
    found = metrics.finish(matrix, metrics.PROTOCOLS["present"])
    return {
        "example": example,
        "sequence": text(row["sequence"]),
        "index": int(row["index"]),
        "condition": text(row["condition"]),
        "right": rounded(np.trace(matrix) / matrix.sum()),
        "miou": rounded(found["miou"]),
    }
