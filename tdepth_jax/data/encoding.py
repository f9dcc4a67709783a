"""The frames of sequences to records, by several processes when asked; the order is the specs' own."""

from __future__ import annotations

import collections
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tdepth_jax.data import index, records, tfrecord
from tdepth_jax.errors import UserError

Row = tuple[str, int, int, str]  # sequence, index, timestamp_ns, condition
Encoded = Iterator[tuple[bytes, Row]]
Frames = Callable[[Any], Iterator[records.Frame]]


class Encoder:
    """Encodes sequences; a context manager, for it may own worker processes.

    Workers are started afresh ("spawn") and write a sequence's records to a file of its own in `folder`,
    which is read back and removed in turn: a long sequence is never held in memory.
    """

    def __init__(
        self, frames: Frames, *, features: frozenset[str], depth_scale: float, jobs: int, folder: Path
    ) -> None:
        self._frames, self._features, self._depth_scale = frames, features, depth_scale
        self._jobs, self._folder = jobs, folder
        self._pool: futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def sequences(self, specs: Sequence[Any]) -> Iterator[Encoded]:
        """The encoded frames of every sequence, in order. Each must be used up before the next."""
        if self._jobs == 1 or len(specs) < 2:
            for spec in specs:
                yield encode_sequence(self._frames, spec, self._features, self._depth_scale)
            return
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = futures.ProcessPoolExecutor(self._jobs, spawn, initializer=_end_with_parent)
        ahead: collections.deque[tuple[Path, futures.Future]] = collections.deque()
        waiting = iter(enumerate(specs))
        while True:
            for number, spec in waiting:
                path = self._folder / f"spool-{number:05d}"
                work = (self._frames, spec, self._features, self._depth_scale, str(path))
                ahead.append((path, self._pool.submit(_spool, *work)))
                if len(ahead) > 2 * self._jobs:
                    break
            if not ahead:
                return
            path, future = ahead.popleft()
            try:
                rows = future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a worker process was killed (out of memory?); prepare again with fewer --jobs"
                ) from error
            yield _unspool(path, rows)
            path.unlink()


def encode_sequence(frames: Frames, spec: Any, features: frozenset[str], depth_scale: float) -> Encoded:
    """Encoded records and index rows of one sequence.

    Raises:
      UserError: a frame breaks the schema; names the sequence and the frame.
    """
    for number, frame in enumerate(frames(spec)):
        try:
            yield records.encode(frame, features, depth_scale=depth_scale), index.row(frame)
        except records.BadRecord as error:
            raise UserError(f"frame {number} of sequence {frame.get('sequence', spec)}: {error}") from error


def _spool(
    frames: Frames, spec: Any, features: frozenset[str], depth_scale: float, path: str
) -> list[tuple[Row, int, int]]:
    """In a worker: the records to a file; (row, offset, length) of each."""
    with tfrecord.TFRecordWriter(path) as writer:
        return [
            (row, writer.write(data), len(data))
            for data, row in encode_sequence(frames, spec, features, depth_scale)
        ]


def _unspool(path: Path, rows: list[tuple[Row, int, int]]) -> Encoded:
    with open(path, "rb") as file:
        for row, offset, length in rows:
            yield tfrecord.read_at(file.fileno(), offset, length), row


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
