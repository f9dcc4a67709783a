"""Scoring label maps by condition, against counts made here pixel by pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_records import Toy

from tdepth_jax.data.sources import open_split
from tdepth_jax.metrics.segmentation import PROTOCOLS
from tdepth_jax.training import segments


def test_day_and_night_are_combined_class_by_class(tmp_path):
    """A prediction that says class 1 in the upper half and 2 below, of noise in five classes; "v" stands for a class
    that the protocol leaves out."""
    Toy(data_dir=tmp_path).prepare()
    source = open_split(tmp_path / "toy", "train")
    source.metadata["label_names"][0] = "background"
    said = np.repeat([[1], [2]], 4, axis=0) * np.ones(10, int)

    def predict(batch):
        return {"labels": np.broadcast_to(said, (len(batch["thermal/image"]), *said.shape))}

    result = segments.evaluate(
        predict, source, sees=frozenset(), image_size=(8, 10), batch_size=4, protocols=(PROTOCOLS["heatnet"],)
    )
    json.dumps(result, allow_nan=False)
    ious = {}
    for condition in ("day", "night"):
        hit, union = np.zeros(5), np.zeros(5)
        for i in np.flatnonzero(source.table["condition"] == condition):
            labels = source[int(i)].get("thermal/labels", np.full((12, 16), 255))
            shown = np.where(np.arange(12)[:, None] < 6, 1, 2) * np.ones(16, int)
            for n in range(5):
                hit[n] += ((labels == n) & (shown == n)).sum()
                union[n] += ((labels != 255) & ((labels == n) | (shown == n))).sum()
        ious[condition] = hit / union
    groups = {g["name"]: g["metrics"] for g in result["protocols"][0]["groups"]}
    assert list(groups) == ["all", "day", "fog", "night", "combined"]
    for condition, values in ious.items():
        assert groups[condition]["miou"] == pytest.approx(values[1:].mean(), rel=1e-5)
    both = (ious["day"] + ious["night"]) / 2
    assert groups["combined"]["iou/x"] == pytest.approx(both[2], rel=1e-5)
    assert groups["all"]["miou/combined"] == pytest.approx(both[1:].mean(), rel=1e-5)
    assert segments.headline(result)["heatnet/miou/combined"] == groups["combined"]["miou"]
