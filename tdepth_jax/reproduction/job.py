"""One published table from its name to its page."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tdepth_jax.errors import UserError
from tdepth_jax.metrics.protocols import published
from tdepth_jax.metrics.segmentation import PROTOCOLS
from tdepth_jax.reports import comparison, evaluation, provenance
from tdepth_jax.reproduction import plan, running, spec
from tdepth_jax.reproduction.plan import Run
from tdepth_jax.reproduction.spec import Overrides, Row, Score, Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to reproduce.

    Attributes:
      table: name or file (`spec.load`).
      root: gets `runs/`, which all tables share, and a folder for the table.
      world: on ThermalWorld.
      seeds: training runs per row, with the seeds that follow the config's.
      only: rows to run; none: all but the extra ones.
      overrides: for every row, after its own.
    """

    table: str
    root: pathlib.Path
    world: bool = False
    seeds: int = 1
    only: tuple[str, ...] = ()
    overrides: Overrides = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"--seeds={self.seeds} leaves nothing to train; give 1 or more")
        for key in ("train.seed", "train.init_from"):
            if key in self.overrides:
                raise UserError(
                    f"--config.{key} is set by the table for every run; use --seeds, or `tdepth train`"
                )

    def open(self) -> _Planned:
        table, folder = spec.load(self.table)
        if self.world:
            table = table.in_world()
        runs = {
            (row.name, seed): plan.runs(
                row, seed, folder=folder, root=self.root / "runs", overrides=self.overrides
            )
            for row in table.trained
            for seed in range(self.seeds)
        }
        return _Planned(self, table, plan.chosen(table, self.only), runs)


@dataclasses.dataclass(frozen=True)
class _Planned:
    request: Request
    table: Table
    rows: tuple[Row, ...]  # to run
    runs: Mapping[tuple[str, int], tuple[Run, ...]]  # of every row that can be, by name and seed

    @property
    def first(self) -> dict[str, tuple[Run, ...]]:
        """The runs of each row's first seed."""
        return {name: runs for (name, seed), runs in self.runs.items() if seed == 0}

    @property
    def work(self) -> list[tuple[str, int, tuple[Run, ...]]]:
        """What to run, a seed at a time, so that a table stopped half-way has all rows of its first seeds."""
        return [
            (row.name, seed, self.runs[row.name, seed])
            for seed in range(self.request.seeds)
            for row in self.rows
        ]

    @property
    def folder(self) -> pathlib.Path:
        """A table of another setting does not replace the published setting's."""
        name = self.table.name + ("-world" if self.request.world else "")
        if self.request.overrides:
            said = json.dumps(sorted(self.request.overrides.items()))
            name += "-" + hashlib.sha256(said.encode()).hexdigest()[:6]
        return self.request.root / name


def reproduce(request: Request) -> tuple[str, pathlib.Path]:
    """Trains and scores what is missing; returns the table as text, and its page.

    The table is written after every row of every seed, so that a long run can be read as it goes.

    Raises:
      UserError: something is not there or not sound; whatever can be seen before training is.
      running.Stopped: by SIGTERM.
    """
    planned = request.open()
    plan.require(planned.table, planned.rows, planned.first, world=request.world)
    scores = planned.table.scores
    found = {
        (name, seed): {score.name: kept for score in scores if (kept := running.known(runs[-1], score))}
        for (name, seed), runs in planned.runs.items()
    }
    for _, _, runs in planned.work:
        running.train(runs[-1])
        figures = {score.name: running.score(runs[-1], score) for score in scores}
        found |= {
            key: figures for key, other in planned.runs.items() if other[-1].workdir == runs[-1].workdir
        }
        result = _result(planned, found)
        page = comparison.write(planned.folder, result)
    return comparison.text(result), pathlib.Path(page)


def listing(request: Request) -> str:
    """Rows, configs, data and published numbers."""
    planned = request.open()
    table = planned.table
    lines = [table.title, table.paper, ""]
    for row in table.rows:
        lines.append(f"{row.name}: {row.title}" + ("   (runs only with --only)" if row.extra else ""))
        for stage in row.stages:
            said = " ".join(f"--config.{k}={v}" for k, v in stage.overrides.items())
            lines.append(f"    configs/{stage.config}.py {said}".rstrip())
        if not row.stages:
            lines.append("    quoted, not run")
        for score in table.scores:
            numbers = row.published.get(score.name, {})
            said = ", ".join(f"{comparison.title(m)} {numbers[m]:g}" for m in score.metrics if m in numbers)
            lines.append(f"    {score.title}: {said or 'nothing published, or not stated in our sources'}")
        if row.note:
            lines.append(f"    {row.note}")
    lines += ["", "needs"]
    for path in plan.needed(table, planned.rows, planned.first):
        there = pathlib.Path(path).is_dir()
        lines.append(
            f"    {path}: {'there' if there else 'absent; ' + table.needs.get(path, 'no command known')}"
        )
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)])


def outlook(request: Request) -> str:
    """What `reproduce` would do now."""
    planned = request.open()
    lines, told = [planned.table.title], set()
    for name, seed, runs in planned.work:
        lines.append(f"{name}, seed {seed}")
        for run in runs:
            if run.workdir in told:
                state = "shared"
            elif run.finished:
                state = "finished"
            else:
                state = f"to train: step {run.done} of {run.config.train.steps}"
            told.add(run.workdir)
            lines.append(f"    {run.workdir}: {state}")
    absent = plan.missing(planned.table, plan.needed(planned.table, planned.rows, planned.first))
    return "\n".join([*lines, *(f"absent: {one}" for one in absent)])


def _result(
    planned: _Planned, found: Mapping[tuple[str, int], Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """Everything that the table and its page say; json can write it."""
    table, request = planned.table, planned.request
    some = next(iter(planned.first.values()))[-1]
    rows = []
    for row in table.rows:
        results = {}
        for score in table.scores:
            seeds = [
                {"seed": seed, "run": str(planned.runs[name, seed][-1].workdir), **figures[score.name]}
                for (name, seed), figures in sorted(found.items())
                if name == row.name and score.name in figures
            ]
            if seeds:
                results[score.name] = running.summary(seeds) | {"seeds": seeds}
        if row.extra and not results:
            continue
        rows.append(
            {
                "name": row.name,
                "title": row.title,
                "note": row.note,
                "source": row.source,
                "published": {k: dict(v) for k, v in row.published.items()},
                "neighbour": row.neighbour,
                "change": dict(row.change),
                "stages": [stage.config for stage in row.stages],
                "seeds": min(
                    (len(results.get(s.name, {}).get("seeds", ())) for s in table.scores), default=0
                ),
                "results": results,
            }
        )
    return {
        "table": table.name,
        "title": table.title,
        "paper": table.paper,
        "world": request.world,
        "notice": evaluation.PROCEDURAL if request.world else "",
        "overrides": dict(request.overrides),
        "seeds": request.seeds,
        "scores": [_described(score, some) for score in table.scores],
        "rows": rows,
        "notes": list(table.notes),
        "command": provenance.command(),
        "code": provenance.code(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _described(score: Score, run: Run) -> dict[str, Any]:
    pose = "means over snippets of five consecutive frames, scaled to the ground truth"
    if score.kind == "labels":
        describe = PROTOCOLS[score.protocol].describe
    else:
        describe = pose if score.kind == "pose" else published(score.protocol).describe()
    return dataclasses.asdict(score) | {"dataset": plan.dataset_of(score, run), "describe": describe}
