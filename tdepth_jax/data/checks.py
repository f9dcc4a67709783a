"""What to look at in a split that has just been prepared: is it whole, and is it what one meant?"""

from __future__ import annotations

import numpy as np

from tdepth_jax.data.sources import FrameSource

SAMPLES = 24


def check_split(source: FrameSource) -> list[str]:
    """Reads every record back (checksums) and looks into some; returns what the user should know.

    Raises:
      UserError: a record cannot be read back.
    """
    for i in range(len(source)):
        source.raw(i)
    return _table_warnings(source) + _image_warnings(source)


def sample_numbers(n: int, count: int = SAMPLES) -> np.ndarray:
    """Up to `count` record numbers spread evenly over n."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, count)).astype(int))


def _table_warnings(source: FrameSource) -> list[str]:
    table, said = source.table, []
    same = table["sequence"][1:] == table["sequence"][:-1]
    back = int((same & (np.diff(table["timestamp_ns"]) <= 0)).sum())
    if back:
        said.append(f"the time does not advance between {back} pairs of neighbouring frames")
    _, lengths = np.unique(table["sequence"], return_counts=True)
    short = int((lengths < 3).sum())
    if short:
        said.append(f"{short} of {len(lengths)} sequences have fewer than 3 frames: no (t-1, t, t+1) in them")
    return said


def _image_warnings(source: FrameSource) -> list[str]:
    numbers = sample_numbers(len(source))
    camera = "thermal" if "thermal/image" in source.features else "rgb"
    depths = {"thermal/depth", "rgb/depth"} & source.features
    wanted = ({f"{camera}/image", f"{camera}/K"} & source.features) | depths
    flat, coarse, empty, outside = [], [], 0, []
    for i in numbers.tolist():
        frame = source.read(i, wanted)
        image, K = frame[f"{camera}/image"], frame[f"{camera}/K"]
        if image.min() == image.max():
            flat.append(i)
        elif camera == "thermal" and (image.max() < 256 or not (image % 256).any()):
            coarse.append(i)
        if not (0 <= K[0, 2] < image.shape[1] and 0 <= K[1, 2] < image.shape[0]):
            outside.append(i)
        empty += bool(depths) and not any(frame[key].any() for key in depths & frame.keys())
    said = []
    if flat:
        said.append(f"{len(flat)} of {len(numbers)} frames looked at are constant, e.g. record {flat[0]}")
    if coarse:
        said.append(
            f"{len(coarse)} of {len(numbers)} frames looked at use only 8 bits, e.g. record {coarse[0]}: "
            "were they stretched (AGC) before they were saved?"
        )
    if outside:
        said.append(f"the principal point lies outside the {camera} image, e.g. in record {outside[0]}")
    if empty:
        said.append(f"{empty} of {len(numbers)} frames looked at have no depth at all")
    return said
