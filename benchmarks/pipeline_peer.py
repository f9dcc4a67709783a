"""Training batches from this project's records and from PyTorch's DataLoader, in turns on the same cores.

  python benchmarks/pipeline_peer.py --torch VENV/bin/python [--stored 256x320] [--size 256x320] [--rounds 7]

VENV needs torch, numpy and opencv-python-headless. Both make the same thing of the same frames: snippets of three
16-bit images, depth and K of the middle one, a random window resized, mirrored half of the time, batches of 8. Ours
reads records; the peer is a Dataset as one would write it by hand, of PNG files in a folder, read with OpenCV,
resized in 16 bits, collated by the DataLoader with persistent workers. Both are tried with 1, 2, 4 threads and 0, 1, 2
workers, and the best of each compared. First both make one example of a fixed window, which must be the same pixels.

Two sets of files: what `cv2.imwrite` writes if it is told nothing, and the PNG bytes of the records, which are not
deflated, for the shards are compressed instead; their sizes on disk are printed. Batches that were fetched ahead while
others took their turn are thrown away before the clock starts. "Per core" is images per second of CPU time, of all
threads and worker processes. About three minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

BATCH = 8
OFFSETS = (-1, 0, 1)
SCALE_CROP = 1.15
FILES = {"plain": "cv2.imwrite's files", "same": "files of the records' PNG"}
THREADS, WORKERS = (1, 2, 4), (0, 1, 2)
AHEAD = 12  # batches: more than either side fetches ahead
Size = tuple[int, int]
Window = tuple[int, int, int, int]  # top, left, height, width


class Folder:
    """The peer's Dataset: a snippet of PNG files, augmented."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.images, self.depths = (sorted(map(str, (folder / n).glob("*.png"))) for n in ("image", "depth"))
        self.K, self.size = np.loadtxt(folder / "K.txt", dtype=np.float32), size

    def __len__(self) -> int:
        return len(self.images) - 2

    def __getitem__(self, i: int) -> dict[str, Any]:
        import torch

        height, width = self.stored()
        h, w = (round(n / random.uniform(1, SCALE_CROP)) for n in (height, width))
        window = random.randint(0, height - h), random.randint(0, width - w), h, w
        made = self.example(i + 1, window, random.random() < 0.5)
        return {key: torch.from_numpy(array) for key, array in made.items()}

    def stored(self) -> Size:
        if not hasattr(self, "_stored"):
            self._stored = cv2.imread(self.images[0], cv2.IMREAD_UNCHANGED).shape
        return self._stored

    def example(self, centre: int, window: Window, flip: bool) -> dict[str, np.ndarray]:
        top, left, h, w = window

        def view(path: str, how: int) -> np.ndarray:
            cut = cv2.imread(path, cv2.IMREAD_UNCHANGED)[top : top + h, left : left + w]
            resized = cv2.resize(cut, self.size[::-1], interpolation=how)
            return np.ascontiguousarray(resized[:, ::-1]) if flip else resized

        shrinks = self.size[0] <= h and self.size[1] <= w
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        depth = view(self.depths[centre], cv2.INTER_NEAREST_EXACT).astype(np.float32) / 256
        K, sy, sx = self.K.copy(), self.size[0] / h, self.size[1] / w
        K[0, 2], K[1, 2] = (K[0, 2] - left + 0.5) * sx - 0.5, (K[1, 2] - top + 0.5) * sy - 0.5
        K[0, 0], K[1, 1] = K[0, 0] * sx, K[1, 1] * sy
        if flip:
            K[0, 2] = self.size[1] - 1 - K[0, 2]
        images = np.stack([view(self.images[centre + offset], how) for offset in OFFSETS])
        return {"image": images[..., None], "depth": depth[..., None], "K": K}


def peer_batches(folder: Path, size: Size, workers: int) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    cv2.setNumThreads(1)  # as ours does, here and in the workers
    loader = DataLoader(
        Folder(folder, size), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    while True:
        yield from loader


def our_batches(folder: Path, size: Size, threads: int) -> Iterator[Any]:
    from pipeline import KEYS

    from tdepth_jax.data.pipeline import train_iterator
    from tdepth_jax.data.sources import open_split
    from tdepth_jax.data.transforms import Augment

    source = open_split(folder / "scenes", "train")
    return train_iterator(
        source, keys=KEYS, offsets=OFFSETS, image_size=size, batch_size=BATCH, seed=0,
        augment=Augment(scale_crop=SCALE_CROP), threads=threads,
    )  # fmt: skip


def write(folder: Path, stored: Size, frames: int) -> None:
    """Records, their PNG bytes as files (`same`), and as OpenCV writes them by itself (`plain`)."""
    from pipeline import Scenes

    from tdepth_jax.data.sources import open_split

    Scenes(data_dir=folder, size=stored, frames=frames).prepare(file_format="array_record")
    source = open_split(folder / "scenes", "train")
    for name in FILES:
        for part in ("image", "depth"):
            (folder / name / part).mkdir(parents=True)
        np.savetxt(folder / name / "K.txt", source[0]["thermal/K"])
    for i in range(len(source)):
        for part in ("image", "depth"):
            data = stored_bytes(source.raw(i), f"thermal/{part}")
            (folder / "same" / part / f"{i:06d}.png").write_bytes(data)
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(folder / "plain" / part / f"{i:06d}.png"), image)
    for name in ("scenes", *FILES):
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        print(f"{FILES.get(name, 'records')}: {size / frames / 1024:.0f} KiB a frame")


