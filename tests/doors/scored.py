"""A small data set written by hand, and a run on it whose depth is known: for what evaluate makes of them."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tdepth_jax.data import records
from tdepth_jax.data.shards import ShardWriter

H, W = 24, 32
HEADER = {"sequence", "index", "timestamp_ns", "condition", "thermal/image", "thermal/K"}
WITH_DEPTH = HEADER | {"thermal/depth"}
POSE = "thermal/world_from_camera"


def frame(i, rng, features):
    depth = 30 / (1 + np.arange(H))[:, None] * rng.lognormal(0, 0.2, (H, W)) * rng.uniform(1, 2)
    every = {
        "sequence": f"s{i // 6}",
        "index": i % 6,
        "timestamp_ns": i * 10**8,
        "condition": "night" if i // 6 % 2 else "day",
        "thermal/image": np.round(20000 / depth.clip(1, 60)).astype(np.uint16),  # the answer, readable
        "thermal/K": np.array([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]], np.float32),
        "thermal/depth": depth.clip(1, 60).astype(np.float32),
        POSE: place(i % 6),
    }
    return {key: every[key] for key in features}


def place(i):
    """The camera drives 1 m a frame along its axis, and sinks a little."""
    pose = np.eye(4, dtype=np.float32)
    pose[1:3, 3] = 0.1 * (i % 2), i
    return pose


def write_dataset(root, splits, features=WITH_DEPTH, **facts):
    """`root/1.0.0` with TFRecord shards, written by hand."""
    folder = root / "1.0.0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    info = {"name": root.name, "fileFormat": "tfrecord", "splits": []}
    for split, count in splits.items():
        writer = ShardWriter(folder, root.name, split, "tfrecord")
        for i in range(count):
            writer.write(records.encode(frame(i, rng, features), features))
        writer.finish()
        info["splits"].append({"name": split, "shardLengths": [str(n) for n in writer.lengths]})
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(
        json.dumps({"featuresDict": {"features": {key: {} for key in features}}})
    )
    facts = {"depth_scale": records.DEPTH_SCALE, "synthetic": True} | facts
    (folder / "metadata.json").write_text(json.dumps(facts))


@dataclasses.dataclass(frozen=True)
class Loss:
    """One update's loss, so far as an evaluation without ground truth calls it."""

    def loss(self, params, mutable, batch, targets, rng):
        images = batch["thermal/image"]
        return {
            "photometric": (jnp.zeros(()) + 0.25 * images.shape[0], jnp.zeros(()) + images.shape[0])
        }, mutable


def fake_run(
    data,
    *,
    dataset="world",
    needs=HEADER & {"thermal/image", "thermal/K"},
    scale="relative",
    step=7,
    motion=None,
    predict=None,
):
    def fifth(variables, batch):
        return {"depth": variables["params"]["scale"] * 20000 / batch["thermal/image"].astype(jnp.float32)}

    system = types.SimpleNamespace(
        predict=predict or fifth,
        motion=motion,
        explain=None,
        camera="thermal",
        sees=frozenset(),
        intrinsics=None,
        classes=(),
        scale=scale,
        needs=frozenset(needs),
        wants=frozenset(),
        offsets=(-1, 0, 1),
        teacher=None,
        updates=(Loss(),),
    )
    sections = {
        "system": {"name": "fake"},
        "data": {"dataset": str(data / dataset), "split": "train", "image_size": (H, W)},
        "eval": {
            "dataset": None,
            "split": "test",
            "batch_size": 4,
            "stride": 1,
            "min_depth": 1e-3,
            "max_depth": 80.0,
        },
    }
    return types.SimpleNamespace(
        config=ConfigDict(sections),
        system=system,
        variables={"params": {"scale": jnp.float32(0.2)}},
        step=step,
    )
