"""Label maps in a method's own classes: stored labels are matched by their names in the metadata's `label_names`."""

from __future__ import annotations

import colorsys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tdepth_jax.data import records
from tdepth_jax.errors import UserError, nearest

REST = "unlabeled"  # the class that takes every stored label which is no class of its own


def relabelled(source: Any, classes: Sequence[str]) -> Any:
    """A `FrameSource` whose labels are numbers in `classes`, at every camera that has some.

    A stored label whose name is no class becomes "unlabeled" where that is a class, and 255 (ignore) otherwise. The
    metadata gain "absent_classes": those that the data set has no label for.

    Raises:
      UserError: the data set has none of the classes, or does not name its labels.
    """
    names = list(source.metadata.get("label_names", ()))
    if not names:
        raise UserError(
            f"{source.name} names no labels (label_names in its metadata), so they cannot be matched with classes"
        )
    own = [name for name in classes if name != REST]
    if not set(own) & set(names):
        raise UserError(f"{source.name} has none of the classes {', '.join(own)}; it has {', '.join(names)}")
    return _Relabelled(source, tuple(classes), table(names, classes))


def require(source: Any, classes: Sequence[str]) -> None:
    """Raises `UserError` for a class that the data set (before relabelling) has no label for: a typing mistake."""
    names = list(source.metadata.get("label_names", ()))
    for name in classes:
        if name != REST and name not in names:
            raise UserError(
                f"system.classes: {source.name} has no label {name!r}; {nearest(name, names)}"
                if names
                else f"{source.name} names no labels, so system.classes cannot be matched"
            )


# MFNet's own, and for other names what its readers would expect beside them.
COLOURS: Mapping[str, tuple[int, int, int]] = {
    REST: (0, 0, 0), "car": (64, 0, 128), "person": (64, 64, 0), "bike": (0, 128, 192), "curve": (0, 0, 192),
    "car_stop": (128, 128, 0), "guardrail": (64, 64, 128), "color_cone": (192, 128, 128), "bump": (192, 64, 0),
    "road": (96, 96, 104), "ground": (150, 130, 100), "building": (110, 60, 50), "vegetation": (50, 120, 50),
    "sky": (120, 170, 220), "pole": (190, 190, 90), "animal": (220, 120, 30), "wall": (150, 100, 130),
}  # fmt: skip


def colours(classes: Sequence[str]) -> UInt8[np.ndarray, "n 3"]:
    """A colour (red, green, blue) for every class, by its name; unknown names get one of their own by their place."""
    golden = 137.508  # degrees: hues of neighbours are far apart
    found = []
    for i, name in enumerate(classes):
        red, green, blue = colorsys.hsv_to_rgb(i * golden / 360 % 1, 0.65, 0.85)
        found.append(COLOURS.get(name, (round(255 * red), round(255 * green), round(255 * blue))))
    return np.array(found, np.uint8)


def table(names: Sequence[str], classes: Sequence[str]) -> UInt8[np.ndarray, "256"]:
    """Stored label -> class; 255 stays 255."""
    rest = classes.index(REST) if REST in classes else records.IGNORE
    found = np.full(256, records.IGNORE, np.uint8)
    for stored, name in enumerate(names):
        found[stored] = classes.index(name) if name in classes else rest
    return found


class _Relabelled:
    """A source whose frames' label maps pass a table."""

    def __init__(self, source: Any, classes: tuple[str, ...], lookup: np.ndarray):
        self._source, self._lookup = source, lookup
        known = set(source.metadata["label_names"]) | {REST}
        absent = [name for name in classes if name not in known]
        self.metadata: Mapping[str, Any] = {
            **source.metadata,
            "label_names": list(classes),
            "absent_classes": absent,
        }

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> records.Frame:
        return self.read(i)

    def read(self, i: int, keys: Collection[str] | None = None) -> records.Frame:
        frame = self._source.read(i, keys)
        return {k: self._lookup[v] if k.endswith("/labels") else v for k, v in frame.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there yet: a copy is being unpickled
            raise AttributeError(name)
        return getattr(self._source, name)
