"""Batches: the one file that knows Grain.

The order of the operations makes the stream a function of (seed, step) alone. Shuffling comes before the
hosts' slices, augmentation draws from the global index, batching stays inside the random-access part, and
a resumed run slices off the batches already seen. So neither worker processes, threads nor the number of
hosts change what is in global batch s, and the state of the data is one integer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import grain
import numpy as np

from tdepth_jax.data.examples import Example, Singles, Snippets, Viewed
from tdepth_jax.data.sources import FrameSource
from tdepth_jax.data.transforms import Augment
from tdepth_jax.errors import UserError

Batch = dict[str, np.ndarray]
MAX_RADAR_POINTS = 128  # of a frame, where the data set's metadata say no "radar_points"
DEFAULT_THREADS = min(8, os.cpu_count() or 1)


class Batches(Iterator[Batch]):
    """An iterator of numpy batches that can be closed; a with-block closes it."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __next__(self) -> Batch:
        if self._iterator is None:
            raise StopIteration
        return next(self._iterator)

    def close(self) -> None:
        """Stops threads and worker processes. Safe to call twice."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None and hasattr(iterator, "close"):
            iterator.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def train_iterator(
    source: FrameSource,
    *,
    keys: frozenset[str],
    offsets: Sequence[int],
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    step: int = 0,
    augment: Augment | None = None,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    threads: int = DEFAULT_THREADS,
    max_points: int | None = None,
) -> Batches:
    """Endless shuffled batches of snippets, from global batch `step` on.

    Args:
      keys: the frames' keys that are wanted; only these are decoded. "radar" and its columns, as "radar/z", bring
        "radar/valid".
      offsets: T frames around the centre, e.g. (-1, 0, 1).
      image_size: (height, width) that images, depth, labels and masks get, K with them.
      batch_size: of all hosts together; this host yields batch_size // hosts examples.
      seed: the whole stream is a function of it.
      step: batches already used.
      augment: nothing is drawn when None.
      workers: processes (0 = threads of this one; they need a `__main__` guard in the calling script).
      threads: per process; each prepares a batch at a time.

    Yields:
      dicts with a leading batch axis: image [b, T, h, w, c]; world_from_camera [b, T, 4, 4]; of the centre
      frame K [b, 3, 3], depth float32 [b, h, w, 1], labels int32 [b, h, w], thermal/valid bool
      [b, h, w, 1], rgb_from_thermal [b, 4, 4], radar [b, max_points, k], radar/<column> [b, max_points];
      condition/<name> bool [b], whether the frame is of it; "example" int64 [b], the record number of the centre. A
      frame without an optional modality has depth 0, labels 255, pose NaN, no points.

    Raises:
      UserError: a key the data set has not, no snippet that long, sizes that do not divide.
    """
    check_batch(batch_size, host, hosts)
    snippets = Snippets.of(source, frozenset(keys), offsets)
    view = Viewed(
        keys=snippets.keys,
        offsets=snippets.offsets,
        size=check_size(image_size),
        augment=augment or Augment(flip=False, scale_crop=1.0),
        radar_columns=tuple(source.metadata.get("radar_columns", ())),
        max_points=max_points or max_radar_points(source),
    )
    data = grain.MapDataset.source(snippets).seed(int(seed) % 2**32).shuffle().repeat()
    data = data.random_map(view) if augment is not None else data.map(view)
    data = data.slice(slice(host, None, hosts)).batch(batch_size // hosts, drop_remainder=True)
    return _iterate(data.slice(slice(step, None)), workers, threads)


def eval_batches(
    source: FrameSource,
    *,
    keys: frozenset[str],
    image_size: tuple[int, int],
    batch_size: int,
    host: int = 0,
    hosts: int = 1,
    stride: int = 1,
    workers: int = 0,
    threads: int = DEFAULT_THREADS,
    max_points: int | None = None,
) -> Batches:
    """Every `stride`-th frame once, in order, in full batches; as many batches on every host.

    Yields:
      dicts as of `train_iterator` but without the T axis. Images have `image_size` and K belongs to them;
      depth, labels and thermal/valid, which predictions are scored against, keep the stored size. "mask"
      bool [b] is False on padding. Global batch i is the hosts' batches i joined in the order of hosts.
    """
    check_batch(batch_size, host, hosts)
    if stride < 1:
        raise UserError(f"the stride over evaluation frames is {stride}; it must be at least 1")
    source.require(keys)
    most = max_points or max_radar_points(source)
    singles = Singles(source, frozenset(keys), check_size(image_size), stride, most)
    if not len(singles):
        raise UserError(f"{source.name}/{source.split} holds no frames to evaluate")
    local = batch_size // hosts
    count = -(-len(singles) // batch_size)

    def single(i: int) -> Example:
        return singles[i // local * batch_size + host * local + i % local]

    data = grain.MapDataset.range(count * local).map(single)
    return _iterate(data.batch(local, batch_fn=_stack_of(source)), workers, threads)


def max_radar_points(source: FrameSource) -> int:
    """Of a frame's returns, how many an example has room for."""
    return int(source.metadata.get("radar_points", MAX_RADAR_POINTS))


def _stack_of(source: FrameSource) -> Callable[[Sequence[Batch]], Batch]:
    return _Stack(f"{source.name}/{source.split}")


class _Stack:
    """Stacks examples; names the key whose shapes differ (sequences with different cameras)."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, examples: Sequence[Batch]) -> Batch:
        for key in examples[0]:
            shapes = {np.shape(example[key]) for example in examples}
            if len(shapes) > 1:
                raise UserError(
                    f"{self.what}: {key} has frames of different sizes, {sorted(shapes)}, in one batch; "
                    "evaluate with batch_size=1"
                )
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}


def _iterate(data: grain.MapDataset, workers: int, threads: int) -> Batches:
    cv2.setNumThreads(1)  # there are threads already, and OpenCV's own would wait for each other
    options = grain.ReadOptions(num_threads=max(threads, 0), prefetch_buffer_size=max(2, threads))
    iterable = data.to_iter_dataset(options)
    if workers:
        # Grain's workers read absl's flags, which nobody parses here.
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return Batches(iter(iterable))


def check_batch(batch_size: int, host: int, hosts: int) -> None:
    if batch_size < 1 or batch_size % hosts:
        raise UserError(f"the batch size {batch_size} does not divide among {hosts} hosts; choose a multiple")
    if not 0 <= host < hosts:
        raise UserError(f"host {host} of {hosts}: hosts are numbered from 0")


def check_size(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"image_size is {tuple(size)}; it must be (height, width), both positive")
    return int(size[0]), int(size[1])
