"""Frames as given, written as records: recordings that no builder would take."""

from __future__ import annotations

import pathlib

import numpy as np

from tdepth_jax.data.datasets.base import RecordsBuilder


class Recorded(RecordsBuilder):
    """{name: uint16 frames [n h w]} as the sequences of `train`."""

    def __init__(self, *, data_dir, stacks):
        self._stacks = stacks
        super().__init__(data_dir=data_dir, name="recorded")

    def modalities(self):
        return frozenset({"thermal/image", "thermal/K"})

    def facts(self):
        sensor = {"bit_depth": 14, "unit": "raw", "planck": None}
        return {"sensor": sensor, "radar_columns": [], "label_names": [], "conditions": ["day"]}

    def sequences(self):
        return {"train": tuple(self._stacks.items())}

    @staticmethod
    def frames(spec):
        name, stack = spec
        h, w = stack.shape[1:]
        K = np.array([[w, 0, w / 2 - 0.5], [0, w, h / 2 - 0.5], [0, 0, 1]], np.float32)
        for i, image in enumerate(stack):
            yield {
                "sequence": name,
                "index": i,
                "timestamp_ns": i * 10**8,
                "condition": "day",
                "thermal/image": image,
                "thermal/K": K,
            }


def write(folder, **stacks) -> pathlib.Path:
    """The prepared data set, whose split `train` holds the stacks."""
    Recorded(data_dir=folder, stacks=stacks).prepare()
    return pathlib.Path(folder) / "recorded"
