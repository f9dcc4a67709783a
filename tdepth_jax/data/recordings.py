"""A user's recordings on disk: which files make up each, what reading them shows, and what is wrong with it.

A folder's single frames are one recording, each of its stacks is one, each sub-folder with frames is one. A pattern
(`DIR/*_ir.png`) picks among the files of the folder and its sub-folders.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tdepth_jax.data import raw
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, io, recording
from tdepth_jax.thermal.faults import Fault

SAMPLES = 24  # frames of a recording that are looked at closely; all are opened
LEAST_FRAMES = 3  # a snippet (t-1, t, t+1)


@dataclasses.dataclass(frozen=True)
class Shot:
    """Where a frame is: a file, and its number in it."""

    path: Path
    page: int = 0


@dataclasses.dataclass(frozen=True)
class Seen:
    """What reading a whole recording showed.

    Attributes:
      constant, repeated: numbers of frames of one value, and of frames equal to the one before.
      top: the highest count.
      sums: checksums of its frames.
      neighbours: uint16 [k, h, w], frames in a row from its beginning.
      spread: frames over its whole length, with their numbers.
    """

    name: str
    folder: Path
    shots: tuple[Shot, ...]
    sizes: tuple[tuple[int, int], ...]
    units: tuple[str, ...]
    notes: tuple[str, ...]
    constant: frozenset[int]
    repeated: frozenset[int]
    top: int
    sums: frozenset[int]
    neighbours: np.ndarray
    spread: tuple[tuple[int, np.ndarray], ...]

    def without_frames(self) -> Seen:
        """For a hundred recordings they would not fit into memory."""
        return dataclasses.replace(self, neighbours=self.neighbours[:0], spread=())


def read(path: Path, unit: str) -> io.Thermal:
    return io.read(path, unit=unit if unit == "centikelvin" else None)


def find(place: Path) -> list[tuple[str, list[Path]]]:
    """(name, files) of every recording in the folder `place`, or of the files that its pattern picks, in natural order.

    Raises:
      UserError: no folder, no frames, or two recordings of one name.
    """
    found: list[tuple[str, list[Path]]] = []
    for name, files in folders(place, "--raw"):
        if files[0].suffix.lower() in (".tif", ".tiff", ".npy") and all(
            len(io.read(f)) > 1 for f in files[:2]
        ):
            alone = len(files) == 1 and name
            found += [((name if alone else f"{name}/{f.stem}".lstrip("/")), [f]) for f in files]
        else:
            found.append((name or _folder(place).resolve().name, files))
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(
            f"{_folder(place)} holds two sequences that would be called {twice!r}; rename a folder or stack"
        )
    return sorted(found, key=lambda one: io.natural_key(one[0]))


def folders(place: Path, option: str) -> list[tuple[str, list[Path]]]:
    """(its path below `place`, "" for itself; its images) of every folder with images that the pattern picks.

    Raises:
      UserError: no folder, or no such image in it or below.
    """
    top, wanted = _folder(place), _pattern(place.name) if "*" in place.name else None
    if not top.is_dir():
        raise UserError(f"{option}={place} is no folder; give the folder that holds the frames")
    found = []
    for inner, below, _ in os.walk(top):
        below[:] = sorted((name for name in below if not name.startswith(".")), key=io.natural_key)
        files = [f for f in io.image_files(Path(inner)) if wanted is None or wanted.fullmatch(f.name)]
        if files:
            below_top = Path(inner).relative_to(top)
            found.append((below_top.as_posix() if below_top.name else "", files))
    if not found:
        which = f"no frames like {place.name}" if wanted else f"no frames ({', '.join(io.SUFFIXES)})"
        raise UserError(f"{top} holds {which}, nor do its sub-folders")
    return found


def key(file: Path, place: Path) -> str:
    """What a file is called beside others of its kind: what the pattern's stars stand for, else its stem."""
    if "*" not in place.name:
        return file.stem
    found = _pattern(Path(place.name).stem).fullmatch(file.stem)
    return ".".join(found.groups()) if found else file.stem


def _folder(place: Path) -> Path:
    return place.parent if "*" in place.name else place


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(map(re.escape, text.split("*"))))


