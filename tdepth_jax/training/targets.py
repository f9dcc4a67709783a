"""A teacher's targets kept on disk, a row a record, so that each image is looked at once and not once an epoch."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tdepth_jax.errors import UserError
from tdepth_jax.systems.base import Batch, System
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.partition import Flat
from tdepth_jax.training.programs import Programs
from tdepth_jax.training.state import State
from tdepth_jax.training.step import Targets, make_teacher


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where a run keeps its targets, and of how many records."""

    folder: pathlib.Path
    records: int
    fingerprint: str = ""  # of the records: targets of others are no use

    def around(
        self,
        programs: Programs,
        system: System,
        state: State,
        frozen: Flat,
        batch: Batch,
        mesh: jax.sharding.Mesh,
    ) -> Programs:
        """The same compiled programs, whose teacher is asked only about batches with a record it has not seen.

        Raises:
          UserError: the teacher reads parameters that are trained, or the disk is too small.
        """
        if _learns(system, state, frozen, batch):
            raise UserError(
                "train.cache_targets: this teacher reads parameters that are trained, so its targets change with "
                "every step; leave them uncached"
            )
        kept = _Kept(self, programs.like)

        def teach(state: State, frozen: Flat, batch: Batch) -> Targets:
            examples = np.asarray(jax.device_get(batch["example"]))
            if (found := kept.read(examples)) is not None:
                with jax.transfer_guard_host_to_device("allow"):  # as of a batch
                    return jax.device_put(found, meshes.batch_sharding(mesh))
            targets = programs.teach(state, frozen, batch)
            kept.write(examples, jax.device_get(targets))
            return targets

        return dataclasses.replace(programs, teach=teach)


def cache(
    config: ConfigDict, system: System, workdir: Any, records: int, fingerprint: str = ""
) -> Cache | None:
    """The cache that `train.cache_targets` asks for, if it does and there is a teacher.

    Raises:
      UserError: images that differ from one look at a record to the next, or a job of several processes.
    """
    if not config.train.cache_targets or system.teacher is None:
        return None
    if config.data.flip or config.data.scale_crop != 1:
        raise UserError(
            "train.cache_targets keeps one target a record, but data.flip or data.scale_crop shows each record "
            "differently every time: set data.flip=false and data.scale_crop=1, or leave the targets uncached"
        )
    if "://" in str(workdir):
        raise UserError("train.cache_targets needs a local --workdir: its rows are memory-mapped")
    if jax.process_count() > 1:
        raise UserError("train.cache_targets works in a single process; leave it off in a job of several")
    return Cache(pathlib.Path(workdir) / "targets", records, fingerprint)


def _learns(system: System, state: State, frozen: Flat, batch: Batch) -> bool:
    """Whether the teacher reads any of the trained parameters."""
    no = functools.partial(jax.tree.map, lambda _: False)
    trained = dataclasses.replace(no(state), trainable=jax.tree.map(lambda _: True, state.trainable))
    marks = jax.tree.leaves((trained, no(frozen), no(dict(batch))))
    trace = jax.make_jaxpr(make_teacher(system))(state, frozen, dict(batch)).jaxpr
    read = {id(v) for eqn in trace.eqns for v in eqn.invars} | {id(v) for v in trace.outvars}
    return any(mark and id(v) in read for mark, v in zip(marks, trace.invars, strict=True))


class _Kept:
    """Memory-mapped rows of every leaf of the targets, and which of them are filled."""

    def __init__(self, where: Cache, like: Targets):
        leaves, self._structure = jax.tree.flatten(like)
        shapes = [(where.records, *leaf.shape[1:]) for leaf in leaves]
        size = sum(math.prod(s) * leaf.dtype.itemsize for s, leaf in zip(shapes, leaves, strict=True))
        arrays = [[list(s), str(leaf.dtype)] for s, leaf in zip(shapes, leaves, strict=True)]
        said = {"records": where.fingerprint, "arrays": arrays}
        facts = where.folder / "targets.json"
        if not facts.exists() or json.loads(facts.read_text()) != said:
            shutil.rmtree(where.folder, ignore_errors=True)
            where.folder.mkdir(parents=True)
            if size > (free := shutil.disk_usage(where.folder).free):
                raise UserError(
                    f"train.cache_targets needs {size / 2**30:.1f} GiB in {where.folder}, which has {free / 2**30:.1f} "
                    "GiB left: make room, or leave the targets uncached"
                )
            for i, (shape, leaf) in enumerate(zip(shapes, leaves, strict=True)):
                np.memmap(where.folder / f"{i}.raw", leaf.dtype, "w+", shape=shape)  # sparse until written
            np.memmap(where.folder / "filled.raw", bool, "w+", shape=(where.records,))
            facts.write_text(json.dumps(said))
        self._rows = [
            np.memmap(where.folder / f"{i}.raw", leaf.dtype, "r+", shape=shape)
            for i, (shape, leaf) in enumerate(zip(shapes, leaves, strict=True))
        ]
        self._filled = np.memmap(where.folder / "filled.raw", bool, "r+", shape=(where.records,))

    def read(self, examples: np.ndarray) -> Targets | None:
        if not self._filled[examples].all():
            return None
        return jax.tree.unflatten(self._structure, [np.asarray(rows[examples]) for rows in self._rows])

    def write(self, examples: np.ndarray, targets: Targets) -> None:
        for rows, leaf in zip(self._rows, jax.tree.leaves(targets), strict=True):
            rows[examples] = leaf
        self._filled[examples] = True  # last: a run killed in between asks again
