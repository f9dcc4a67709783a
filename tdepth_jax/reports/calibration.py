"""What a calibration says: the chain, an HTML page that needs nothing else, and the numbers for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float, UInt8

from tdepth_jax.calibration import chain, job, levels, uncertainty
from tdepth_jax.calibration.job import Result
from tdepth_jax.calibration.pairs import Taken
from tdepth_jax.reports import charts, frames, html, provenance, tables

CHAIN, PAGE, NUMBERS = "camchain.yaml", "report.html", "calibration.json"
SHOWN = 4  # pairs
_EDGE = (255, 170, 30)  # RGB
_SIDE = {
    "tx": "right", "ty": "down", "tz": "ahead", "rx": "about right", "ry": "about down", "rz": "about ahead",
    "focal": "focal length", "log fx": "fx", "log fy": "fy", "cx": "cx / fx", "cy": "cy / fy",
}  # fmt: skip


def write(out: pathlib.Path, taken: Taken, result: Result) -> pathlib.Path:
    """Writes the chain, the page and the numbers, each whole or not at all; returns the page's path."""
    folder = epath.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = as_json(taken, result)
    page = render(taken, result)
    about = [f"{len(taken.pairs)} pairs, depth {taken.depth}, {numbers['date']}; {numbers['code']}"]
    html.write_whole(folder / CHAIN, chain.text(result.rig, about + list(result.warnings)))
    html.write_whole(folder / NUMBERS, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    html.write_whole(folder / PAGE, page)
    return out / PAGE


def as_json(taken: Taken, result: Result) -> dict[str, Any]:
    rig, found = result.rig, result.found
    rows = uncertainty.in_words(result.free, result.spread)
    return {
        "rgb_from_thermal": rig.rgb_from_thermal.tolist(),
        "thermal_K": np.asarray(rig.thermal_K, float).tolist(),
        "rgb_K": np.asarray(rig.rgb_K, float).tolist(),
        "start": result.start.rgb_from_thermal.tolist(),
        "pairs": len(taken.pairs),
        "depth": taken.depth,
        "agreement": {"before": found.before, "after": found.agreement},
        "held_out": dict(zip(("before", "after"), result.held_out, strict=True)),
        "edge_distance_px": dict(zip(("before", "after"), result.distance, strict=True)),
        "halves_differ_px": result.halves,
        "starts_agreed": found.agreed,
        "bootstrap": {
            "drawn": result.spread.drawn,
            "directions": [dataclasses.asdict(row) for row in rows],
        },
        "warnings": list(result.warnings),
        "command": provenance.command(),
        "code": provenance.code(),
        "date": datetime.date.today().isoformat(),
    }


def overview(taken: Taken, result: Result) -> str:
    """What the door prints."""
    found = result.found
    lines = [
        f"{len(taken.pairs)} pairs, depth {taken.depth}: agreement {found.before:.4f} before, {found.agreement:.4f} "
        f"after; on pairs held out {result.held_out[0]:.4f}, {result.held_out[1]:.4f}",
        f"RGB edges are {result.distance[0]:.2f} px from thermal ones before, {result.distance[1]:.2f} px after "
        f"(level of {result.level.field.shape[2]} px, at most {job.FAR:g} each)",
        f"the calibrations of two halves of the pairs differ by {result.halves:.2f} px",
    ]
    header = ("change, thermal camera's axes", "", "± (bootstrap)", "95 %")
    return "\n".join(lines) + "\n\n" + tables.aligned(header, list(_rows(result)))


def _rows(result: Result) -> Iterator[tuple[str, str, str, str]]:
    for k, row in enumerate(uncertainty.in_words(result.free, result.spread)):
        value = result.found.x[k] * uncertainty.unit_of(result.free, k)[0]
        name = f"{row.name} ({_SIDE[row.name]})"
        yield name, f"{value:.3f} {row.unit}", f"{row.deviation:.3f}", f"{row.low:.3f} to {row.high:.3f}"


def render(taken: Taken, result: Result) -> str:
    """The page as text."""
    from markupsafe import Markup

    bent, axes = np.linalg.eigh(result.spread.curvature)
    weakest = axes[:, 0] / np.abs(axes[:, 0]).max()
    parts = [f"{w:+.1f} {n}" for n, w in zip(result.free.names, weakest, strict=True) if abs(w) > 0.3]
    curves = []
    for k, (name, (steps, scores)) in enumerate(result.landscapes.items()):
        scale, unit = uncertainty.unit_of(result.free, k)
        across = [step * scale for step in steps]
        low, high = min(scores), max(scores)
        room = 0.06 * (high - low) or 1e-3
        start = -result.found.x[k] * scale
        drawn = [("line", across, scores)]
        if across[0] < start < across[-1]:
            drawn.insert(0, ("mark", [start, start], [low - room, high + room]))
        svg = charts.lines(
            drawn, f"agreement over {name}", x=(across[0], across[-1]), y=(low - room, high + room)
        )
        curves.append({"title": f"{name}, {_SIDE[name]} ({unit})", "svg": Markup(svg)})
    return html.template("calibration.html.j2").render(
        taken=taken,
        result=result,
        rows=list(_rows(result)),
        matrices=[
            ("rgb_from_thermal", _matrix(result.rig.rgb_from_thermal)),
            ("thermal K", _matrix(result.rig.thermal_K)),
        ],
        curves=curves,
        weakest=" ".join(parts),
        condition=f"{bent[-1] / max(bent[0], 1e-12):.0f}",
        pictures=html.embedded({"Pairs": pictures(taken, result)}),
        width=result.level.field.shape[2],
        far=job.FAR,
        command=provenance.command(),
        code=provenance.code(),
        date=datetime.date.today().isoformat(),
    )


def pictures(taken: Taken, result: Result, shown: int = SHOWN) -> list[frames.Picture]:
    """Pairs spread over all: the RGB image, and its edges over the thermal image before and after."""
    count = len(taken.pairs)
    found = []
    for number in dict.fromkeys(int((i + 0.5) * count / shown) for i in range(shown)):
        pair = taken.pairs[number]
        panels = {"RGB": pair.rgb}
        for name, x in (("before", np.zeros_like(result.found.x)), ("after", result.found.x)):
            panels[f"thermal, RGB edges {name}"] = overlay(taken, result, number, x)
        found.append(frames.Picture(pair.name, panels))
    return found


def overlay(
    taken: Taken, result: Result, number: int, x: Float[np.ndarray, " k"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The thermal image of a pair, twice enlarged, with the RGB image's edge points drawn where `x` puts them."""
    factor = levels.factors(result.start.thermal_size[1])[-1]
    thermal = levels.shrunk(taken.pairs[number].thermal, factor)
    image = cv2.resize(frames.stretch(thermal), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    column, row, seen = (a[number] for a in job.where(result.level, result.start, result.free, x))
    weight = np.asarray(result.level.weight[number]) * seen
    drawn = (weight > 0.5 * weight.max(initial=0)) & (weight > 0)
    image[2 * row[drawn], 2 * column[drawn]] = _EDGE
    image[np.minimum(2 * row[drawn] + 1, image.shape[0] - 1), 2 * column[drawn]] = _EDGE
    return image


def _matrix(matrix: Float[np.ndarray, "r c"]) -> list[list[str]]:
    return [[f"{value:.6g}" for value in row] for row in np.asarray(matrix, float)]
