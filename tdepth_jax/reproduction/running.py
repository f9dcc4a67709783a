"""Trains and scores what a table lacks, row by row; what is there is not done again."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tdepth_jax import config as configs
from tdepth_jax.data import sources
from tdepth_jax.errors import UserError
from tdepth_jax.reports import evaluation, html
from tdepth_jax.reproduction.plan import Run, dataset_of
from tdepth_jax.reproduction.spec import Score
from tdepth_jax.training import run as training
from tdepth_jax.training import setup

POSE = ("snippet_ate", "snippet_re")


class Stopped(Exception):
    """Asked to stop (SIGTERM); the run under way was saved."""


def train(run: Run) -> None:
    """Trains what is left of a run and of those it starts from.

    Raises:
      Stopped: by SIGTERM, after a save.
      UserError: as training.
    """
    for one in run.chain:
        if one.finished:
            continue
        print(f"training {one.workdir}", flush=True)
        outcome = training.train(one.config, one.workdir)
        jax.clear_caches()  # of this run's programs, which no other uses
        if outcome.stopped:
            raise Stopped(f"asked to stop: saved step {outcome.step} in {one.workdir}")


def score(run: Run, asked: Score) -> dict[str, Any]:
    """The figures of a finished run: {"metrics", "interval", "images", "pages"}; what is not known yet is evaluated.

    Raises:
      UserError: as the evaluation; or a split without what is asked.
    """
    setup.claim_workdir(run.workdir, run.config, accept_changes=False)  # eval.* may have changed since
    dataset = dataset_of(asked, run)
    for split in asked.splits:
        if _kept(run, asked, dataset, split) is None:
            _evaluate(run, asked, dataset, split)
    found = known(run, asked)
    if found is None:
        raise UserError(f"{dataset} has no {asked.kind} to score, which {asked.title!r} needs")
    return found


def known(run: Run, asked: Score) -> dict[str, Any] | None:
    """The figures that evaluations in the run's folder hold, where they are of the finished run and of these records,
    this protocol and stride."""
    if not run.finished:
        return None
    dataset = dataset_of(asked, run)
    results = [_kept(run, asked, dataset, split) for split in asked.splits]
    parts = [_figures(result, asked) for result in results if result is not None]
    if len(parts) < len(results):
        return None
    return merge(parts) | {
        "pages": [str(_folder(run, asked, dataset, s) / "report.html") for s in asked.splits]
    }


def merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the images of several splits together; their intervals cannot be joined and are left out."""
    if len(parts) == 1:
        return dict(parts[0])
    images = sum(part["images"] for part in parts)
    names = parts[0]["metrics"]
    totals = {m: sum(part["images"] * part["metrics"][m] for part in parts) / images for m in names}
    return {"metrics": totals, "interval": {}, "images": images}


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds, and the mean ends of their intervals over frames."""
    names = list(seeds[0]["metrics"])
    values = {m: [one["metrics"][m] for one in seeds] for m in names}
    ends = {m: [one["interval"][m] for one in seeds if m in one["interval"]] for m in names}
    return {
        "mean": {m: float(np.mean(v)) for m, v in values.items()},
        "std": {m: float(np.std(v, ddof=1)) for m, v in values.items()} if len(seeds) > 1 else {},
        "interval": {m: np.mean(e, axis=0).tolist() for m, e in ends.items() if e},
    }


def _folder(run: Run, asked: Score, dataset: str, split: str) -> pathlib.Path:
    name = pathlib.PurePosixPath(dataset.rstrip("/")).name
    return run.workdir / "eval" / html.folder_name(name, split, asked.radar)


def _evaluate(run: Run, asked: Score, dataset: str, split: str) -> None:
    print(f"scoring {run.workdir.name} on {dataset}, split {split}", flush=True)
    request = evaluation.Request(
        dataset=dataset,
        split=split,
        names=(asked.protocol,),
        baselines=False,
        pictures=2 if asked.radar == "given" else 0,
        poses=asked.kind == "pose",
        radar=asked.radar,
    )
    evaluation.evaluate_run(run.workdir, request)


def _kept(run: Run, asked: Score, dataset: str, split: str) -> dict[str, Any] | None:
    try:
        result = json.loads((_folder(run, asked, dataset, split) / "metrics.json").read_text())
        records = sources.open_split(dataset, split).fingerprint
    except (FileNotFoundError, json.JSONDecodeError, UserError):
        return None
    same = (
        result.get("step") == run.done
        and result.get("fingerprint") == records
        and (asked.kind == "pose" or result.get("stride") == run.config.eval.stride)
    )
    return result if same and _has(result, asked) else None


def _has(result: Mapping[str, Any], asked: Score) -> bool:
    if asked.kind == "pose":
        return bool(result.get("poses"))
    return any(p["name"] == asked.protocol for p in result["protocols"])


def _figures(result: Mapping[str, Any], asked: Score) -> dict[str, Any]:
    if asked.kind == "pose":
        found = result["poses"]["all"]
        names = [f"{m}{end}" for m in POSE for end in ("", "_std")]
        return {"metrics": {m: _number(found[m]) for m in names}, "interval": {}, "images": found["frames"]}
    protocol = next(p for p in result["protocols"] if p["name"] == asked.protocol)
    group = _group(protocol, asked)
    absent = [m for m in asked.metrics if m not in group["metrics"]]
    if absent and asked.kind != "labels":  # a network without edges has no figure for them
        raise UserError(
            f"{asked.title!r} asks for {absent[0]}; {configs.nearest(absent[0], group['metrics'])}"
        )
    return {
        "metrics": {m: _number(group["metrics"].get(m)) for m in asked.metrics},
        "interval": {m: v for m, v in group["interval"].items() if m in asked.metrics},
        "images": group["images"],
    }


def _group(protocol: Mapping[str, Any], asked: Score) -> Mapping[str, Any]:
    """All images, or those of a condition."""
    if asked.condition is None:
        found: Mapping[str, Any] = protocol["groups"][0]
        return found
    groups = {g["name"]: g for g in protocol["groups"] if g["kind"] == "condition"}
    if asked.condition not in groups:
        raise UserError(
            f"{asked.title!r} asks for images by {asked.condition!r}, of which there are none; "
            f"{configs.nearest(asked.condition, groups)}"
        )
    return groups[asked.condition]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
