"""One evaluation of a run that labels pixels: its tables, its confusion matrix, and its page."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from etils import epath
from jaxtyping import Int, UInt8

from tdepth_jax.data import classes
from tdepth_jax.errors import UserError, nearest
from tdepth_jax.metrics.segmentation import PROTOCOLS, LabelProtocol
from tdepth_jax.reports import frames, html, tables
from tdepth_jax.training import segments
from tdepth_jax.training.restore import Run

OPAQUE = 0.55  # of the colours over a thermal image


def protocols(names: Sequence[str] | None, metadata: Mapping[str, Any]) -> tuple[LabelProtocol, ...]:
    """Those named, or the data set's own ("label_protocols" in its metadata) and then all others.

    Raises:
      UserError: a name of no protocol for labels.
    """
    chosen = names or dict.fromkeys((*metadata.get("label_protocols", ()), *PROTOCOLS))
    for name in chosen:
        if name not in PROTOCOLS:
            raise UserError(
                f"--protocol: this run labels pixels, and {name!r} does not; {nearest(name, PROTOCOLS)}"
            )
    return tuple(PROTOCOLS[name] for name in chosen)


def evaluate(
    run: Run, source: Any, *, names: Sequence[str] | None, **how: Any
) -> tuple[dict[str, Any], Any, Any]:
    """(result, relabelled source, jitted predict) of a run on an opened split; `how` as for `segments.evaluate`."""
    source = classes.relabelled(source, run.system.classes)
    predict = functools.partial(jax.jit(run.system.predict), run.variables)
    asked = protocols(names, source.metadata)
    result = segments.evaluate(predict, source, sees=run.system.sees, protocols=asked, **how)
    absent = source.metadata["absent_classes"]
    result["notes"] = [f"{source.name} has no label for {', '.join(absent)}."] if absent else []
    return result, source, predict


def pictures(
    result: Mapping[str, Any], source: Any, predict: Any, run: Run, each: int
) -> dict[str, list[frames.Picture]]:
    """Worst, typical and best frames by their mean IoU over the classes in them, drawn."""
    ordered = sorted(result["frames"], key=lambda row: row["miou"])
    middle = len(ordered) // 2
    picked = {
        "Worst": ordered[:each],
        "Typical": ordered[middle : middle + each],
        "Best": ordered[::-1][:each],
    }
    size = tuple(run.config.data.image_size)
    found = {}
    for title, rows in picked.items():
        shown = segments.revisit(
            predict, source, [r["example"] for r in rows], sees=run.system.sees, image_size=size
        )
        found[title] = [_picture(row, one, result["classes"]) for row, one in zip(rows, shown, strict=True)]
    return found


def _picture(row: Mapping[str, Any], frame: segments.Frame, names: Sequence[str]) -> frames.Picture:
    palette = classes.colours(names)
    grey = frames.stretch(frame.thermal)
    if grey.shape[:2] != frame.truth.shape:
        grey = cv2.resize(grey, frame.truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    wrong = (frame.predicted != frame.truth) & (frame.truth < len(names))
    caption = (
        f"{row['sequence']}, frame {row['index']}, {row['condition']}: mean IoU {row['miou']:.3f}, "
        f"{100 * row['right']:.1f} % of the pixels right"
    )
    panels = {
        "thermal": grey,
        "predicted labels": overlay(grey, frame.predicted, palette),
        "true labels": overlay(grey, frame.truth, palette),
        "wrong pixels": np.where(wrong[..., None], np.array((220, 60, 40), np.uint8), grey // 2),
    }
    return frames.Picture(caption, panels)


def overlay(
    grey: UInt8[np.ndarray, "h w 3"], labels: Int[np.ndarray, "h w"], palette: UInt8[np.ndarray, "n 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture under the colours of its labels; black classes (the rest) and unknown labels leave it as it is."""
    known = labels < len(palette)
    colour = palette[np.where(known, labels, 0)]
    painted = known & colour.any(axis=-1)
    mixed = (1 - OPAQUE) * grey + OPAQUE * colour
    return np.where(painted[..., None], np.round(mixed), grey).astype(np.uint8)


def report(
    workdir: pathlib.Path,
    result: Mapping[str, Any],
    *,
    gallery: Mapping[str, Sequence[frames.Picture]],
    history: Sequence[Mapping[str, Any]],
) -> epath.Path:
    """Writes `eval/<dataset>-<split>/{metrics.json,report.html}` under a run; returns the page's path."""
    folder = epath.Path(workdir) / "eval" / f"{result['dataset']}-{result['split']}".replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    html.write_whole(folder / "metrics.json", numbers)
    html.write_whole(folder / "report.html", render(result, gallery=gallery, history=history))
    return folder / "report.html"


def render(
    result: Mapping[str, Any],
    *,
    gallery: Mapping[str, Sequence[frames.Picture]],
    history: Sequence[Mapping[str, Any]],
) -> str:
    """The page as text."""
    names = result["classes"]
    palette = ["#" + bytes(colour).hex() for colour in classes.colours(names)]
    return html.template("labels.html.j2").render(
        result=result,
        lead=result["protocols"][0],
        percent=percent,
        count=tables.count,
        classes=list(zip(names, palette, strict=True)),
        confusion=_shares(result["confusion"]),
        pictures=html.embedded(gallery),
        curves=html.curves(history),
    )


def _shares(matrix: Sequence[Sequence[int]]) -> list[list[float | None]]:
    """Rows of a confusion matrix as shares of the true class; None for a class without pixels."""
    return [[cell / sum(row) if sum(row) else None for cell in row] for row in matrix]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def overview(result: Mapping[str, Any]) -> str:
    """Everything that an evaluation prints: a table per protocol, a row per group, and per class."""
    parts = [f"{result['model']} on {result['dataset']}, split {result['split']}: {result['images']} frames"]
    parts += [text for text in (result.get("notice"), *result["notes"]) if text]
    if result["without_labels"]:
        parts.append(f"{result['without_labels']} frames have no labelled pixel and are not scored.")
    blocks = ["\n".join(parts)]
    for protocol in result["protocols"]:
        edges = "edge_iou" in protocol["groups"][0]["metrics"]
        header = ["", "images", "mAcc", "mIoU", *(["edge IoU"] if edges else [])]
        columns = ("macc", "miou", *(("edge_iou",) if edges else ()))
        rows = [
            [g["name"], str(g["images"]), *(percent(g["metrics"][m]) for m in columns)]
            for g in protocol["groups"]
        ]
        absent = [
            f"no pixel of {', '.join(g['absent'])} in {g['name']}" for g in protocol["groups"] if g["absent"]
        ]
        said = f" ({'; '.join(absent)})" if absent else ""
        blocks.append(
            f"protocol {protocol['name']}, %: {protocol['describe']}{said}\n{tables.aligned(header, rows)}"
        )
    first = result["protocols"][0]["groups"]
    header = ["class, %", "pixels", *(f"{m} {g['name']}" for g in first for m in ("Acc", "IoU"))]
    rows = [
        [name, tables.count(first[0]["pixels"][i])]
        + [percent(g["metrics"][f"{m}/{name}"]) for g in first for m in ("acc", "iou")]
        for i, name in enumerate(result["classes"])
    ]
    return "\n\n".join([*blocks, tables.aligned(header, rows)])
