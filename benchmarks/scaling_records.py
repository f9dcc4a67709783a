"""What opening, shuffling and restarting cost as a data set grows to 10^7 records, which are simulated.

  python benchmarks/scaling_records.py [--most 7]

For 10^4, 10^5, ... records, each in a fresh process: an index of sequences of 200 frames, two conditions and random
checksums is written to the sidecar file and opened again by the code that a run uses; then snippets of three are found,
the shuffled iterator is made and gives its first batch, and others are made that begin at the middle of the first epoch
and in the thousandth. Every record's bytes are those of one small frame, so that reading costs the same everywhere; no
disk is measured. Prints seconds, MiB (resident, beyond what the imports take; and the peak) and, over the last decade,
the slope of each in a log-log plot: 0 does not grow, 1 is linear. At the end, what an open shard costs. About a minute.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pipeline import KEYS, OFFSETS, Scenes

from tdepth_jax.data import index as index_file
from tdepth_jax.data import shards
from tdepth_jax.data.index import Index
from tdepth_jax.data.pipeline import train_iterator
from tdepth_jax.data.sources import FrameSource, open_split
from tdepth_jax.data.transforms import Augment

FRAMES = 200  # of a sequence
IN_SHARD = 1500  # records, of 256 MiB
BATCH = 8
SIZE = (32, 40)
OPENED = 400  # shards, to see what one costs
COLUMNS = {
    "save": "s", "sidecar": "MiB", "open": "s", "fingerprint": "s", "iterator": "s", "first batch": "s",
    "restart, mid-epoch": "s", "restart, epoch 1000": "s", "held": "MiB", "peak": "MiB",
}  # fmt: skip


class Simulated(FrameSource):
    """A source whose records all have the bytes of one."""

    one: bytes

    def raw(self, i: int) -> bytes:
        return self.one


def simulated(n: int, folder: Path) -> tuple[Index, list[Path]]:
    """An index of n records and its shards, which are empty files."""
    rng = np.random.default_rng(0)
    i = np.arange(n)
    count = -(-n // IN_SHARD)
    paths = [folder / shards.shard_name("scenes", "train", "array_record", k, count) for k in range(count)]
    for path in paths:
        path.touch()
    sequence = (i // FRAMES).astype(np.int32)
    return Index(
        sequences=tuple(f"train_{k:06d}_street_day" for k in range(sequence[-1] + 1)),
        conditions=("day", "night"),
        sequence=sequence,
        index=(i % FRAMES).astype(np.int32),
        timestamp_ns=1_700_000_000_000_000_000 + i * 100_000_000,
        condition=sequence % 2,
        shard=(i // IN_SHARD).astype(np.int32),
        offset=i % IN_SHARD,
        length=rng.normal(180_000, 9_000, n).astype(np.int32),
        crc=rng.integers(0, 2**32, n, dtype=np.uint32),
        number=(i % IN_SHARD).astype(np.int32),
        files=index_file.file_sizes(paths),
    ), paths


def resident() -> float:
    """MiB of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(n: int, one: bytes, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        start = time.perf_counter()
        result = function()
        found[name] = time.perf_counter() - start
        return result

    # Made and written by another process, whose memory is not the reader's.
    path = index_file.sidecar(folder, "train")
    queue: Any = multiprocessing.get_context("fork").SimpleQueue()

    def write() -> None:
        made, _ = simulated(n, folder)
        start = time.perf_counter()
        index_file.save(made, path)
        queue.put(time.perf_counter() - start)

    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    writer.join()
    found["save"], found["sidecar"] = queue.get(), path.stat().st_size / 2**20

    before = resident()
    paths = sorted(folder.glob("*.array_record-*"))
    index = timed("open", lambda: index_file.load(path, paths))
    source = timed(
        "fingerprint",
        lambda: Simulated(
            name="scenes", split="train", features=KEYS, metadata={}, index=index,
            reader=shards.ShardReader(paths, "array_record"),
        ),
    )  # fmt: skip
    source.one = one

    def begin(step: int) -> Any:
        return train_iterator(
            source, keys=KEYS, offsets=OFFSETS, image_size=SIZE, batch_size=BATCH, seed=0, step=step,
            augment=Augment(), threads=1,
        )  # fmt: skip

    batches = timed("iterator", lambda: begin(0))
    timed("first batch", lambda: next(batches))
    found["held"] = resident() - before
    batches.close()
    epoch = len(source) // BATCH
    for name, step in (("restart, mid-epoch", epoch // 2), ("restart, epoch 1000", 1000 * epoch)):
        with timed(name, lambda step=step: begin(step)) as batches:
            start = time.perf_counter()
            next(batches)
            found[name] += time.perf_counter() - start
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before
    return found


def open_shards(folder: Path) -> tuple[float, float]:
    """(milliseconds, KiB) of one shard more to be open."""
    builder = Scenes(data_dir=folder, size=SIZE, frames=OPENED + 1)
    builder.shard_bytes = 1
    builder.prepare()
    source = open_split(folder / "scenes", "train")
    source.raw(0)
    before, start = resident(), time.perf_counter()
    for i in range(1, len(source)):
        source.raw(i)
    return 1e3 * (time.perf_counter() - start) / OPENED, 2**10 * (resident() - before) / OPENED


def report(rows: dict[int, dict[str, float]]) -> None:
    sizes = list(rows)
    print(f"{'':<22}" + "".join(f"{f'10^{round(math.log10(n))}':>10}" for n in sizes) + f"{'slope':>8}")
    for name, unit in COLUMNS.items():
        values = [rows[n][name] for n in sizes]
        last, before = max(values[-1], 1e-9), max(values[-2], 1e-9)
        print(
            f"{f'{name} {unit}':<22}"
            + "".join(f"{v:>10.3g}" for v in values)
            + f"{math.log10(last / before):>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=7, help="the power of ten to end with, from 5")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.measure:
            print(json.dumps(measure(args.measure, sys.stdin.buffer.read(), folder)))
            return
        Scenes(data_dir=folder, size=SIZE, frames=1).prepare()
        one = open_split(folder / "scenes", "train").raw(0)
        rows = {}
        for power in range(4, args.most + 1):
            command = [sys.executable, __file__, "--measure", str(10**power)]
            done = subprocess.run(command, input=one, stdout=subprocess.PIPE, check=True)
            rows[10**power] = json.loads(done.stdout)
        report(rows)
        milliseconds, kib = open_shards(folder / "many")
        print(
            f"a shard more that is open: {milliseconds:.2f} ms, {kib:.0f} KiB, one of the process's open files"
        )


if __name__ == "__main__":
    main()
