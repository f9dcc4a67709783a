"""How a predicted spread is reported: tables, the curves behind them, and what a reader is to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdepth_jax.metrics.uncertainty import STEPS
from tdepth_jax.reports import charts, tables
from tdepth_jax.training.uncertainty import ALIGNMENT, FILE, Calibration

ORDER = ("", "images", "Abs Rel", "AUSE", "AURG", "AUSE/error", "RMSE", "AUSE", "AURG", "AUSE/error")
MOST_CHARTS = 6  # groups drawn
Line = tuple[str, Sequence[float], Sequence[float]]  # class of the style sheet, x, y

_DRAWN = 0.005  # share of the pixels behind a point of the curve of confidence
_FARTHEST = (1.1e-3, 0.9e3)  # temperatures at the ends of what is looked through


def size_header(found: Mapping[str, Any]) -> list[str]:
    """The columns of `size_rows`."""
    return ["", *(f"in {100 * q:g} %" for q in found["levels"]), "off", "confidence", "within 25 %"]


def order_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Whether the spread orders the errors: a row per group, columns `ORDER`."""
    rows = []
    for group in tables.shown(found["groups"]):
        row = [tables.label(group), str(group["images"])]
        for error in group["errors"].values():
            share = error["ause"] / error["all"] if error["all"] else None
            row += [*(tables.number(error[k], 4) for k in ("all", "ause", "aurg")), tables.number(share, 2)]
        rows.append(row)
    return rows


def size_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Whether it is as large as the errors: two rows per group, raw and cross-fitted."""
    rows = []
    for group in tables.shown(found["groups"]):
        for how in ("raw", "calibrated"):
            if size := group[how]:
                shares = [*size["coverage"], size["off"], size["confidence"], group["within"]]
                rows.append([f"{tables.label(group)}, {how}", *(f"{100 * v:.1f} %" for v in shares)])
    return rows


def overview(found: Mapping[str, Any]) -> str:
    """Both tables as text."""
    order = f"confidence, order of the errors under {found['protocol']}: pixels removed by falling spread (AUSE 0 is "
    order += "the oracle's order, AURG 0 a random one; in the unit of the error)"
    size = f"confidence, intervals: share of the truths in them; {fitted(found)}"
    return "\n\n".join(
        [
            f"{order}\n{tables.aligned(ORDER, order_rows(found))}",
            f"{size}\n{tables.aligned(size_header(found), size_rows(found))}",
        ]
    )


def fitted(found: Mapping[str, Any]) -> str:
    """Where the temperatures of a result come from."""
    whole = f"temperature {found['temperature']:.3g} over all frames"
    if not found["halves"]:
        return f"{whole}; none can be cross-fitted, because {found['halved']}"
    one, other = found["halves"]
    return (
        f"{whole}; calibrated: each half ({found['halved']}) with the other's temperature, {one:.3g} of the first and "
        f"{other:.3g} of the second"
    )


def settle(result: Mapping[str, Any], scale: str, *, training: bool) -> tuple[Calibration | None, list[str]]:
    """(what the run is to keep, what else is to be said of its spread) after an evaluation.

    Args:
      scale: the system's.
      training: whether the frames are those that the run was trained on: too easy to calibrate with.
    """
    found = result.get("uncertainty")
    if found is None:
        return None, _unscored(scale) if "uncertainty" in result else []
    said = []
    if found["unusable"]:
        said.append(
            f"{found['unusable']} pixels have no usable spread (not above 0) and count as sure of themselves."
        )
    if found["halves"] and not any(g["kind"] == "sequence" for g in found["groups"]):
        said.append("Calibrated coverage is of one sequence, fitted and scored on parts that are alike.")
    where, frames = f"{result['dataset']}, split {result['split']}", found["groups"][0]["images"]
    if training:
        said.append(
            f"{FILE} is left as it is: the run was trained on {where}, where its errors are too small."
        )
        return None, said
    if not _FARTHEST[0] < found["temperature"] < _FARTHEST[1]:
        said.append(f"{FILE} is left as it is: the spread and the errors are a thousandfold apart.")
        return None, said
    kept = Calibration(
        temperature=found["temperature"],
        dataset=result["dataset"],
        split=result["split"],
        protocol=found["protocol"],
        frames=frames,
        step=result["step"],
    )
    said.append(
        f"{FILE}: temperature {kept.temperature:.3g}, fitted on {frames} frames of {where}; predict uses it."
    )
    return kept, said


def _unscored(scale: str) -> list[str]:
    if scale not in ALIGNMENT:
        return [f"This run predicts a spread. It is not scored: depth is {scale}, known up to a shift too."]
    return [
        f"This run predicts a spread. It is not scored: depth is {scale}; add --protocol={ALIGNMENT[scale]}."
    ]


def section(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page shows."""
    if not found:
        return None
    groups = [g for g in found["groups"] if g["kind"] != "sequence"][:MOST_CHARTS]
    return {
        "protocol": found["protocol"],
        "fitted": fitted(found),
        "order": {"header": ORDER, "rows": order_rows(found)},
        "size": {"header": size_header(found), "rows": size_rows(found)},
        "sparsification": [_sparsification(g) for g in groups],
        "reliability": [_reliability(g, found["fit_levels"]) for g in groups],
        "promises": [_promises(g) for g in groups],
    }


def _sparsification(group: dict[str, Any]) -> dict[str, Any]:
    error = group["errors"]["abs_rel"]
    by_spread, oracle = ([v / error["all"] if error["all"] else 0.0 for v in c] for c in error["curves"])
    removed = [k / STEPS for k in range(STEPS)]
    lines: list[Line] = [
        ("mark", (0, 1), (1, 1)),
        ("line other", removed, oracle),
        ("line", removed, by_spread),
    ]
    top = 1.05 * max(1.0, *by_spread)
    title = f"{tables.label(group)}: AUSE {tables.number(error['ause'], 4)}, AURG {tables.number(error['aurg'], 4)}"
    return _chart(title, lines, "Abs Rel of the pixels left over the share removed", (0.0, top))


def _reliability(group: dict[str, Any], levels: Sequence[float]) -> dict[str, Any]:
    lines: list[Line] = [("mark", (0, 1), (0, 1))]
    lines += [(name, levels, size["reliability"]) for name, size in _sizes(group)]
    off = " → ".join(f"{100 * size['off']:.1f} %" for _, size in _sizes(group))
    return _chart(f"{tables.label(group)}: off by {off}", lines, "measured over nominal coverage")


def _promises(group: dict[str, Any]) -> dict[str, Any]:
    lines: list[Line] = [("mark", (0, 1), (0, 1))]
    for name, size in _sizes(group):
        points = [(said, true) for said, true, share in size["promises"] if share > _DRAWN]
        lines.append((name, [said for said, _ in points], [true for _, true in points]))
    mean = " → ".join(f"{100 * size['confidence']:.1f} %" for _, size in _sizes(group))
    title = f"{tables.label(group)}: said {mean}, true {100 * group['within']:.1f} %"
    return _chart(title, lines, "share within 25 % over confidence")


def _sizes(group: dict[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(class of the line, figures), raw first."""
    named = (("line other", group["raw"]), ("line", group["calibrated"]))
    return [(name, size) for name, size in named if size]


def _chart(
    title: str, lines: Sequence[Line], alt: str, y: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
    from markupsafe import Markup

    return {"title": title, "svg": Markup(charts.lines(lines, f"{alt}; {title}", x=(0.0, 1.0), y=y))}
