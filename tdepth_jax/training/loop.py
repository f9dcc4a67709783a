"""The training loop: a few verbs in a fixed order, the same for every system."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from tdepth_jax.errors import UserError
from tdepth_jax.systems.base import System
from tdepth_jax.training import flops
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training import programs as programs_of
from tdepth_jax.training.checkpoint import Checkpoints
from tdepth_jax.training.goodput import Goodput
from tdepth_jax.training.partition import Flat
from tdepth_jax.training.state import State, variables
from tdepth_jax.training.stop import StopRequest
from tdepth_jax.training.targets import Cache
from tdepth_jax.training.watchdog import LONG, Watchdog, slowest
from tdepth_jax.training.writers import SCORES, Metrics, NoMetrics

Batches = Iterator[dict[str, np.ndarray]]
Evaluate = Callable[[dict[str, Any]], Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    step: int
    stopped: bool  # by SIGTERM, after saving
    state: State


def train(
    system: System,
    state: State,
    frozen: Flat,
    batches: Batches,
    *,
    config: ConfigDict,
    mesh: jax.sharding.Mesh,
    workdir: epath.Path,
    checkpoints: Checkpoints,
    data_position: Callable[[int], Mapping[str, Any]],
    evaluate: Evaluate,
    cache: Cache | None = None,
) -> Outcome:
    """Takes the steps that are left, from `state.step` to `train.steps`.

    The order of a round is fixed: next batch, step, log the *previous* step (so that the device never waits for
    the host), evaluate, save. Whatever a step wrote is on disk before its checkpoint is, and nothing else is, so a
    killed run repeats at most the steps since its last save and repeats them exactly. A run that is asked to stop has
    no time to evaluate: what its last step owes is made up for when it goes on. With a `cache` the teacher looks at
    each record once.
    """
    settings, start = config.train, int(state.step)
    first = jax.process_index() == 0  # of the processes: the one that writes
    metrics: Metrics | NoMetrics = Metrics(workdir, start) if first else NoMetrics()
    goodput = Goodput(workdir if first else None, start)
    programs = programs_of.jitted(system, state, frozen, config, mesh)
    panels = None
    if system.panels and settings.panels_every:  # computed by every process, written by the first
        panels = jax.jit(system.panels, out_shardings=meshes.replicated(mesh))
    meter = _Meter(batch_size=settings.batch_size, devices=mesh.size, goodput=goodput)
    idle = _Idle(settings.max_bad_steps)
    previous: _Pending | None = None
    stopped = False

    with (
        Watchdog() as watchdog,
        StopRequest() as stop,
        _progress(start, settings.steps) as bar,
        jax.transfer_guard("disallow"),
    ):
        log = functools.partial(
            _log,
            metrics=metrics,
            bar=bar,
            settings=settings,
            meter=meter,
            idle=idle,
            remarks=_Remarks(system),
            workdir=workdir,
        )
        if start and _due(start, config):
            watchdog.doing(start, "scoring", patience=LONG)
            with jax.transfer_guard("allow"):
                if not multihost_utils.broadcast_one_to_all(np.array(metrics.scored(start))):
                    _score(start, state, frozen, metrics, evaluate)
        for done in range(start + 1, settings.steps + 1):
            watchdog.doing(done, "waiting for its data")
            with meter.waiting():
                host_batch = next(batches)
            watchdog.doing(done, "in a step", patience=LONG if done == start + 1 else 1.0)
            batch = meshes.global_batch(mesh, host_batch)
            if done == start + 1:
                programs = programs_of.compiled(programs, state, frozen, batch)
                meter.flops = programs.flops
            if done == start + 2 and system.teacher:
                state, logs, share = programs_of.timed(programs, state, frozen, batch)
                _say(share)
                if cache:
                    programs = cache.around(programs, system, state, frozen, batch, mesh)
            else:
                targets = programs.targets(state, frozen, batch)
                state, logs = programs.update(state, frozen, batch, targets)
            log(previous)
            previous = _Pending(done, logs, host_batch)
            if (
                done <= start + 2
            ):  # the first compiles, the second may be timed: they say nothing about the others
                jax.block_until_ready(state.step)
                meter.reset(done)
            stopped, last = stop.at(done), done == settings.steps
            save = last or stopped or done % settings.save_every == 0
            score = not stopped and _due(done, config)
            show = panels and (last or done % settings.panels_every == 0)
            if save or score or show:
                log(previous)
                previous = None
                watchdog.doing(done, "scoring or saving", patience=LONG)
                with meter.pause(), jax.transfer_guard("allow"):
                    if panels and show:
                        pictures = panels(variables(state, frozen), batch)
                        metrics.images(done, {name: np.asarray(p)[0] for name, p in pictures.items()})
                    if score:
                        _score(done, state, frozen, metrics, evaluate)
                    if save:
                        metrics.flush()
                        goodput.saved(done)
                        checkpoints.save(done, state, data_position(done))
            if stopped:
                break
        step = int(jax.device_get(state.step))
    checkpoints.wait()
    metrics.close()
    return Outcome(step=step, stopped=stopped, state=state)


def _due(step: int, config: ConfigDict) -> bool:
    """Whether a run is scored after `step`."""
    return step == config.train.steps or bool(config.eval.every and step % config.eval.every == 0)


def _score(step: int, state: State, frozen: Flat, metrics: Metrics | NoMetrics, evaluate: Evaluate) -> None:
    scores = evaluate(variables(state, frozen))
    if scores:
        metrics.scalars(step, {f"{SCORES}{name}": value for name, value in scores.items()})


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A step under way on the device: what it will log, and what it was fed."""

    step: int
    logs: dict[str, jax.Array]
    batch: dict[str, np.ndarray]


