"""What the readers of raw data sets share: PNG files of a known kind, sorted stems, checks of tracks and depth.

Every mistake is one sentence with the file's name; nothing here writes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import io

# Bit depth and PNG colour types (0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA) of the records' kinds.
KINDS = {"image": (16, (0,)), "depth": (16, (0,)), "grey": (8, (0,)), "color": (8, (2, 3, 6))}


def png(path: Path, kind: str) -> bytes:
    """The unchanged bytes of a PNG of a records' kind: "image" and "depth" 16-bit grey, "grey" 8-bit, "color".

    Raises:
      UserError: missing, damaged, or of another kind.
    """
    data = io.png_bytes(path)
    bits, colours = KINDS[kind]
    if (data[24], data[25] in colours) != (bits, True):
        wanted = "colours" if kind == "color" else "one channel"
        raise UserError(
            f"{path} has {data[24]} bits and PNG colour type {data[25]}, wanted {bits} bits and {wanted}: it is "
            "not the released file (8-bit previews and colour maps have lost the levels)"
        )
    return data


def png_size(data: bytes) -> tuple[int, int]:
    """(height, width) from a PNG's header."""
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def stems(folder: Path, suffix: str = ".png") -> tuple[str, ...]:
    """File names without suffix, sorted by their numbers; hidden files are not looked at.

    Raises:
      UserError: no such folder, or none of these files in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; unpack or download that part of the data set")
    found = [p.stem for p in folder.iterdir() if p.suffix == suffix and not p.name.startswith(".")]
    if not found:
        raise UserError(f"{folder} holds no *{suffix}; unpack or download that part of the data set again")
    return tuple(sorted(found, key=io.natural_key))


def require(folder: Path, wanted: Sequence[str], suffix: str = ".png") -> None:
    """Raises `UserError` when `folder` lacks one of the files `wanted`: how many, and the first."""
    there = set(stems(folder, suffix))
    missing = [stem for stem in wanted if stem not in there]
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} of {len(wanted)} files, the first is {missing[0]}{suffix}; was the "
            "archive unpacked to its end?"
        )


def nearest(depth: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Depth at another size: every pixel takes the measurement whose centre is nearest; none are mixed.

    Centres at integers: row i of the result looks at (i + 0.5) h / H - 0.5 of the source.
    """
    if depth.shape == size:
        return np.asarray(depth, np.float32)
    rows, columns = (
        np.clip(np.floor((np.arange(to) + 0.5) * of / to), 0, of - 1).astype(int)
        for of, to in zip(depth.shape, size, strict=True)
    )
    return np.asarray(depth, np.float32)[np.ix_(rows, columns)]


def motion_notes(poses: Float[np.ndarray, "n 4 4"], where: str) -> list[str]:
    """What is odd about world_from_camera poses of a camera that looks where it drives.

    Poses stored the other way round (camera_from_world) and poses in millimetres are both rigid motions: only how
    the camera moves in them tells.
    """
    if len(poses) < 2:
        return []
    steps = np.linalg.solve(poses[:-1], poses[1:])[:, :3, 3]  # the next camera in this one, metres
    length = np.linalg.norm(steps, axis=1)
    said = []
    if np.median(length) > 10:
        said.append(
            f"{where}: the camera moves {np.median(length):.0f} m between most frames; are its poses in millimetres?"
        )
    moving = steps[length > 0.05]
    if len(moving) >= 10 and (moving[:, 2] < 0).mean() > 0.9:
        said.append(
            f"{where}: the camera drives backwards in {(moving[:, 2] < 0).mean():.0%} of its steps; are its poses "
            "camera_from_world?"
        )
    elif len(moving) >= 10 and np.median(np.abs(moving[:, 2]) / np.linalg.norm(moving, axis=1)) < 0.7:
        said.append(
            f"{where}: the camera drives sideways in most of its steps; do poses and calibration have the same axes?"
        )
    return said


def chosen(flag: str, text: str, known: Collection[str]) -> tuple[str, ...]:
    """The words of a list with commas, each of which is `known`."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        if word not in known:
            raise UserError(f"{flag}: there is no {word!r}; choose among {', '.join(known)}")
    if not words:
        raise UserError(f"{flag} is empty; choose among {', '.join(known)}")
    return words


def warn(notes: Sequence[str]) -> list[str]:
    """Prints every note once on standard error and returns them, for the metadata's `checks`."""
    notes = list(dict.fromkeys(notes))
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return notes


def depth_npy(path: Path) -> Float32[np.ndarray, "h w"]:
    """Metres along z from a float `.npy`; what is not finite or not positive is 0, none.

    Raises:
      UserError: missing, damaged, or no float image.
    """
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a depth map ({error}); copy it again") from error
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[-1] == 1 else depth
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise UserError(f"{path} is {depth.dtype} {depth.shape}, wanted float metres (height, width)")
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def numbers(path: Path, count: int, what: str) -> Float[np.ndarray, " n"]:
    """`count` numbers of a text file, in reading order.

    Raises:
      UserError: missing, no numbers, or another count; `what` says what they should be.
    """
    try:
        found = np.array(path.read_text().replace(",", " ").split(), np.float64)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as {what} ({error})") from error
    if found.size != count or not np.isfinite(found).all():
        raise UserError(f"{path} holds {found.size} numbers, wanted {count}: {what}")
    return found
