"""Pose metrics against arithmetic done one frame at a time, and against what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdepth_jax.metrics import pose


def turn(axis, angle):
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


def rigid(rotation, translation):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, translation
    return T


def drive(n=40, seed=0, noise=0.0):
    """A winding drive, as motions from each frame to the next."""
    rng = np.random.default_rng(seed)
    motions = []
    for i in range(n - 1):
        R = turn([0.1, 1, 0.05], 0.05 * math.sin(i / 6)) @ turn(rng.normal(size=3), noise * rng.normal())
        motions.append(rigid(R, [0.02, 0.01, -1 - 0.2 * math.sin(i / 4)] + noise * rng.normal(size=3)))
    return np.stack(motions)


def trajectory(n=40, seed=0, noise=0.0):
    return pose.accumulate(drive(n, seed, noise))


def test_accumulated_motions_are_the_poses():
    motions = drive(6)
    poses = pose.accumulate(motions)
    np.testing.assert_array_equal(poses[0], np.eye(4))
    for i in range(5):  # source_from_target = inv(world_from_source) world_from_target
        np.testing.assert_allclose(np.linalg.inv(poses[i + 1]) @ poses[i], motions[i], atol=1e-12)


def test_a_snippet_on_paper():
    """Driving 1 m a frame along z; the prediction veers off by 0.1 m in x at the last of five frames."""
    truth = np.tile(np.eye(4), (5, 1, 1))
    truth[:, 2, 3] = np.arange(5)
    predicted = truth.copy()
    predicted[4, 0, 3] = 0.1
    predicted[4, :3, :3] = turn([0, 1, 0], 0.2)
    (ate,), (re,), (scale,) = pose.snippet_errors(predicted, truth)
    s = 30 / 30.01  # Σ g·p / Σ p·p
    assert scale == pytest.approx(s)
    off = sum((k - s * k) ** 2 for k in range(5)) + (s * 0.1) ** 2
    assert ate == pytest.approx(math.sqrt(off) / 5)
    assert re == pytest.approx(0.2 / 5)


def published(truth, predicted):
    """The published program's arithmetic, one snippet at a time."""
    ates, res = [], []
    for start in range(len(truth) - 4):
        g = np.stack([np.linalg.inv(truth[start]) @ T for T in truth[start : start + 5]])
        p, world = [np.eye(4)], np.eye(4)
        for i in range(start, start + 4):
            world = world @ np.linalg.inv(np.linalg.inv(predicted[i + 1]) @ predicted[i])
            p.append(world)
        p = np.stack(p)
        scale = (g[:, :3, 3] * p[:, :3, 3]).sum() / (p[:, :3, 3] ** 2).sum()
        ates.append(np.linalg.norm(g[:, :3, 3] - scale * p[:, :3, 3]) / 5)
        total = 0.0
        for a, b in zip(g, p, strict=True):
            R = a[:3, :3] @ np.linalg.inv(b[:3, :3])
            s = np.linalg.norm([R[0, 1] - R[1, 0], R[1, 2] - R[2, 1], R[0, 2] - R[2, 0]])
            total += np.arctan2(s, np.trace(R) - 1)
        res.append(total / 5)
    return np.array(ates), np.array(res)


def test_snippets_as_published():
    truth, predicted = trajectory(), trajectory(seed=1, noise=0.05)
    predicted[:, :3, 3] *= 0.03
    for mine, theirs in zip(pose.snippet_errors(predicted, truth), published(truth, predicted), strict=False):
        assert len(mine) == 36
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_a_camera_said_to_stand_still_errs_by_the_whole_motion():
    truth = np.tile(np.eye(4), (5, 1, 1))
    truth[:, 2, 3] = np.arange(5)
    (ate,), _, _ = pose.snippet_errors(np.tile(np.eye(4), (5, 1, 1)), truth)
    assert ate == pytest.approx(math.sqrt(30) / 5)
    assert pose.snippet_errors(truth[:4], truth[:4])[0].size == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 50.0))
def test_umeyama_finds_the_similarity_that_made_the_points(seed, scale):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(12, 3))
    R, t = turn(rng.normal(size=3), rng.uniform(0, 3)), rng.normal(size=3)
    found = pose.umeyama(points, scale * points @ R.T + t, with_scale=True)
    np.testing.assert_allclose(found.rotation, R, atol=1e-9)
    np.testing.assert_allclose(found.translation, t, atol=1e-7)
    assert found.scale == pytest.approx(scale)


