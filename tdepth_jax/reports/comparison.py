"""A published table beside what was run here: as text, Markdown, JSON and an offline page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from tdepth_jax.reports import charts, html, tables

TITLES = {**tables.TITLES, "snippet_ate": "ATE m", "snippet_re": "RE rad"}
TITLES |= {"macc": "mAcc", "miou": "mIoU", "edge_iou": "edge IoU", "acc": "Acc", "iou": "IoU"}
DIGITS = {"snippet_ate": 4, "snippet_re": 4}
ABSENT = "–"


def title(metric: str) -> str:
    """A column's title; "iou/car" is the IoU of cars."""
    name, _, of = metric.partition("/")
    return f"{TITLES[name]} {of}".strip()


def write(folder: str | os.PathLike, result: Mapping[str, Any]) -> epath.Path:
    """Writes table.json, table.md and index.html, each whole or not at all; returns the page's path."""
    to = epath.Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(_plain(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    html.write_whole(to / "table.json", numbers)
    html.write_whole(to / "table.md", markdown(result))
    html.write_whole(to / "index.html", page(result, str(to)))
    return to / "index.html"


def text(result: Mapping[str, Any]) -> str:
    """For a terminal: a table for every score, then the notes."""
    parts = ["\n".join([result["title"], *_warnings(result)])]
    for score in result["scores"]:
        parts.append(f"{_caption(score)}\n{tables.aligned(header(score), cells(result, score))}")
    return "\n\n".join([*parts, "\n".join(_notes(result))])


def markdown(result: Mapping[str, Any]) -> str:
    parts = [f"# {result['title']}", result["paper"], *(f"**{w}**" for w in _warnings(result))]
    for score in result["scores"]:
        parts += [f"## {score['title']}", _about(score), _markdown(header(score), cells(result, score))]
    parts.append("\n".join(f"- {note}" for note in _notes(result)))
    return "\n\n".join([*parts, f"`{result['command']}`"]) + "\n"


def page(result: Mapping[str, Any], folder: str) -> str:
    """The page as text; the evaluations behind the figures are linked relative to `folder`."""
    from markupsafe import Markup

    groups = []
    for score in result["scores"]:
        drawn = _bars(result, score)
        groups.append(
            {
                "title": score["title"],
                "about": _about(score),
                "header": header(score),
                "rows": cells(result, score),
                "first": title(score["metrics"][0]),
                "bars": Markup(charts.bars(drawn)) if drawn else None,
            }
        )
    return html.template("comparison.html.j2").render(
        result=result,
        warnings=_warnings(result),
        groups=groups,
        notes=_notes(result),
        rows=[_row(row, folder) for row in result["rows"] if row["stages"]],
    )


def header(score: Mapping[str, Any]) -> list[str]:
    return ["", *(name for m in score["metrics"] for name in (title(m), "published"))]


def cells(result: Mapping[str, Any], score: Mapping[str, Any]) -> list[list[str]]:
    """A row per row of the table: for every metric the figure found here, then the published one."""
    return [
        [row["title"], *(cell for m in score["metrics"] for cell in _pair(row, score["name"], m))]
        for row in result["rows"]
    ]


def _pair(row: Mapping[str, Any], score: str, metric: str) -> tuple[str, str]:
    found = row["results"].get(score)
    ours = ABSENT
    if found:
        ours = _number(metric, found["mean"][metric])
        spread = found["std"].get(metric, found["mean"].get(f"{metric}_std"))
        if spread is not None and not math.isnan(spread):
            ours += f" ± {_number(metric, spread)}"
        elif metric in found["interval"]:
            low, high = found["interval"][metric]
            ours += f" [{_number(metric, low)}, {_number(metric, high)}]"
    printed = row["published"].get(score, {})
    published = _number(metric, printed[metric]) if metric in printed else ABSENT
    if f"{metric}_std" in printed:
        published += f" ± {_number(metric, printed[f'{metric}_std'])}"
    return ours, published


def _number(metric: str, value: float) -> str:
    return ABSENT if math.isnan(value) else tables.number(value, DIGITS.get(metric, 3))


def _caption(score: Mapping[str, Any]) -> str:
    return f"{score['title']}: {_about(score)}"


def _about(score: Mapping[str, Any]) -> str:
    where = f"{score['dataset']}, split {' + '.join(score['splits'])}"
    if score["kind"] == "pose":
        return f"{where}; {score['describe']}"
    return f"{where}; protocol {score['protocol']}: {score['describe']}"


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """What must be read before any figure."""
    lines = []
    if result["world"]:
        lines.append(
            f"{result['notice']} The published numbers are of real data and other networks: for orientation only."
        )
    if result["overrides"]:
        said = " ".join(f"--config.{k}={v}" for k, v in result["overrides"].items())
        lines.append(f"Not the published setting: every row has {said}.")
    todo = [row["name"] for row in result["rows"] if row["stages"] and row["seeds"] < result["seeds"]]
    if todo:
        lines.append(f"Not finished: {', '.join(todo)}; the same command goes on.")
    return lines


def _notes(result: Mapping[str, Any]) -> list[str]:
    seeds = result["seeds"]
    over_seeds = f"± is the standard deviation over {seeds} seeds"
    spread = {
        "depth": over_seeds
        if seeds > 1
        else "[ ] is the 95 % bootstrap interval over sequences and frames of one training run; it does not say how "
        "another seed would do",
        "pose": f"{over_seeds}, the published ± over snippets"
        if seeds > 1
        else "± is the standard deviation over snippets",
        "labels": over_seeds if seeds > 1 else "one training run; it does not say how another seed would do",
    }
    notes = [f"Here: {spread[kind]}." for kind in dict.fromkeys(s["kind"] for s in result["scores"])]
    notes += [f"{row['title']}: {row['note']}" for row in result["rows"] if row["note"]]
    return notes + list(result["notes"])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bars(result: Mapping[str, Any], score: Mapping[str, Any]) -> list[tuple[str, float, Any]]:
    """The first metric of every row that was run; last first, so that the method itself is the emphasised bar."""
    metric, bars = score["metrics"][0], []
    for row in result["rows"]:
        found = row["results"].get(score["name"])
        if found and not math.isnan(found["mean"][metric]):
            mean, std = found["mean"][metric], found["std"].get(metric)
            spread = (mean - std, mean + std) if std is not None else found["interval"].get(metric)
            bars.append((row["title"], mean, tuple(spread) if spread else None))
    return bars[::-1]


def _row(row: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """What one row trained, and where each figure's own page is."""
    change = " ".join(f"{key}={value or 'none'}" for key, value in row["change"].items())
    versus = (
        f"as {row['neighbour']}" + (f", but {change}" if change else ", one stage less")
        if row["neighbour"]
        else ""
    )
    links = [
        {"title": f"{score}, seed {one['seed']}" + (f", {i + 1}" if len(one["pages"]) > 1 else ""),
         "href": os.path.relpath(page, folder)}
        for score, found in row["results"].items() for one in found["seeds"] for i, page in enumerate(one["pages"])
    ]  # fmt: skip
    return {
        "name": row["name"],
        "title": row["title"],
        "stages": " → ".join(row["stages"]),
        "versus": versus,
        "links": links,
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
