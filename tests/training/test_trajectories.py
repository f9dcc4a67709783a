"""Trajectories chained from motions between frames, on a split with gaps, unknown poses and several sequences."""

import json

import numpy as np
import pytest

from tdepth_jax.metrics import pose
from tdepth_jax.training import trajectories

H, W = 4, 6


class Split:
    """What `eval_batches` asks of a source; each image holds its frame's number."""

    name, split = "toy", "test"
    metadata = {}  # noqa: RUF012

    def __init__(self, names, indices, poses, valid=False):
        self.table = np.zeros(len(names), [("sequence", "U8"), ("index", "i8"), ("condition", "U8")])
        self.table["sequence"], self.table["index"] = names, indices
        self.poses = poses
        self.features = frozenset(
            {"thermal/image", "thermal/K", trajectories.POSE} | ({"thermal/valid"} if valid else set())
        )

    def __len__(self):
        return len(self.table)

    def require(self, keys):
        assert set(keys) <= self.features

    def read(self, i, keys=None):
        frame = {
            "thermal/image": np.full((H, W), i, np.uint16),
            "thermal/K": np.eye(3, dtype=np.float32),
            "thermal/valid": np.ones((H, W), np.uint8),
        }
        if self.poses[i] is not None:
            frame[trajectories.POSE] = self.poses[i]
        return {k: v for k, v in frame.items() if keys is None or k in keys}


def winding(n, seed=0):
    """Float64 [n, 4, 4]: a drive through a bend, somewhere in the world."""
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        a = 0.1 * i + seed
        poses[i, :3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
        poses[i, :3, 3] = [10 * (1 - np.cos(a)), 0.05 * i, 10 * np.sin(a)]
    return poses


def oracle(split, scale=1.0):
    """Says the true motion of each pair, its translation scaled; checks what it is fed."""

    def motion(batch):
        first, second = (batch["thermal/image"][:, t, 0, 0, 0].astype(int) for t in (0, 1))
        assert batch["thermal/image"].shape[1:] == (2, H, W, 1)
        found = np.tile(np.eye(4), (len(first), 1, 1))
        for row, (a, b) in enumerate(zip(first, second, strict=True)):
            if b == a + 1 and split.poses[a] is not None and split.poses[b] is not None:
                found[row] = np.linalg.inv(split.poses[b]) @ split.poses[a]
        found[:, :3, 3] *= scale
        return found.astype(np.float32)

    return motion


def evaluate(motion, split, batch_size=4):
    return trajectories.evaluate(motion, split, image_size=(H, W), batch_size=batch_size)


@pytest.fixture
def split():
    """a: 12 frames; b: 15 frames of which number 6 is missing and number 3's pose unknown; c: 3 frames."""
    b = [i for i in range(15) if i != 6]
    poses = [*winding(12), *winding(15, seed=1)[b], *winding(3)]
    poses[12 + 3] = None
    return Split(["a"] * 12 + ["b"] * 14 + ["c"] * 3, [*range(12), *b, *range(3)], poses)


def test_the_true_motion_up_to_scale_is_perfect_and_pieces_end_at_gaps(split):
    result = evaluate(oracle(split, scale=0.1), split)
    named = [(t["name"], t["first"], t["last"]) for t in result["trajectories"]]
    assert named == [("a", 0, 11), ("b", 7, 14)]  # b 0-2 and 4-5 hold no snippet, nor does c
    for key in ("snippet_ate", "snippet_re", "ate_sim3", "rpe_step", "rpe_turn"):
        assert result["all"][key] < 1e-3, key
    assert result["all"]["scale"] == pytest.approx(10, rel=1e-4)
    assert result["all"]["ate_se3"] > 0.5
    assert result["all"]["frames"] == 20
    assert [b["name"] for b in result["baselines"]] == [pose.STILL, pose.AHEAD]
    assert all(b["snippet_ate"] > 0.01 for b in result["baselines"])
    json.dumps(result, allow_nan=False)


def test_figures_are_those_of_the_chained_motions(split):
    rng = np.random.default_rng(0)
    wrong = {i: rng.normal(0, 0.02, 3) for i in range(40)}
    base = oracle(split)

    def motion(batch):
        found = base(batch)
        for row, b in enumerate(batch["thermal/image"][:, 1, 0, 0, 0]):
            found[row, :3, 3] += wrong[int(b)]
        return found

    result = evaluate(motion, split)
    true = winding(12)
    steps = [np.linalg.inv(true[i]) @ true[i - 1] for i in range(1, 12)]
    for i, step in enumerate(steps, start=1):
        step[:3, 3] += wrong[i]
    wanted = pose.finish(pose.errors(pose.accumulate(steps), true))
    for key, value in wanted.items():
        assert result["trajectories"][0][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("size", [1, 3, 29, 64])
def test_the_batch_size_and_padding_change_nothing(split, size):
    assert evaluate(oracle(split, 0.5), split, size) == evaluate(oracle(split, 0.5), split, 4)


def test_the_path_is_seen_from_above_by_the_first_camera(split):
    path = evaluate(oracle(split, 0.1), split)["trajectories"][1]["path"]
    true = winding(15, seed=1)[7:]
    seen = [(np.linalg.inv(true[0]) @ p)[[0, 2], 3] for p in true]
    np.testing.assert_allclose(path["truth"], seen, atol=1e-4)
    np.testing.assert_allclose(path["predicted"], seen, atol=1e-3)
    np.testing.assert_allclose(path["truth"][0], [0, 0], atol=1e-9)
    assert path["truth"][1][1] > 0  # it starts ahead


def test_nothing_long_enough_is_nothing(split):
    short = Split(["a"] * 4, range(4), list(winding(4)))
    assert evaluate(oracle(short), short) is None


def test_the_usable_pixels_reach_the_motion():
    split = Split(["a"] * 6, range(6), list(winding(6)), valid=True)
    seen = []

    def motion(batch):
        seen.append(batch["thermal/valid"].shape)
        return oracle(split)(batch)

    assert evaluate(motion, split)["all"]["ate_sim3"] < 1e-4
    assert seen == [(4, H, W, 1)] * 2
