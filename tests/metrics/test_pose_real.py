"""Pose metrics on a real drive: the first frames of KITTI 06."""

import numpy as np
import pytest

from tdepth_jax.metrics import pose


@pytest.mark.real
def test_the_baselines_on_a_real_drive(real_data):
    rows = np.loadtxt(real_data / "kitti_seq06" / "poses.txt")
    truth = np.tile(np.eye(4), (len(rows), 1, 1))
    truth[:, :3] = rows.reshape(-1, 3, 4)
    found = {name: pose.finish(pose.errors(p, truth)) for name, p in pose.baselines(truth).items()}
    still, ahead = found[pose.STILL], found[pose.AHEAD]
    # A car drives along its optical axis: with the axes or the direction of motion mistaken this would not hold.
    assert ahead["snippet_ate"] < 0.1 * still["snippet_ate"]
    assert ahead["rpe_step"] < 0.2 * still["rpe_step"]
    motions = np.linalg.inv(truth[1:]) @ truth[:-1]
    perfect = pose.finish(pose.errors(pose.accumulate(motions), truth))
    assert perfect["ate_se3"] < 1e-6
    backwards = pose.finish(pose.errors(pose.accumulate(np.linalg.inv(motions)), truth))
    assert backwards["snippet_ate"] < still["snippet_ate"]  # the published figure hardly minds …
    assert (backwards["backwards"], perfect["backwards"]) == (1.0, 0.0)  # … but it is said
    assert backwards["rpe_step"] > 1.9 * still["rpe_step"]
