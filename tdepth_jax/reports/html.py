"""An evaluation as one HTML file that needs nothing else: no network, no script, pictures inside."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from etils import epath
from jaxtyping import UInt8

from tdepth_jax.reports import charts, frames, paths, tables, uncertainty

WORST_ROWS = 20
MOST_TRAJECTORIES = 12  # drawn
_FIRST_CURVES = ("loss", "images_per_sec", "mfu", "abs_rel")  # by the last part of their names
_MOST_CURVES = 9


def report(
    workdir: str | os.PathLike,
    result: Mapping[str, Any],
    *,
    gallery: frames.Gallery | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> epath.Path:
    """Writes `eval/<dataset>-<split>/{metrics.json,report.html}` under a run; returns the page's path.

    Where poses were scored, trajectory-….png show the paths from above. Each file appears whole or not at all.

    Args:
      workdir: the run's directory, local or gs://.
      result: what the evaluator returned, with "model", "dataset", "split", "notice" and "about" added.
      gallery: the frames to show.
      history: the run's metrics.jsonl, one mapping per line.
    """
    folder = (
        epath.Path(workdir) / "eval" / folder_name(result["dataset"], result["split"], result.get("radar"))
    )
    page = render(result, gallery=gallery, history=history)
    numbers = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "metrics.json", numbers)
    for trajectory in (result.get("poses") or {}).get("trajectories", ())[:MOST_TRAJECTORIES]:
        write_whole(folder / paths.file_name(trajectory), paths.encode(paths.picture(trajectory)))
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def folder_name(dataset: str, split: str, radar: str | None = None) -> str:
    """Where an evaluation lies below `eval/`; one with another radar than the data's beside the other."""
    end = f"-radar_{radar}" if radar not in (None, "given") else ""
    return f"{dataset}-{split}{end}".replace("/", "_")


