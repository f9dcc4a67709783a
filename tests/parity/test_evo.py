"""Whole-trajectory errors equal evo's. evo is GPL-3.0: only this test imports it, and it is skipped without it."""

import copy

import numpy as np
import pytest

from tdepth_jax.metrics import pose

trajectory = pytest.importorskip("evo.core.trajectory", reason="pip install evo")
evo_metrics = pytest.importorskip("evo.core.metrics")


def pair(seed=0, n=60):
    """A winding drive, and one of another scale that errs at every step."""
    rng = np.random.default_rng(seed)
    poses = []
    for noise, scale in ((0.0, 1.0), (0.02, 0.2)):
        motions = np.tile(np.eye(4), (n - 1, 1, 1))
        for i, motion in enumerate(motions):
            vector = np.array([0.01, 0.05 * np.sin(i / 8), 0.0]) + noise * rng.normal(size=3)
            angle = np.linalg.norm(vector)
            x, y, z = vector / angle
            K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
            motion[:3, :3] = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
            motion[:3, 3] = scale * (
                np.array([0.0, 0.05, -1.0 - 0.3 * np.sin(i / 5)]) + noise * rng.normal(size=3)
            )
        poses.append(pose.accumulate(motions))
    return poses


def real(real_data, n=50):
    """KITTI 06, and the same with a drift."""
    rows = np.loadtxt(real_data / "kitti_seq06" / "poses.txt")[:n]
    truth = np.tile(np.eye(4), (n, 1, 1))
    truth[:, :3] = rows.reshape(-1, 3, 4)
    drift = pair(1, n)[1]
    drift[:, :3, 3] *= 0.01
    return [truth, truth @ drift]


def evo_of(truth, predicted, *, with_scale):
    ref, est = (trajectory.PosePath3D(poses_se3=list(p)) for p in (truth, predicted))
    est = copy.deepcopy(est)
    est.align(ref, correct_scale=with_scale)
    found = {}
    for name, metric in (
        ("ate", evo_metrics.APE(evo_metrics.PoseRelation.translation_part)),
        ("step", evo_metrics.RPE(evo_metrics.PoseRelation.translation_part, 1, evo_metrics.Unit.frames)),
        ("turn", evo_metrics.RPE(evo_metrics.PoseRelation.rotation_angle_deg, 1, evo_metrics.Unit.frames)),
    ):
        metric.process_data((ref, est))
        found[name] = metric.get_statistic(evo_metrics.StatisticsType.rmse)
    return found


def same(truth, predicted):
    ours = pose.finish(pose.errors(predicted, truth))
    similar = evo_of(truth, predicted, with_scale=True)
    assert ours["ate_sim3"] == pytest.approx(similar["ate"], rel=1e-5)
    assert ours["rpe_step"] == pytest.approx(similar["step"], rel=1e-5)
    assert ours["rpe_turn"] == pytest.approx(similar["turn"], rel=1e-5)
    assert ours["ate_se3"] == pytest.approx(evo_of(truth, predicted, with_scale=False)["ate"], rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_winding_drive(seed):
    same(*pair(seed))


@pytest.mark.real
def test_a_real_drive(real_data):
    same(*real(real_data))