def look(name: str, files: Sequence[Path], unit: str) -> Seen:
    """Opens every frame once; keeps a few.

    Raises:
      UserError: a file that cannot be read.
    """
    from tqdm import tqdm

    shots: list[Shot] = []
    sizes, units, constant, repeated, sums, top = [], [], set(), set(), set(), 0
    notes: tuple[str, ...] = ()
    neighbours: list[np.ndarray] = []
    spread: list[tuple[int, np.ndarray]] = []
    every = max(1, len(files) // SAMPLES)
    previous: np.ndarray | None = None
    for path in tqdm(
        files, f"checking {name}", unit=" files", file=sys.stderr, disable=not sys.stderr.isatty()
    ):
        opened = read(path, unit)
        notes = notes or opened.notes[:1]  # one file speaks for all
        counts = opened.counts()
        for page, frame in enumerate(counts):
            number = len(shots)
            shots.append(Shot(path, page))
            sizes.append(frame.shape)
            units.append(opened.unit)
            top = max(top, int(frame.max()))
            if frame.min() == frame.max():
                constant.add(number)
            elif previous is not None and np.array_equal(previous, frame):
                repeated.add(number)
            else:
                sums.add(zlib.crc32(frame.tobytes()))
                if len(neighbours) < SAMPLES:
                    neighbours.append(frame)
            if number % (every if len(files) > 1 else max(1, len(counts) // SAMPLES)) == 0:
                spread.append((number, frame))
            previous = frame
    same = len(set(sizes)) == 1 and neighbours
    return Seen(
        name=name,
        folder=files[0].parent,
        shots=tuple(shots),
        sizes=tuple(sizes),
        units=tuple(units),
        notes=notes,
        constant=frozenset(constant),
        repeated=frozenset(repeated),
        top=top,
        sums=frozenset(sums),
        neighbours=np.stack(neighbours) if same else np.zeros((0, 1, 1), np.uint16),
        spread=tuple(spread),
    )


def of_one_size(seen: Seen, size: tuple[int, int]) -> None:
    """Raises `UserError` unless all frames have `size` (height, width)."""
    fault = faults.size_fault(seen.sizes, seen.name)
    fault = fault or faults.size_fault([size, seen.sizes[0]], f"the first sequence and {seen.name}")
    if fault:
        raise UserError(str(fault))


def faults_of(
    seen: Seen,
    times: np.ndarray,
    poses: np.ndarray | None,
    valid: np.ndarray | None,
    unit: str,
) -> list[Fault]:
    """All that is wrong with one recording."""
    found = faults_of_stills(seen, valid, unit)
    usable = _usable(seen)
    if usable:
        found += recording.motion_faults(_spread(seen, usable), seen.name, valid=valid)
        jump = recording.level_jumps(seen.neighbours, seen.name)
        found += [jump] if jump else []
    if seen.repeated:
        said = (
            f"{len(seen.repeated)} of {len(seen.shots)} frames repeat the one before (the camera froze: FFC)"
        )
        found.append(Fault("repeated", seen.name, said, "they are left out, and the sequence is cut there"))
    found += faults.time_faults(times, seen.name)
    rate = recording.rate_fault(times, seen.name)
    found += [rate] if rate else []
    if poses is not None:
        found += _pose_faults(poses, seen.name)
    return found


def faults_of_stills(seen: Seen, valid: np.ndarray | None, unit: str) -> list[Fault]:
    """What is wrong with the frames, in whatever order they stand."""
    found = _frame_faults(seen, valid)
    usable = _usable(seen)
    if usable:
        found += _unit_faults(seen, usable, unit)
    if len(seen.neighbours):
        found += faults.sequence_faults(seen.neighbours, seen.name, valid=valid)
    return found + [Fault("assumed", seen.name, note, "give --unit if that is wrong") for note in seen.notes]


def _usable(seen: Seen) -> list[np.ndarray]:
    """Of the frames that were kept those that show something; none of a size too small to judge."""
    usable = [frame for number, frame in seen.spread if number not in seen.constant | seen.repeated]
    return usable if usable and min(usable[0].shape) >= faults.LEAST_SIDE else []


def _spread(seen: Seen, usable: list[np.ndarray]) -> np.ndarray:
    """Frames over the whole recording; of a short one, in which few were picked, all that were kept."""
    return seen.neighbours if len(seen.neighbours) > len(usable) else np.stack(usable)


def _frame_faults(seen: Seen, valid: np.ndarray | None) -> list[Fault]:
    """Each kind of fault once a recording, at the first frame that has it, with how many have it."""
    by_name: dict[str, list[Fault]] = {}
    for number, frame in seen.spread:
        where = f"{seen.name}, {seen.shots[number].path.name}"
        several = faults.frame_faults(frame, where, unit=seen.units[number], valid=valid)
        blank = recording.blank_border(frame, where, valid=valid)
        several = [*several, blank] if blank else several
        for fault in several:
            by_name.setdefault(fault.name, []).append(fault)
    found = []
    for same in by_name.values():
        first, count = same[0], len(same)
        more = f" (so in {count} of {len(seen.spread)} frames looked at)" if count > 1 else ""
        # A dark frame here and there is left out; a recording of them is a failed one.
        grave = first.grave and 2 * count > len(seen.spread)
        found.append(dataclasses.replace(first, sentence=first.sentence + more, grave=grave))
    return found


def _unit_faults(seen: Seen, usable: list[np.ndarray], unit: str) -> list[Fault]:
    if set(seen.units) & {"agc8", "celsius"}:
        return []
    fault = recording.unit_fault(float(np.median(usable[len(usable) // 2])), unit, seen.name)
    return [fault] if fault else []


def _pose_faults(poses: np.ndarray, name: str) -> list[Fault]:
    away = np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=1).max()
    if len(poses) > 1 and away < 1e-6:
        said = "all its poses are in one place"
        return [Fault("poses", name, said, "leave --poses away, or give the right file")]
    found = []
    for note in raw.motion_notes(poses, name):
        said, _, fix = note.removeprefix(f"{name}: ").partition("; ")
        found.append(Fault("poses", name, said, fix))
    return found


def report(found: Sequence[Fault], count: int) -> list[str]:
    """Stops at grave faults; prints the others and returns them. Of `count` recordings not all may stand still.

    Raises:
      UserError: the first grave fault, and how many there are.
    """
    idle = [fault for fault in found if fault.name in ("static", "still")]
    grave = [fault for fault in found if fault.grave]
    if idle and len({fault.where for fault in idle}) == count:
        grave += idle
    if grave:
        more = f" (and {len(grave) - 1} more such faults)" if len(grave) > 1 else ""
        raise UserError(f"{grave[0]}{more}")
    return raw.warn([str(fault) for fault in found])
