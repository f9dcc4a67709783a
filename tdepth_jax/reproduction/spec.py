"""A published table as a value: its rows, what they train and are scored on, and the numbers that were printed.

A table is one file in `configs/tables/` with `get_table() -> Table`. A row that is trained names configs; a row beside
it says only what differs (`Row.but`). Numbers stand where the publication has them, by score and metric; what no
source gives is left out, never guessed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tdepth_jax.errors import UserError, nearest

FOLDER = pathlib.Path("configs/tables")

Overrides = Mapping[str, str]  # {"train.steps": "60"}: what --config.KEY=VALUE would say
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training run: `configs/<config>.py` with overrides; a later stage starts from the one before.

    A `fixed` one is trained once for all seeds, as imported weights would be; only fixed ones may come before it.
    """

    config: str
    overrides: Overrides = dataclasses.field(default_factory=dict)
    fixed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
      name: for --only and for folders.
      title: as printed.
      stages: in order; none for a row that is quoted and not trained here.
      published: score name -> metric -> the number in the publication.
      source: where the numbers stand.
      note: what a reader must know of this row.
      neighbour, change: the row that this one differs from, and by which overrides (`but`).
      extra: not one of the publication's rows; runs only where --only names it.
    """

    name: str
    title: str
    stages: tuple[Stage, ...] = ()
    published: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    source: str = ""
    note: str = ""
    neighbour: str = ""
    change: Overrides = dataclasses.field(default_factory=dict)
    extra: bool = False

    def but(
        self,
        name: str,
        title: str,
        *,
        change: Overrides = NONE,
        since: int = 1,
        stages: int | None = None,
        **fields: Any,
    ) -> Row:
        """This row with `change` in its stages from number `since` (counted from 1) on, cut after `stages` of them."""
        varied = [
            dataclasses.replace(stage, overrides={**stage.overrides, **change}) if i >= since else stage
            for i, stage in enumerate(self.stages, 1)
        ]
        return Row(
            name=name,
            title=title,
            stages=tuple(varied[:stages]),
            neighbour=self.name,
            change=change,
            **fields,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One group of columns: what every row is scored on.

    Attributes:
      name: the key of `Row.published`.
      title: as printed.
      metrics: names of an evaluation's figures, in the order of the columns.
      protocol: of `metrics.protocols`, whose figures are means over images, so that splits can be merged; for labels of
        `metrics.segmentation`.
      kind: "depth", "pose" for the camera's motion (one split), or "labels" (one split), whose figures are of all
        pixels together.
      dataset: prepared data set; None: the one that the run is scored on by its own config.
      splits: scored one by one and merged, every image alike.
      condition: whose images alone count, e.g. "night"; None: all.
      radar: what methods that see radar are given (`reports.evaluation.Request.radar`).
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    protocol: str
    kind: str = "depth"
    dataset: str | None = None
    splits: tuple[str, ...] = ("test",)
    condition: str | None = None
    radar: str = "given"

    def __post_init__(self) -> None:
        if self.kind in ("pose", "labels") and len(self.splits) != 1:
            what = "camera motion is" if self.kind == "pose" else "labels are"
            raise UserError(f"score {self.name!r}: {what} scored on one split, not {self.splits}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """The same rows on ThermalWorld: which config stands for which, or which chain of them, what stands for each score
    (by its name), and which configs are trained once for all seeds."""

    configs: Mapping[str, str | tuple[str, ...]]
    scores: tuple[Score, ...]
    needs: Mapping[str, str]
    fixed: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A published table.

    Attributes:
      name, title, paper: as printed; the name is the file's.
      scores, rows: see there.
      needs: folder -> the command that makes it; data sets and imported weights.
      notes: choices made here, and what no source states.
      world: the rows on ThermalWorld, where they can be run there.
    """

    name: str
    title: str
    paper: str
    scores: tuple[Score, ...]
    rows: tuple[Row, ...]
    needs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    world: World | None = None

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise UserError(f"table {self.name}: two rows have one name ({', '.join(names)})")
        metrics = {
            score.name: {*score.metrics, *(f"{m}_std" for m in score.metrics)} for score in self.scores
        }
        for row in self.rows:
            for score, numbers in row.published.items():
                if score not in metrics or not metrics[score].issuperset(numbers):
                    raise UserError(
                        f"table {self.name}, row {row.name}: {score} has no column for its numbers"
                    )
            if row.neighbour and row.neighbour not in names:
                raise UserError(f"table {self.name}, row {row.name}: no row {row.neighbour!r} to differ from")

    @property
    def trained(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.stages)

    def in_world(self) -> Table:
        """The table that is run on ThermalWorld: other configs and data, the same rows and changes.

        Raises:
          UserError: the table has no such twin.
        """
        if self.world is None:
            raise UserError(f"{self.name} cannot be run on ThermalWorld; leave out --world")
        other, fixed = self.world.configs, self.world.fixed

        def twins(stage: Stage) -> tuple[Stage, ...]:
            names = other[stage.config]
            chain = (names,) if isinstance(names, str) else names
            return tuple(dataclasses.replace(stage, config=name, fixed=name in fixed) for name in chain)

        rows = tuple(
            dataclasses.replace(row, stages=tuple(twin for stage in row.stages for twin in twins(stage)))
            for row in self.rows
        )
        title = f"ThermalWorld, NOT the published data: {self.title}"
        return dataclasses.replace(
            self, title=title, rows=_shown(rows, self.world), scores=self.world.scores, needs=self.world.needs
        )


def _shown(rows: tuple[Row, ...], world: World) -> tuple[Row, ...]:
    """The rows with those published numbers that a score on ThermalWorld stands for."""
    kept = {score.name for score in world.scores}
    return tuple(
        dataclasses.replace(row, published={k: v for k, v in row.published.items() if k in kept})
        for row in rows
    )


def load(name: str) -> tuple[Table, pathlib.Path]:
    """The table of a name (`configs/tables/<name>.py`) or of a file, and the folder of its configs.

    Raises:
      UserError: no such table, or a file that does not give one.
    """
    path = pathlib.Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        raise UserError(f"there is no table {name!r}; {nearest(name, known())}")
    root = str(path.resolve().parent.parent.parent)  # `from configs.tables import …` works from any folder
    if root not in sys.path:
        sys.path.insert(0, root)
    found = importlib.util.spec_from_file_location(f"tdepth_table_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
        table = module.get_table()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return table, path.parent.parent


def known() -> list[str]:
    """The tables there are; a file that starts with an underscore is what they share."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