def write_whole(path: epath.Path, content: str | bytes) -> None:
    """Writes beside the target, then renames: no reader ever sees half a file."""
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def render(
    result: Mapping[str, Any],
    *,
    gallery: frames.Gallery | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as text."""
    lead = leading(result) if result["protocols"] else None  # a split may have poses and no depth
    return template("report.html.j2").render(
        result=result,
        lead=_headline(lead) if lead else None,
        shown=tables.SHOWN,
        columns=tables.columns,
        titles=tables.TITLES,
        number=tables.number,
        count=tables.count,
        interval=tables.interval,
        label=tables.label,
        groups=tables.shown,
        ordinal=tables.ordinal,
        histograms=_histograms(result, lead["frames_key"]) if lead else [],
        pictures=embedded(gallery.groups if gallery else {}),
        legend=[_legend(*bar) for bar in gallery.legend] if gallery else [],
        worst=_worst(result, lead["frames_key"]) if lead else [],
        poses=_poses(result.get("poses")),
        uncertainty=uncertainty.section(result.get("uncertainty")),
        curves=curves(history),
    )


def template(name: str) -> Any:
    """A page's template; a name that it is not given is an error, and what it is given is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tdepth_jax.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["capitalise"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template(name)


def leading(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The protocol a page leads with: the first published one, else per-image median scaling, else the first."""
    by_name = {p["name"]: p for p in result["protocols"]}
    published = [p for p in result["protocols"] if p["published"]]
    return published[0] if published else by_name.get("median/per_image", result["protocols"][0])


def _headline(protocol: Mapping[str, Any]) -> dict[str, Any]:
    from markupsafe import Markup

    group = protocol["groups"][0]
    value, spread = group["metrics"]["abs_rel"], group["interval"].get("abs_rel")
    rows = [("this run", value, tuple(spread) if spread else None)]
    rows += [
        (f"best {b['name']} depth", b["groups"][0]["metrics"]["abs_rel"], None) for b in protocol["baselines"]
    ]
    return {
        "protocol": protocol["name"],
        "full": protocol,
        "value": value,
        "interval": tables.interval(group, "abs_rel"),
        "bars": Markup(charts.bars(rows)),
        "verdict": _verdict(value, rows[1:]),
    }


def _verdict(value: float, baselines: Sequence[tuple[str, float, Any]]) -> str:
    if not baselines or not value:
        return ""
    name, best, _ = min(baselines, key=lambda row: row[1])
    if value >= best:
        return f"This run does not beat the {name} ({best:.3f}), which sees no image."
    return f"That is {100 * value / best:.0f} % of the error of the {name} ({best:.3f}), which sees no image."


def _histograms(result: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    groups: dict[str, list[float]] = {"all": []}
    for row in (row for row in result["frames"] if row[key]["abs_rel"] is not None):
        groups["all"].append(row[key]["abs_rel"])
        groups.setdefault(row["condition"] or "unknown", []).append(row[key]["abs_rel"])
    if len(groups) == 2:
        groups = {"all": groups["all"]}
    top = 1.05 * max(float(np.percentile(groups["all"], 99)), 1e-6)
    return [_histogram(name, values, top) for name, values in groups.items()]


def _histogram(name: str, values: Sequence[float], top: float) -> dict[str, Any]:
    from markupsafe import Markup

    middle, high = (float(q) for q in np.percentile(values, [50, 90]))
    title = f"{name}: {len(values)} frames, median {middle:.3f}, 90 % < {high:.3f}"
    svg = charts.histogram(values, "Abs Rel", top=top, marks=(middle, high))
    return {"title": title, "svg": Markup(svg)}


def _worst(result: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = frames.worst_first(result["frames"], key)[:WORST_ROWS]
    return [{**row, "scores": row[key]} for row in rows]


def _poses(poses: Mapping[str, Any] | None) -> dict[str, Any] | None:
    from markupsafe import Markup

    if not poses:
        return None
    rows = [(f"{t['name']} {t['first']}–{t['last']}", t) for t in poses["trajectories"]]
    rows = (rows if 1 < len(rows) <= tables.MOST_SEQUENCES else []) + [("all", poses["all"])]
    rows += [(b["name"], b) for b in poses["baselines"]]
    drawn = poses["trajectories"][:MOST_TRAJECTORIES]
    return {
        "describe": poses["describe"],
        "backwards": tables.backwards(poses),
        "rows": [tables.pose_row(*row) for row in rows],
        "count": len(poses["trajectories"]),
        "drawn": [{"title": paths.caption(t), "svg": Markup(charts.top_view(t["path"]))} for t in drawn],
    }


def curves(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:

    series: dict[str, list[tuple[float, float]]] = {}
    for line in history:
        for key, value in line.items():
            if key != "step" and isinstance(value, int | float):
                series.setdefault(key, []).append((line["step"], value))
    series = {k: v for k, v in series.items() if len(v) > 1 and len({y for _, y in v}) > 1}
    first = {name: i for i, name in enumerate(_FIRST_CURVES)}
    order = sorted(series, key=lambda k: first.get(k.rpartition("/")[2], len(first)))
    return [_curve(name, *zip(*series[name], strict=True)) for name in order[:_MOST_CURVES]]


def _curve(name: str, steps: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
    from markupsafe import Markup

    return {"title": f"{name} (last {values[-1]:.4g})", "svg": Markup(charts.curve(steps, values, name))}


def embedded(
    groups: Mapping[str, Sequence[frames.Picture]],
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Pictures under headings, as a template shows them."""
    return [(title, [_embed(picture) for picture in some]) for title, some in groups.items() if some]


def _embed(picture: frames.Picture) -> dict[str, Any]:
    panels = [{"name": name, "src": data_uri(image)} for name, image in picture.panels.items()]
    return {"caption": picture.caption, "panels": panels}


def _legend(title: str, low: str, high: str, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, str]:
    return {"title": title, "low": low, "high": high, "src": data_uri(image)}


def data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """An RGB picture as a data: address; JPEG, for photographs and depth maps a quarter of a PNG's size."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    done, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape} and type {image.dtype}")
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