def test_umeyama_is_the_least_of_all_and_never_mirrors():
    rng = np.random.default_rng(0)
    p, g = rng.normal(size=(2, 20, 3))
    g = p * [1, 1, -1] + 0.1 * g  # the best orthogonal map would mirror
    for with_scale in (False, True):
        found = pose.umeyama(p, g, with_scale=with_scale)
        assert np.linalg.det(found.rotation) == pytest.approx(1)
        best = ((g - found.apply(p)) ** 2).sum()
        for _ in range(200):
            near = pose.Alignment(
                found.rotation @ turn(rng.normal(size=3), 0.05 * rng.normal()),
                found.translation + 0.02 * rng.normal(size=3),
                found.scale * (1 + 0.05 * rng.normal() * with_scale),
            )
            assert ((g - near.apply(p)) ** 2).sum() >= best


def test_whole_trajectories_frame_by_frame():
    truth, predicted = trajectory(), trajectory(seed=2, noise=0.02)
    predicted[:, :3, 3] *= 0.1
    found = pose.finish(pose.errors(predicted, truth))
    similar = pose.umeyama(predicted[:, :3, 3], truth[:, :3, 3], with_scale=True)
    far, steps, turns, metres = [], [], [], 0.0
    for i in range(40):
        at = similar.scale * similar.rotation @ predicted[i, :3, 3] + similar.translation
        far.append(np.linalg.norm(at - truth[i, :3, 3]))
        if i:
            moved = np.linalg.inv(predicted[i - 1]) @ predicted[i]
            moved[:3, 3] *= similar.scale
            E = np.linalg.inv(np.linalg.inv(truth[i - 1]) @ truth[i]) @ moved
            steps.append(np.linalg.norm(E[:3, 3]))
            turns.append(math.degrees(math.acos(min(1.0, (np.trace(E[:3, :3]) - 1) / 2))))
            metres += np.linalg.norm(truth[i, :3, 3] - truth[i - 1, :3, 3])
    rms = lambda x: math.sqrt(np.mean(np.square(x)))  # noqa: E731
    assert found["ate_sim3"] == pytest.approx(rms(far))
    assert found["rpe_step"] == pytest.approx(rms(steps))
    assert found["rpe_turn"] == pytest.approx(rms(turns), rel=1e-5)
    assert found["metres"] == pytest.approx(metres)
    assert found["ate_se3"] > 3 * found["ate_sim3"]  # the scale was wrong by ten
    assert (found["frames"], found["scale"]) == (40, pytest.approx(similar.scale))


def test_the_world_frame_and_the_scale_do_not_matter():
    truth, predicted = trajectory(), trajectory(seed=3, noise=0.02)
    elsewhere = rigid(turn([1, 2, 3], 1.0), [5, -7, 9])
    moved = elsewhere @ predicted
    moved[:, :3, 3] = 0.25 * moved[:, :3, 3]
    one, other = (pose.finish(pose.errors(p, truth)) for p in (predicted, moved))
    for key in ("snippet_ate", "snippet_re", "ate_sim3", "rpe_step", "rpe_turn"):
        assert other[key] == pytest.approx(one[key], rel=1e-6), key


def test_a_perfect_trajectory_up_to_scale_is_perfect():
    truth = trajectory()
    predicted = truth.copy()
    predicted[:, :3, 3] /= 7
    found = pose.finish(pose.errors(predicted, truth))
    for key in ("snippet_ate", "snippet_re", "ate_sim3", "rpe_step", "rpe_turn"):
        assert found[key] < 1e-6, key
    assert found["scale"] == pytest.approx(7)


def test_several_trajectories_are_joined_before_any_mean():
    a, b = (pose.errors(trajectory(n, seed=s, noise=0.05), trajectory(n)) for n, s in ((10, 4), (30, 5)))
    both = pose.finish(pose.join([a, b]))
    assert both["snippet_ate"] == pytest.approx((a.snippet_ate.sum() + b.snippet_ate.sum()) / (6 + 26))
    assert both["ate_sim3"] == pytest.approx(math.sqrt(((a.sim3**2).sum() + (b.sim3**2).sum()) / 40))
    short = pose.finish(pose.errors(trajectory(3), trajectory(3)))
    assert math.isnan(short["snippet_ate"])


def test_baselines():
    truth = trajectory()
    found = pose.baselines(truth)
    still, ahead = (pose.finish(pose.errors(found[name], truth)) for name in (pose.STILL, pose.AHEAD))
    assert ahead["snippet_ate"] < still["snippet_ate"]
    assert still["ate_sim3"] == pytest.approx(np.sqrt(3 * np.var(truth[:, :3, 3], axis=0).mean()))
    assert np.isfinite(list(still.values())).all()
    line = np.tile(np.eye(4), (9, 1, 1))
    line[:, 2, 3] = 0.5 * np.arange(9)
    perfect = pose.finish(pose.errors(pose.baselines(line)[pose.AHEAD], line))
    assert perfect["ate_se3"] < 1e-9
