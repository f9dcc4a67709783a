"""One training run, from its config to its last checkpoint."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import classes, movement, pipeline, sources
from tdepth_jax.errors import UserError
from tdepth_jax.metrics.protocols import is_indoor, protocols
from tdepth_jax.metrics.segmentation import PROTOCOLS
from tdepth_jax.systems.base import System
from tdepth_jax.training import evaluator, loop, partition, segments, setup, start, targets, watchdog
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.checkpoint import Checkpoints, has_checkpoint


def train(config: ConfigDict, workdir: Any, *, accept_config_change: bool = False) -> loop.Outcome:
    """Trains `config` in `workdir` (local or gs://), from where the run stands; with nothing left to do, does nothing.

    Raises:
      UserError: a config that cannot run, data that does not fit it, a run directory of another config. In a job of
        several processes the sentence is printed and the process ends.
    """
    setup.enable_compilation_cache()
    meshes.join_processes()
    with watchdog.or_end():
        return _train(config, epath.Path(workdir), accept_config_change)


def _train(config: ConfigDict, workdir: epath.Path, accept_config_change: bool) -> loop.Outcome:
    system = systems.make(config)
    mesh = meshes.make_mesh(configs.section(config, "mesh"))
    _check_batch(config, mesh)
    wanted = config.data
    source = sources.open_split(
        wanted.dataset, wanted.split, skip_corrupt=wanted.skip_corrupt, sequences=wanted.sequences
    )
    keys = _keys(system, source, config)
    if system.classes:
        classes.require(source, system.classes)
        source = classes.relabelled(source, system.classes)
    evaluate = _or_said(_evaluation(system, config, mesh))
    if system.motion is not None and config.data.check_movement:
        _check_movement(source, system)

    cache = targets.cache(config, system, workdir, len(source), source.fingerprint)
    # Made before anything is written: it refuses weights that are not there or do not fit.
    begun = None if has_checkpoint(workdir) else start.fresh(system, mesh, config)
    for change in setup.claim_workdir(workdir, config, accept_changes=accept_config_change):
        meshes.say(f"config changed: {change}")
    with setup.held(workdir), Checkpoints(workdir, keep=config.train.keep) as checkpoints:
        position = functools.partial(_position, config, source.fingerprint)
        done = checkpoints.latest()
        if done is None:
            state, frozen = begun or start.fresh(system, mesh, config)
            checkpoints.save_frozen(frozen)
        else:
            state, frozen, saved = start.resume(system, mesh, config, checkpoints, done)
            _same_data(saved, position(done), workdir)
            meshes.say(f"resuming {workdir} at step {done}")
        meshes.say(partition.summary(state.trainable, frozen))
        with pipeline.train_iterator(
            source,
            keys=keys,
            offsets=system.offsets,
            image_size=config.data.image_size,
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            step=done or 0,
            augment=pipeline.Augment(flip=config.data.flip, scale_crop=config.data.scale_crop),
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=config.data.workers,
            threads=config.data.threads,
        ) as batches:
            return loop.train(
                system,
                state,
                frozen,
                batches,
                config=config,
                mesh=mesh,
                workdir=workdir,
                checkpoints=checkpoints,
                data_position=position,
                evaluate=evaluate,
                cache=cache,
            )


def _check_batch(config: ConfigDict, mesh: jax.sharding.Mesh) -> None:
    batch, pieces = config.train.batch_size, config.train.accumulate
    if batch % (pieces * mesh.size):
        raise UserError(
            f"train.batch_size={batch} must be a multiple of {mesh.size} device(s) x train.accumulate={pieces}"
        )


def _keys(system: System, source: Any, config: ConfigDict) -> frozenset[str]:
    missing = system.needs - source.features
    if missing:
        raise UserError(
            f"{config.system.name} needs {', '.join(sorted(missing))}, which {config.data.dataset} "
            f"({config.data.split}) does not have; it has {', '.join(sorted(source.features))}"
        )
    return system.needs | (system.wants & source.features)


def _check_movement(source: sources.FrameSource, system: System) -> None:
    """Before anything is written: video of a standing camera is refused, stops in it are said."""
    note = movement.check(source, system.offsets)
    if note and jax.process_index() == 0:
        print(f"warning: {note}", file=sys.stderr)


def _evaluation(system: System, config: ConfigDict, mesh: jax.sharding.Mesh) -> loop.Evaluate:
    """variables -> {"median/abs_rel": …}; opens its split now, so that a mistake shows before the training.

    Every process scores the whole split: they must feed a program that spans them the same arrays.
    """
    dataset = config.eval.dataset or config.data.dataset
    source = sources.open_split(dataset, config.eval.split)
    if system.classes:
        return _label_evaluation(system, classes.relabelled(source, system.classes), config, mesh)
    if evaluator.truth_of(system.camera) not in source.features:
        return lambda variables: {}
    evaluator.require(source, system.camera, system.sees)
    asked = protocols(
        config.eval.protocols,
        indoor=is_indoor(source.metadata),
        min_depth=config.eval.min_depth,
        max_depth=config.eval.max_depth,
    )
    predict = jax.jit(system.predict, out_shardings=meshes.replicated(mesh))

    def evaluate(variables: dict[str, Any]) -> Mapping[str, float]:
        result = evaluator.evaluate(
            functools.partial(predict, variables),
            source,
            image_size=config.data.image_size,
            batch_size=config.eval.batch_size,
            protocols=asked,
            camera=system.camera,
            sees=system.sees,
            stride=config.eval.stride,
            samples=0,
        )
        return evaluator.headline(result)

    return evaluate


def _or_said(evaluate: loop.Evaluate) -> loop.Evaluate:
    """Scores, or says why there are none: what the scoring finds missing is no reason to lose the training."""

    def scored(variables: dict[str, Any]) -> Mapping[str, float]:
        try:
            return evaluate(variables)
        except UserError as error:
            meshes.say(f"warning: not scored: {error}")
            return {}

    return scored


def _label_evaluation(
    system: System, source: Any, config: ConfigDict, mesh: jax.sharding.Mesh
) -> loop.Evaluate:
    """variables -> {"rtfnet/miou": …} of a method that labels pixels."""
    if segments.TRUTH not in source.features:
        return lambda variables: {}
    predict = jax.jit(system.predict, out_shardings=meshes.replicated(mesh))

    def evaluate(variables: dict[str, Any]) -> Mapping[str, float]:
        result = segments.evaluate(
            functools.partial(predict, variables),
            source,
            sees=system.sees,
            image_size=config.data.image_size,
            batch_size=config.eval.batch_size,
            protocols=tuple(PROTOCOLS.values()),
            stride=config.eval.stride,
        )
        return segments.headline(result)

    return evaluate


def _position(config: ConfigDict, fingerprint: str, step: int) -> dict[str, Any]:
    """Where the run is in its data. The order of batches derives from (seed, step), so this is all of it."""
    silent = ("workers", "threads", "dataset", "check_movement")
    said = {k: v for k, v in config.data.to_dict().items() if k not in silent}
    said |= {"batch_size": config.train.batch_size, "source": fingerprint}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=list).encode()).hexdigest()[:16]
    return {"step": step, "seed": config.train.seed, "fingerprint": digest}


def _same_data(saved: Mapping[str, Any], now: Mapping[str, Any], workdir: Any) -> None:
    if {**saved} != {**now}:
        raise UserError(
            f"{workdir} was trained on other data, or with another seed, crop or batch size, so its batches cannot be "
            "continued; restore the data set, or begin a new --workdir with --init_from"
        )
