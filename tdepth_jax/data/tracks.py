"""Times and poses of frames as people write them: text files, a line for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64

from tdepth_jax.errors import UserError

# The least number that is nanoseconds, microseconds, milliseconds since 1970; smaller ones are seconds.
UNITS_NS = ((1e17, 1), (1e14, 10**3), (1e11, 10**6), (float("-inf"), 10**9))


def find(option: str, given: str, *, folder: Path, only: bool) -> Path:
    """The file of a sequence in `folder`: beside its frames, or the path itself when there is `only` one sequence.

    Raises:
      UserError: neither is there.
    """
    inside = folder / given
    if inside.is_file():
        return inside
    if only and Path(given).is_file():
        return Path(given)
    where = inside if only else f"{inside} (with several sequences every folder has its own)"
    raise UserError(f"{option}: there is no file {where}")


def times(path: Path, count: int) -> Int64[np.ndarray, " n"]:
    """Nanoseconds of `count` frames: the last word of every line, in s, ms, us or ns, told apart by their size.

    Raises:
      UserError: another number of lines, or a word that is no time.
    """
    found = []
    for number, row in enumerate(_rows(path, count), start=1):
        try:
            value = Decimal(row[-1])  # nanoseconds since 1970 have 19 digits, a float 16
            found.append(np.int64(int(value * next(unit for least, unit in UNITS_NS if value >= least))))
        except (InvalidOperation, ValueError, OverflowError, StopIteration):
            raise UserError(f"{path}, line {number}: {row[-1]!r} is no time") from None
    return np.array(found, np.int64)


def poses(path: Path, count: int) -> Float64[np.ndarray, "n 4 4"]:
    """world_from_camera of `count` frames: 12 numbers a line (KITTI), 16, or `t x y z qx qy qz qw` (TUM).

    Raises:
      UserError: another number of lines, or a line that is no rigid motion.
    """
    found = []
    for number, row in enumerate(_rows(path, count), start=1):
        try:
            found.append(_pose([float(word) for word in row]))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
    return np.stack(found)


def _rows(path: Path, count: int) -> list[list[str]]:
    """The words of every line that is no comment; as many lines as frames."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})") from error
    rows = [line.replace(",", " ").split() for line in lines if not line.lstrip().startswith("#")]
    rows = [row for row in rows if row]
    if len(rows) != count:
        raise UserError(f"{path} has {len(rows)} lines for {count} frames; give one line for every frame")
    return rows


def _pose(numbers: Sequence[float]) -> Float[np.ndarray, "4 4"]:
    pose = np.eye(4)
    if len(numbers) == 12:
        pose[:3] = np.reshape(numbers, (3, 4))
    elif len(numbers) == 16:
        pose = np.reshape(numbers, (4, 4)).astype(np.float64)
    elif len(numbers) == 8:
        pose[:3, 3] = numbers[1:4]
        size = float(np.linalg.norm(numbers[4:]))
        if not abs(size - 1) < 0.05:
            raise ValueError(
                f"its quaternion has the norm {size:g}; write t x y z qx qy qz qw, the last four of norm 1"
            )
        x, y, z, w = np.array(numbers[4:]) / size
        pose[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    else:
        raise ValueError(
            f"{len(numbers)} numbers are no pose; write 12 (3x4), 16 (4x4) or 8 (t x y z qx qy qz qw)"
        )
    turn = pose[:3, :3]
    if (
        not np.isfinite(pose).all()
        or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-2
        or np.linalg.det(turn) < 0
    ):
        raise ValueError("it is no rigid motion (the 3x3 part must be a rotation)")
    return pose


def tum(seconds: Sequence[float], poses: Float[np.ndarray, "n 4 4"]) -> str:
    """`t x y z qx qy qz qw` a line, as `poses` and `table` read it and other tools do; qw is not negative."""
    lines = []
    for t, pose in zip(seconds, poses, strict=True):
        numbers = [*pose[:3, 3], *_quaternion(pose[:3, :3])]
        lines.append(" ".join([f"{t:.9f}".rstrip("0").rstrip("."), *(f"{x:.9g}" for x in numbers)]))
    return "\n".join(lines) + "\n"


def _quaternion(R: Float[np.ndarray, "3 3"]) -> Float64[np.ndarray, " 4"]:
    """(x, y, z, w) of a rotation: the column of q q^T, which the entries of R give, with the longest diagonal."""
    twice = np.array([[R[2, 1] - R[1, 2]], [R[0, 2] - R[2, 0]], [R[1, 0] - R[0, 1]]])
    outer = np.zeros((4, 4))
    outer[:3, :3] = R + R.T + (1 - np.trace(R)) * np.eye(3)
    outer[:3, 3:], outer[3:, :3], outer[3, 3] = twice, twice.T, 1 + np.trace(R)
    column = outer[:, np.argmax(np.diag(outer))]
    return column / np.linalg.norm(column) * (1 if column[3] >= 0 else -1)


def table(path: Path) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "n 4 4"]]:
    """(nanoseconds, poses) of a table with `t x y z qx qy qz qw` a line; a first line of names is passed over.

    Raises:
      UserError: not readable, or a line that is no time and pose.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error})") from error
    rows = [
        line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")
    ]
    if rows and any(word[:1].isalpha() for word in rows[0]):
        rows = rows[1:]
    found_times, found = [], []
    for number, row in enumerate(rows, start=1):
        try:
            if len(row) != 8:
                raise ValueError(f"{len(row)} numbers, wanted t x y z qx qy qz qw")
            value = Decimal(row[0])
            found_times.append(int(value * next(unit for least, unit in UNITS_NS if value >= least)))
            found.append(_pose([float(word) for word in row]))
        except (ValueError, InvalidOperation) as error:
            raise UserError(f"{path}, row {number}: {error or 'no numbers'}") from None
    if not found:
        raise UserError(f"{path} holds no poses")
    return np.array(found_times, np.int64), np.stack(found)
