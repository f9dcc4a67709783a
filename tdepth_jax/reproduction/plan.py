"""What a table needs trained: every row and seed as a chain of runs, those that are the same shared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import sources
from tdepth_jax.errors import UserError
from tdepth_jax.reproduction.spec import Overrides, Row, Score, Table
from tdepth_jax.training.setup import FREE_KEYS

ASIDE = ("train.seed", "train.init_from")  # how runs of one setting differ


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run of the plan; stages of the same settings, data and history have the same `workdir`."""

    config: ConfigDict
    workdir: pathlib.Path
    parent: Run | None

    @property
    def chain(self) -> tuple[Run, ...]:
        """The runs in the order they are trained, this one last."""
        return (*(self.parent.chain if self.parent else ()), self)

    @property
    def done(self) -> int:
        """Steps of its last checkpoint; an unfinished one has no folder with a plain number for a name."""
        folder = self.workdir / "checkpoints"
        steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
        return max(steps, default=0)

    @property
    def finished(self) -> bool:
        return self.done >= self.config.train.steps


def runs(
    row: Row, seed: int, *, folder: pathlib.Path, root: pathlib.Path, overrides: Overrides
) -> tuple[Run, ...]:
    """The runs of a row, stage by stage.

    Args:
      row: of a table; `overrides` come after its own.
      seed: added to the config's own, unless the stage is fixed.
      folder: where `<config>.py` lies.
      root: gets a folder per run, named by its config and by what can change its weights.

    Raises:
      UserError: a config that is not there or not sound.
    """
    found: list[Run] = []
    for stage in row.stages:
        parent = found[-1] if found else None
        said = {**stage.overrides, **overrides}
        config = configs.load(str(folder / f"{stage.config}.py"), said, systems.schema)
        own = 0 if stage.fixed else seed
        with config.unlocked():
            config.train.seed += own
            if parent:
                config.train.init_from = str(parent.workdir)
        name = f"{stage.config}-{_digest(config, parent)}-seed{own}"
        found.append(Run(config, root / name, parent))
    return tuple(found)


def _digest(config: ConfigDict, parent: Run | None) -> str:
    """Of all that decides the weights but the seed: settings, the records themselves, and what the run starts from.

    Settings at their defaults are left out, so that a key added to the project later does not disown finished runs.
    """
    defaults = _flat(configs.defaults(config.system.name, systems.schema))
    settings = {
        key: value
        for key, value in _flat(config).items()
        if key not in ASIDE and not key.startswith(FREE_KEYS) and value != defaults[key]
    }
    try:
        records = sources.open_split(config.data.dataset, config.data.split).fingerprint
    except UserError:
        records = ""  # not prepared: named so by `require`, before anything is trained
    before = parent.workdir.name.rpartition("-seed")[0] if parent else ""
    said = json.dumps([config.system.name, settings, records, before], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def difference(a: Run, b: Run) -> dict[str, tuple[object, object]]:
    """Keys whose values differ between two runs, seed and starting point aside."""
    one, other = _flat(a.config), _flat(b.config)
    keys = sorted((one.keys() | other.keys()) - set(ASIDE))
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _flat(config: ConfigDict) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section, values in config.to_dict().items()
        for key, value in values.items()
    }


def chosen(table: Table, only: Sequence[str]) -> tuple[Row, ...]:
    """The rows to run: those named, or all but the extra ones.

    Raises:
      UserError: a name that no row to train has.
    """
    names = [row.name for row in table.trained]
    for name in only:
        if name not in names:
            raise UserError(f"{table.name} has no row {name!r} to run; {configs.nearest(name, names)}")
    return tuple(row for row in table.trained if (row.name in only if only else not row.extra))


def dataset_of(score: Score, run: Run) -> str:
    return score.dataset or run.config.eval.dataset or run.config.data.dataset


def needed(table: Table, rows: Sequence[Row], planned: Mapping[str, Sequence[Run]]) -> list[str]:
    """Folders that must be there: what the rows' configs and the scores name."""
    paths: list[str] = []
    for row in rows:
        for run in planned[row.name]:
            weights = [path for key, path in run.config.model.items() if key.endswith("_weights") and path]
            paths += [run.config.data.dataset, *weights]
        paths += [dataset_of(score, planned[row.name][-1]) for score in table.scores]
    return [path for path in dict.fromkeys(paths) if path]


def missing(table: Table, paths: Sequence[str]) -> list[str]:
    """One clause for each folder that is not there: what it is and the command that makes it."""
    absent = [path for path in paths if not pathlib.Path(path).is_dir()]
    return [f"{path} ({table.needs[path]})" if path in table.needs else path for path in absent]


def require(table: Table, rows: Sequence[Row], planned: Mapping[str, Sequence[Run]], *, world: bool) -> None:
    """Refuses before anything is trained what would fail after hours.

    Raises:
      UserError: data or weights are not there, or a data set has no such split.
    """
    absent = missing(table, needed(table, rows, planned))
    if absent:
        instead = "" if world or table.world is None else "; --world runs the same rows on ThermalWorld"
        raise UserError(f"{table.name} needs {' and '.join(absent)}, which is not there{instead}")
    for row in rows:
        for score in table.scores:
            for split in score.splits:
                sources.open_split(dataset_of(score, planned[row.name][-1]), split)
