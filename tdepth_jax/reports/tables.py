"""Results as plain text: aligned columns that survive a terminal, a log file and a mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_SEQUENCES = 12
SHOWN = ("abs_rel", "sq_rel", "rmse", "rmse_log", "mae", "silog", "d1", "d2", "d3")
RADAR_SHOWN = ("mae", "rmse", "imae", "irmse", "abs_rel", "d1", "d2", "d3")  # of depth from radar and camera
TITLES = {
    "abs_rel": "Abs Rel",
    "sq_rel": "Sq Rel",
    "rmse": "RMSE",
    "rmse_log": "RMSE log",
    "mae": "MAE",
    "silog": "SILog",
    "d1": "δ<1.25",
    "d2": "δ<1.25²",
    "d3": "δ<1.25³",
    "imae": "iMAE 1/km",
    "irmse": "iRMSE 1/km",
}


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: int) -> str:
    """1234567 -> '1.2 M'; up to four digits in full."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(unit, 1e4):
            return f"{value / unit:.1f} {name}"
    return str(value)


def interval(group: dict[str, Any], metric: str) -> str:
    """'0.101–0.108', or nothing where there were too few images to tell."""
    found = group["interval"].get(metric)
    return f"{number(found[0])}–{number(found[1])}" if found else ""


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: the first to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    texts = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        texts.append("  ".join(cells).rstrip())
    texts.insert(1, "-" * max(map(len, texts)))
    return "\n".join(texts)


def columns(protocol: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics that a protocol's tables show: those of its publications."""
    return RADAR_SHOWN if protocol.get("published", "").startswith(("xdrc", "radarcam")) else SHOWN


def protocol_table(protocol: dict[str, Any]) -> str:
    """One protocol of an evaluation's result, group by group, then the baselines."""
    first, *others = columns(protocol)
    header = ["", "images", "pixels", TITLES[first], "[95 %]", *(TITLES[m] for m in others)]
    rows = [_row(label(group), group, first, others) for group in shown(protocol["groups"])]
    for baseline in protocol["baselines"]:
        rows.append(_row(f"best {baseline['name']}", baseline["groups"][0], first, others))
    return f"protocol {protocol['name']}: {protocol['describe']}\n{aligned(header, rows)}"


def label(group: dict[str, Any]) -> str:
    """A row's first cell."""
    match group["kind"]:
        case "region":
            return {"cold": "coldest tenth", "hot": "hottest tenth"}[group["name"]]
        case "condition" | "sequence" if not group["name"]:
            return f"no {group['kind']} given"
        case _:
            return group["name"]


def shown(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups a table has rows for: of many sequences none, they are in metrics.json."""
    many = sum(group["kind"] == "sequence" for group in groups) > MOST_SEQUENCES
    return [group for group in groups if not (many and group["kind"] == "sequence")]


def _row(name: str, group: dict[str, Any], first: str, others: Sequence[str]) -> list[str]:
    values = group["metrics"]
    return [
        name,
        str(group["images"]),
        count(group["pixels"]),
        number(values[first]),
        interval(group, first),
        *(number(values[m]) for m in others),
    ]


def overview(result: dict[str, Any]) -> str:
    """Everything that an evaluation prints: what was scored on what, then a table per protocol."""
    scored = f"{result['images']} frames"
    if result.get("stride", 1) > 1:
        scored += f" (every {ordinal(result['stride'])})"
    parts = [f"{result['model']} on {result['dataset']}, split {result['split']}: {scored}"]
    if result.get("notice"):
        parts.append(result["notice"])
    parts += result["notes"]
    if result["without_depth"]:
        parts.append(f"{result['without_depth']} frames have no ground truth in range and are not scored.")
    parts += failures(result)
    tables = [protocol_table(p) for p in result["protocols"]]
    tables += [pose_table(result["poses"])] if result.get("poses") else []
    return "\n\n".join(["\n".join(parts), *tables])


def pose_table(poses: dict[str, Any]) -> str:
    """Camera motion: each trajectory where they are few, all, and the motions that see no image."""
    header = ["", "frames", "path m", "ATE m (5 frames)", "RE rad (5 frames)", "ATE m SE3", "ATE m Sim3"]
    header += ["RPE m", "RPE °", "scale"]
    pieces = poses["trajectories"]
    some = pieces if 1 < len(pieces) <= MOST_SEQUENCES else []
    named = [(f"{t['name']} {t['first']}–{t['last']}", t) for t in some]
    named += [(t["name"], t) for t in (poses["all"], *poses["baselines"])]
    table = f"camera motion; {poses['describe']}\n{aligned(header, [pose_row(*row) for row in named])}"
    return "\n".join(filter(None, [table, backwards(poses)]))


def backwards(poses: Mapping[str, Any]) -> str:
    """A warning where a scale is negative: ATE after scaling does not tell a drive from its reverse."""
    share = poses["all"]["backwards"]
    if not share:
        return ""
    return f"{100 * share:.0f} % of the snippets are predicted to move backwards: their ATE does not see it, RPE does."


def pose_row(name: str, found: dict[str, Any]) -> list[str]:
    """A row of `pose_table`, whose figures have four digits as the published ones."""
    spread = [
        f"{number(found[k], 4)} ± {number(found[f'{k}_std'], 4)}" for k in ("snippet_ate", "snippet_re")
    ]
    whole = [number(found[k], 3) for k in ("ate_se3", "ate_sim3", "rpe_step", "rpe_turn", "scale")]
    return [name, str(found["frames"]), number(found["metres"], 1), *spread, *whole]


def failures(result: dict[str, Any]) -> list[str]:
    """A line per frame whose prediction failed, and how many more there are."""
    found = result["failures"]
    lines = [
        f"failure: sequence {f['sequence']}, frame {f['index']}: {f['what']} (scored as wholly wrong)"
        for f in found["named"]
    ]
    more = found["count"] - len(found["named"])
    return [*lines, f"… and {more} more frames failed"] if more else lines


def ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
