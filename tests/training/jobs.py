"""Small jobs of one or more real processes: the engine's loop, checkpoints and data pipeline on a toy system.

Processes are forked from a server that has imported everything, so a start costs a second and not ten.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # noqa: F401  (imported before the fork)
import tensorboardX  # noqa: F401
import toys

from tdepth_jax import config as configs
from tdepth_jax.data import pipeline
from tdepth_jax.data.sources import snippet_centres
from tdepth_jax.training import loop, mesh, start, watchdog
from tdepth_jax.training.checkpoint import Checkpoints

FRAMES, SIDE = 40, 16
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jobs"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What every process of a job does.

    Attributes:
      pause: seconds that each batch takes to make; `slow` as many more in the process of that number.
      stuck: (process, step): that process's data never come.
      mistaken: (process, step): that process finds its data wrong.
    """

    workdir: pathlib.Path
    steps: int = 12
    save_every: int = 4
    batch_size: int = 8
    log_every: int = 1
    eval_every: int = 0
    pause: float = 0.0
    slow: tuple[int, float] = (0, 0.0)
    stuck: tuple[int, int] | None = None
    mistaken: tuple[int, int] | None = None
    environment: tuple[tuple[str, str], ...] = ()


class Frames:
    """A split in memory: image i says i in every pixel, with a little noise that it is told apart by."""

    name, split, features, metadata = "memory", "train", frozenset({"thermal/image"}), {}
    table = np.array([(0, i) for i in range(FRAMES)], dtype=[("sequence", np.int64), ("index", np.int64)])

    def __len__(self) -> int:
        return FRAMES

    def snippet_centres(self, offsets: Any) -> np.ndarray:
        return snippet_centres(self.table, offsets)

    def require(self, keys: Any) -> None:
        assert set(keys) <= self.features

    def read(self, i: int, keys: Any = None) -> dict[str, Any]:
        noise = np.random.RandomState(i).randint(0, 2000, (SIDE, SIDE))
        return {"thermal/image": (1000 * i + noise).astype(np.uint16)}


def system() -> Any:
    """The toy system, fed with pixels."""
    toy = toys.make()
    (own,) = toy.updates

    def seen(batch: Any) -> Any:
        x = batch["thermal/image"][:, 0, :2, :2, 0].reshape(-1, 4).astype(jnp.float32) / 40_000
        return {"x": x, "y": jnp.sin(6 * x.sum(axis=1, keepdims=True))}

    def loss(params: Any, mutable: Any, batch: Any, targets: Any, rng: Any) -> Any:
        return own.loss(params, mutable, seen(batch), targets, rng)

    update = dataclasses.replace(own, loss=loss)
    return dataclasses.replace(toy, updates=(update,), needs=frozenset({"thermal/image"}))


class Launched:
    """The processes of a started job."""

    def __init__(self, job: Job, processes: list[Any]):
        self.job, self.processes = job, processes

    def kill(self, number: int, signal: int) -> None:
        os.kill(self.processes[number].pid, signal)

    def wait(self, seconds: float = 300) -> list[int]:
        """Exit codes, a signal's negative."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0.1))
            if process.is_alive():
                said = self.said(self.processes.index(process))
                self.end()
                raise AssertionError(f"still running after {seconds} s: {said[-2000:]}")
        return [process.exitcode for process in self.processes]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def said(self, number: int) -> str:
        return (self.job.workdir / f"said-{number}.txt").read_text()

    def until(self, condition: Any, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said(0)[-2000:]
            assert all(p.is_alive() for p in self.processes), self.said(0)[-2000:]
            time.sleep(0.01)


def launch(job: Job, processes: int = 1) -> Launched:
    job.workdir.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [SERVER.Process(target=_process, args=(job, i, processes, port)) for i in range(processes)]
    for process in started:
        process.start()
    return Launched(job, started)


def losses(workdir: pathlib.Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def lines(workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def seen(workdir: pathlib.Path) -> list[tuple[int, int, int, list[int]]]:
    """(start, step, process, examples) of every batch that was taken, in the order of starts and steps."""
    found = []
    for path in workdir.glob("seen-*.jsonl"):
        _, when, process = path.stem.split("-")
        for line in path.read_text().splitlines():
            row = json.loads(line)
            found.append((int(when), row["step"], int(process), row["examples"]))
    return sorted(found)


def weights(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """The trained parameters at the end of a run."""
    devices = mesh.make_mesh(configs.Mesh())
    with Checkpoints(workdir) as checkpoints:
        state, _, _ = start.resume(system(), devices, toys.config(), checkpoints, checkpoints.latest() or 0)
    return {name: np.asarray(value) for name, value in state.trainable.items()}


def _process(job: Job, index: int, count: int, port: int) -> None:
    said = os.open(job.workdir / f"said-{index}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
    if count > 1:
        os.environ |= {"TDEPTH_COORDINATOR": f"127.0.0.1:{port}", "TDEPTH_PROCESSES": str(count)}
        os.environ["TDEPTH_PROCESS_ID"] = str(index)
    os.environ |= dict(job.environment)
    mesh.join_processes()
    with watchdog.or_end():
        stopped = _train(job, index, count)
    sys.exit(143 if stopped else 0)


def _train(job: Job, index: int, count: int) -> bool:
    config = toys.config(
        steps=job.steps, save_every=job.save_every, batch_size=job.batch_size, log_every=job.log_every
    )
    with config.unlocked():
        config.eval.every = job.eval_every
    devices, toy = mesh.make_mesh(configs.Mesh()), system()
    with Checkpoints(job.workdir, keep=3) as checkpoints:
        done = checkpoints.latest()
        if done is None:
            state, frozen = start.fresh(toy, devices, config)
            checkpoints.save_frozen(frozen)
        else:
            state, frozen, _ = start.resume(toy, devices, config, checkpoints, done)
        with pipeline.train_iterator(
            Frames(), keys=toy.needs, offsets=(0,), image_size=(SIDE, SIDE), batch_size=job.batch_size,
            seed=3, step=done or 0, augment=None, host=index, hosts=count, threads=1,
        ) as batches:  # fmt: skip
            outcome = loop.train(
                toy, state, frozen, _recorded(job, batches, index, done or 0), config=config, mesh=devices,
                workdir=job.workdir, checkpoints=checkpoints, data_position=lambda step: {"step": step},
                evaluate=lambda variables: {"score": 1.0},
            )  # fmt: skip
    return outcome.stopped


def _recorded(job: Job, batches: Any, index: int, done: int) -> Iterator[Any]:
    when = len(list(job.workdir.glob(f"seen-*-{index}.jsonl")))
    with (job.workdir / f"seen-{when}-{index}.jsonl").open("w", buffering=1) as file:
        for step, batch in enumerate(batches, start=done + 1):
            if job.stuck == (index, step):
                time.sleep(3600)
            if job.mistaken == (index, step):
                raise configs.UserError("record 7 of this host's disk is damaged; copy it again")
            file.write(json.dumps({"step": step, "examples": batch["example"].tolist()}) + "\n")
            time.sleep(job.pause + (job.slow[1] if job.slow[0] == index else 0.0))
            yield batch
