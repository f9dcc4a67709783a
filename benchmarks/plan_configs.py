"""The table of docs/tpu_pods.md: every shipped config planned for TPU slices that are not there.

  python benchmarks/plan_configs.py --write                  v5e:16x16 and v5p:4x4x8, all of configs/
  python benchmarks/plan_configs.py --only=vivid --topology=v6e:4x4

Needs the TPU compiler (pip install libtpu). Each plan is a process of `tdepth plan`, minutes of one core; its figures
are kept in runs/plans, so that the same command goes on where it was stopped. Configs that differ in their data alone
compile to the same program and are planned once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BEGIN, END = "<!-- plans: python benchmarks/plan_configs.py --write -->", "<!-- end of plans -->"
LATER = "not planned yet"
# Besides the shipped configs: what does not fit a chip whole.
MORE = {
    "vivid_stage2, ViT-g, fsdp=8": (
        "vivid_stage2",
        {"model.backbone": "vitg", "mesh.fsdp": "8", "model.remat": "true", "train.batch_size": "256"},
    ),
}


def main() -> None:
    flags = parser().parse_args()
    rows, failed, later = [], [], []
    cases = {path.stem: (path.stem, {}) for path in sorted((ROOT / "configs").glob("*.py"))} | MORE
    for topology in flags.topology:
        for title, (config, overrides) in cases.items():
            if flags.only and not re.search(flags.only, title):
                continue
            found = planned(config, overrides, topology, flags)
            if found == LATER:
                later.append(f"{title} on {topology}")
            elif isinstance(found, str):
                failed.append(f"{title} on {topology}: {found}")
                print(f"{title} on {topology}: {found}", file=sys.stderr, flush=True)
            else:
                rows.append((title, found))
                print(line(title, found), flush=True)
    text = table(rows) + "".join(f"\n- not planned: {reason}" for reason in failed)
    text += f"\n\nNot planned yet: {', '.join(later)}." if later else ""
    if flags.write:
        page = ROOT / "docs" / "tpu_pods.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(text)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--topology", nargs="+", default=["v5e:16x16", "v5p:4x4x8"])
    p.add_argument("--only", default="", help="a regular expression over the names")
    p.add_argument(
        "--search", action="store_true", help="look for the largest batch too, which takes many times longer"
    )
    p.add_argument("--cached", action="store_true", help="plan nothing; a table of what is in --folder")
    p.add_argument("--folder", type=pathlib.Path, default=ROOT / "runs" / "plans")
    p.add_argument("--write", action="store_true", help="into docs/tpu_pods.md")
    return p


def planned(
    config: str, overrides: dict[str, str], topology: str, flags: argparse.Namespace
) -> dict[str, Any] | str:
    """The figures, from the folder if they are there; or why there are none."""
    flags.folder.mkdir(parents=True, exist_ok=True)
    key = f"{_program(config, overrides)}-{topology.replace(':', '-')}{'-search' if flags.search else ''}"
    kept = flags.folder / f"{key}.json"
    if not kept.exists():
        if flags.cached:
            return LATER
        command = [
            sys.executable,
            "-m",
            "tdepth_jax.plan",
            f"--config=configs/{config}.py",
            f"--topology={topology}",
        ]
        command += [f"--json={kept}", *([] if flags.search else ["--no_search"])]
        command += [f"--config.{name}={value}" for name, value in overrides.items()]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return json.loads(kept.read_text())


def _program(config: str, overrides: dict[str, str]) -> str:
    """What the compiled program depends on."""
    from tdepth_jax import config as configs
    from tdepth_jax import systems

    settings = configs.load(str(ROOT / "configs" / f"{config}.py"), overrides, systems.schema).to_dict()
    settings["data"] = settings["data"]["image_size"]
    settings.pop("eval")
    for name in ("steps", "init_from", "save_every", "log_every", "panels_every", "keep"):
        settings["train"].pop(name)
    for name in [name for name in settings["model"] if name.endswith("weights")]:
        settings["model"].pop(name)
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=list).encode()).hexdigest()[:16]


COLUMNS = (
    "config", "slice", "batch/chip", "HBM GiB", "trained", "GFLOP", "GB", "FLOP/B", "all-reduce MB",
    "other MB", "compute ms", "HBM ms", "network ms", "limit", "images/s", "use", "largest",
)  # fmt: skip


def line(title: str, plan: dict[str, Any]) -> str:
    if "flops" not in plan:
        cells = [
            title,
            plan["topology"],
            plan["per_chip"],
            f"too large: {plan['refused']}",
            *[""] * (len(COLUMNS) - 4),
        ]
        return f"| {' | '.join(map(str, cells))} |"
    sums = {True: 0.0, False: 0.0}
    for c in plan["collectives"]:
        sums[c["kind"] == "all-reduce"] += c["bytes"] * c["times"] / 1e6
    seconds = plan["seconds"]
    cells = [
        title,
        plan["topology"],
        plan["per_chip"],
        f"{plan['memory']['total'] / 2**30:.2f}",
        f"{plan['trained'] / 1e6:.2f} M",
        f"{plan['flops'] / 1e9:,.1f}",
        f"{plan['bytes'] / 1e9:.2f}",
        f"{plan['flops'] / plan['bytes']:.0f}",
        f"{sums[True]:.2f}",
        f"{sums[False]:.2f}",
        f"{seconds['compute'] * 1e3:.2f}",
        f"{seconds['hbm'] * 1e3:.2f}",
        f"{seconds['interconnect'] * 1e3:.2f}",
        plan["limit"],
        f"{plan['per_chip'] * plan['chips'] / seconds['apart']:,.0f}",
        f"{seconds['compute'] / seconds['apart']:.0%}",
        plan["largest"][0] if plan["largest"] else "",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def table(rows: list[tuple[str, dict[str, Any]]]) -> str:
    versions = sorted({json.dumps(plan["versions"], sort_keys=True) for _, plan in rows})
    said = "; ".join(", ".join(f"{k} {v}" for k, v in json.loads(one).items()) for one in versions)
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*head, *(line(title, plan) for title, plan in rows), "", f"Compiled with {said}."])


if __name__ == "__main__":
    main()