def stored_bytes(record: bytes, key: str) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record).features.feature[key].bytes_list.value[0]


def check_the_same(folder: Path, stored: Size, size: Size) -> None:
    """One snippet, one window, mirrored: as the peer makes it, and as this project does."""
    from pipeline import KEYS

    from tdepth_jax.data.sources import open_split
    from tdepth_jax.data.transforms import View

    frames = open_split(folder / "scenes", "train")
    window = (3, 5, round(stored[0] / 1.07), round(stored[1] / 1.11))
    view = View(*window, size, flip=True)
    read = [frames.read(7 + offset, KEYS) for offset in OFFSETS]
    ours = {
        "image": np.stack([view.image(frame["thermal/image"]) for frame in read])[..., None],
        "depth": view.nearest(read[1]["thermal/depth"])[..., None],
        "K": view.intrinsics(read[1]["thermal/K"]),
    }
    for name in FILES:
        theirs = Folder(folder / name, size).example(7, window, flip=True)
        assert ours["image"].dtype == theirs["image"].dtype == np.uint16
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        np.testing.assert_array_equal(ours["depth"], theirs["depth"])
        np.testing.assert_allclose(ours["K"], theirs["K"], rtol=1e-5)
    print("one example of each, from one window: the same images, depth and K")


def serve(batches: Iterator[Any]) -> None:
    """For every line of input, prints the seconds that as many batches took by the clock and of CPU time, after those
    that were fetched ahead."""
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(AHEAD):
            next(batches)
        start = time.perf_counter(), cpu_seconds()
        for _ in range(int(line)):
            next(batches)
        print(time.perf_counter() - start[0], cpu_seconds() - start[1], flush=True)


def cpu_seconds() -> float:
    """Of this process and its worker processes."""
    taken = time.process_time()
    for child in multiprocessing.active_children():
        said = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        taken += (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")
    return taken


Rates = dict[str, list[tuple[float, float]]]


def take(commands: dict[str, list[str]], rounds: int, batches: int) -> Rates:
    """name -> images per second by the clock and of CPU time of every round, one command after the other in each."""
    children = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, command in commands.items()
    }
    found: Rates = {name: [] for name in children}
    for child in children.values():
        if child.stdout.readline().strip() != "ready":
            raise SystemExit("a pipeline did not start; see above")
    for turn in range(rounds + 1):  # the first warms up
        for name, child in children.items():
            child.stdin.write(f"{batches}\n")
            child.stdin.flush()
            wall, cpu = map(float, child.stdout.readline().split())
            if turn:
                images = batches * BATCH * len(OFFSETS)
                found[name].append((images / wall, images / cpu))
    for child in children.values():
        child.stdin.close()
        child.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--stored", default="256x320", metavar="HxW", help="size of the images on disk")
    parser.add_argument("--size", default="256x320", metavar="HxW", help="size of the examples")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=40, help="in a turn")
    parser.add_argument("--serve", nargs=3, metavar=("WHO", "FOLDER", "HOW_MANY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    stored, size = (tuple(map(int, text.split("x"))) for text in (args.stored, args.size))
    if args.serve:
        who, folder, count = args.serve
        make = {"ours": our_batches, "peer": peer_batches}[who]
        serve(iter(make(Path(folder), size, int(count))))
        return
    if not args.torch:
        parser.error("--torch=PYTHON is needed")
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, stored, args.frames)
        check_the_same(folder, stored, size)
        said = [__file__, "--size", args.size, "--serve"]
        commands = {
            f"records, {n} threads": [sys.executable, *said, "ours", str(folder), str(n)] for n in THREADS
        }
        for name, what in FILES.items():
            commands |= {
                f"{what}, {n} workers": [args.torch, *said, "peer", str(folder / name), str(n)]
                for n in WORKERS
            }
        report(take(commands, args.rounds, args.batches))
    finally:
        shutil.rmtree(folder)


def report(found: Rates) -> None:
    """Images a second of every way, and the ratios of neighbouring turns: by the clock of the fastest ways, per core of
    those with least CPU time."""
    print(f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':<34}{'images/s':>10}{'per core':>10}")
    middle = {
        name: [statistics.median(kind) for kind in zip(*rates, strict=True)] for name, rates in found.items()
    }
    for name, (wall, cpu) in middle.items():
        print(f"{name:<34}{wall:>10.0f}{cpu:>10.0f}")
    for what in FILES.values():
        for kind, label in enumerate(("by the clock", "per core")):
            ours, theirs = (
                max((name for name in middle if name.startswith(start)), key=lambda name: middle[name][kind])
                for start in ("records", what)
            )
            pairs = zip(found[ours], found[theirs], strict=True)
            low, half, high = statistics.quantiles([a[kind] / b[kind] for a, b in pairs], n=4)
            print(f"records against {what}, {label}: {half:.2f} times (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