def _log(
    pending: _Pending | None,
    *,
    metrics: Metrics | NoMetrics,
    bar: tqdm,
    settings: ConfigDict,
    meter: _Meter,
    idle: _Idle,
    remarks: _Remarks,
    workdir: epath.Path,
) -> None:
    if pending is None:
        return
    logs = {name: float(value) for name, value in jax.device_get(pending.logs).items()}
    in_a_row = logs.pop("skipped_in_a_row")
    bar.update(pending.step - bar.n)
    if in_a_row >= settings.max_bad_steps:
        kept = workdir / f"bad_batch_{pending.step}.npz"
        with kept.open("wb") as file:
            np.savez(file, **pending.batch)  # type: ignore[arg-type]
        metrics.scalars(pending.step, logs)
        metrics.close()
        raise UserError(
            f"{int(in_a_row)} steps in a row had a loss or gradient that is NaN or Inf, the last at step "
            f"{pending.step}; its batch is kept in {kept}. Lower optimizer.learning_rate, or set "
            "optimizer.clip_norm, or look at that batch"
        )
    if idle.too_long(logs):
        metrics.scalars(pending.step, logs)
        metrics.close()
        raise UserError(
            f"no pixel taught anything in {idle.most} steps in a row, the last at step {pending.step}: all are masked, "
            "because the camera stands, the predicted motion ran away, or two cameras' views do not meet; check the "
            "data and its poses, or lower optimizer.learning_rate or begin with --init_from, in a new --workdir"
        )
    if pending.step % settings.log_every == 0 or pending.step == settings.steps:
        speed = meter.read(pending.step)
        metrics.scalars(pending.step, logs | speed)
        remarks.make(logs)
        shown = {"loss": f"{logs[_total(logs)]:.4f}", "img/s": f"{speed['images_per_sec']:.1f}"}
        if not math.isnan(speed["mfu"]):
            shown["mfu"] = f"{speed['mfu']:.1%}"
        bar.set_postfix(shown, refresh=False)
        if bar.disable and jax.process_index() == 0:
            facts = "  ".join(f"{k} {v}" for k, v in shown.items())
            left = (settings.steps - pending.step) * settings.batch_size / speed["images_per_sec"]
            print(f"step {pending.step}/{settings.steps}  {facts}  left {left:.0f} s", flush=True)


def _say(fact: object) -> None:
    if jax.process_index() == 0:
        tqdm.write(str(fact))


def _total(logs: Mapping[str, float]) -> str:
    return next(name for name in logs if name.split("/")[-1] == "loss")


def _progress(start: int, steps: int) -> tqdm:
    quiet = not sys.stderr.isatty() or jax.process_index() != 0
    return tqdm(total=steps, initial=start, unit="step", disable=quiet, dynamic_ncols=True, smoothing=0.05)


class _Idle:
    """Counts the steps in a row in which no pixel teaches: a loss of exactly zero, or a `valid_share` of it."""

    def __init__(self, most: int):
        self.most, self._count = most, 0

    def too_long(self, logs: Mapping[str, float]) -> bool:
        idle = logs[_total(logs)] == 0 or logs.get("valid_share") == 0
        self._count = self._count + 1 if idle else 0
        return self._count >= self.most


class _Remarks:
    """The system's own warnings about what is logged, each said once."""

    def __init__(self, system: System):
        self._remark, self._said = system.remark, {""}

    def make(self, logs: Mapping[str, float]) -> None:
        sentence = self._remark(logs) if self._remark else ""
        if sentence not in self._said:
            self._said.add(sentence)
            _say(f"warning: {sentence}")


class _Meter:
    """Images per second, utilisation and the share of time spent waiting for data, since the last reading.

    An image is a target frame; the neighbours of its snippet are not counted. Utilisation is the FLOPs that the
    step executes (matrix products and convolutions) over the devices' peak. Of several processes the share of waiting
    is the slowest one's. What is spent in steps goes to the account of `goodput`.
    """

    def __init__(self, *, batch_size: int, devices: int, goodput: Goodput):
        self._batch_size, self._peak = batch_size, flops.device_peak() * devices
        self._goodput = goodput
        self.flops = math.nan
        self.reset(0)

    def reset(self, step: int) -> None:
        self._since, self._paused, self._waited = time.perf_counter(), 0.0, 0.0
        self._step = step

    def pause(self) -> _Stopwatch:
        return _Stopwatch(self, "_paused")

    def waiting(self) -> _Stopwatch:
        return _Stopwatch(self, "_waited")

    def read(self, step: int) -> dict[str, float]:
        elapsed = max(time.perf_counter() - self._since - self._paused, 1e-9)
        steps = max(step - self._step, 1)
        waited, sentence = slowest(self._waited, elapsed)
        if sentence:
            _say(sentence)
        self._goodput.add(elapsed - self._waited)
        self.reset(step)
        rate = steps / elapsed
        return {
            "images_per_sec": rate * self._batch_size,
            "mfu": rate * self.flops / self._peak,
            "data_wait": waited,
            "goodput": self._goodput.share(),
        }


class _Stopwatch:
    """Adds the time inside a with-block to an attribute of the meter."""

    def __init__(self, meter: _Meter, attribute: str):
        self._meter, self._attribute = meter, attribute

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = getattr(self._meter, self._attribute) + time.perf_counter() - self._start
        setattr(self._meter, self._attribute, spent)
