"""The predictor by itself: arrays and files in, depth, camera and limits out."""

import dataclasses
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from fakes import H, W, fake_run, frame, normalising_system

import tdepth_jax
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.predictor import Predictor, Shot
from tdepth_jax.predictor.model import upsample_depth


def test_infer_takes_files_and_arrays(tmp_path):
    counts = frame()
    np.save(tmp_path / "x.npy", counts)
    predictor = Predictor(fake_run())
    by_file, by_array = predictor.infer(tmp_path / "x.npy"), predictor.infer(counts)
    np.testing.assert_array_equal(by_file.depth, by_array.depth)
    assert by_array.confidence is None
    assert "assumed" in by_array.K_origin
    assert dataclasses.is_dataclass(by_array)
    eight = predictor.infer((counts // 32).astype(np.uint8))
    assert eight.warnings[0].name == "eight_bit"


def test_a_camera_learnt_in_training_is_the_one_that_points_are_made_with():
    run = fake_run()
    run.system.intrinsics = lambda variables, K: K * jnp.float32([[1.5, 1, 1], [1, 1.5, 1], [1, 1, 1]])
    given = np.float32([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    found = Predictor(run).infer(frame(), given)
    np.testing.assert_allclose(found.K, [[90, 0, 31.5], [0, 90, 23.5], [0, 0, 1]])
    assert found.K_origin == "learnt in training; given before"


def test_the_mask_keeps_the_bonnet_out_of_the_range():
    counts = frame()
    counts[36:] = 15000  # a hot bonnet
    valid = np.ones((H, W), bool)
    valid[36:] = False
    predictor = Predictor(fake_run())
    with_it, without = predictor.infer(counts), predictor.infer(counts, valid=valid)
    assert with_it.normalizer["high_counts"] == 15000
    assert without.normalizer["high_counts"] < 7000


def test_limits_of_a_sequence_are_shared(tmp_path, monkeypatch):
    """Something hot comes into view. By each frame's limits its background changes, by shared ones it does not."""
    monkeypatch.setattr(systems, "make", normalising_system)
    run = fake_run()
    run.config.data.image_size = (H, W)
    run.system = normalising_system(run.config)
    quiet, hot = frame(), frame()
    hot[4:12, 4:12] += 8000
    valid = np.ones((H, W), bool)
    valid[40:] = False
    predictor = Predictor(run, batch_size=3)
    shots = [Shot(quiet, valid=valid, name="quiet"), Shot(hot, valid=valid, name="hot")]
    alone = list(predictor.infer_many(shots))
    assert np.abs(1 / alone[0].depth - 1 / alone[1].depth)[20:].max() > 0.2
    low, high = limits = predictor.limits(shots)
    np.testing.assert_allclose(limits, np.percentile(np.stack([quiet, hot])[:, :40], [1, 99]))
    together = list(predictor.infer_many(dataclasses.replace(shot, limits=limits) for shot in shots))
    for found, counts in zip(together, (quiet, hot), strict=True):
        assert found.normalizer == {"method": "sequence", "low_counts": low, "high_counts": high}
        by_hand = 0.1 + np.clip((counts - low) / (high - low), 0, 1)
        np.testing.assert_allclose(1 / found.depth, by_hand, rtol=1e-4)
    # A sequence of one frame: its limits are the frame's, and the depth what the run itself predicts.
    own = predictor.infer(dataclasses.replace(shots[1], limits=predictor.limits(shots[1:])))
    np.testing.assert_allclose(own.depth, alone[1].depth, rtol=1e-4)
    assert run.config.system.normalization == "snippet"


def test_depth_goes_back_to_the_image_by_inverse_depth():
    """On a plane, inverse depth is linear in the pixels: bilinear keeps it so, in depth it would not."""
    inverse = 0.02 + 0.01 * np.arange(16, dtype=np.float32)[:, None] + np.zeros((16, 20), np.float32)
    depth, known = upsample_depth(1 / inverse, (32, 40))
    rows = (np.arange(32) + 0.5) / 2 - 0.5  # where the new pixels lie among the old
    inside = slice(1, 31)
    np.testing.assert_allclose(1 / depth[inside, 7], 0.02 + 0.01 * rows[inside], rtol=1e-4)
    assert known.all()


def test_unknown_depth_stays_unknown():
    depth = np.full((16, 16), 5.0, np.float32)
    depth[4:8, 4:8] = np.nan
    found, known = upsample_depth(depth, (32, 32))
    assert not known[9:15, 9:15].any()
    assert known[20:, 20:].all()
    assert np.isfinite(found).all()


def test_the_package_loads_a_run_and_does_not_start_jax_by_itself(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", "import sys, tdepth_jax; print('jax' in sys.modules, tdepth_jax.load.__module__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["False", "tdepth_jax"]
    with pytest.raises(UserError, match=r"is not a run"):
        tdepth_jax.load(tmp_path)


def test_labels_of_frames_of_any_size_and_what_a_run_does_not_give():
    run = fake_run()
    run.system.classes = ("cold", "hot")
    run.system.predict = lambda variables, batch: {
        "labels": (batch["thermal/image"][..., 0] > 5000).astype(jnp.int32)
    }
    counts = np.full((2 * H, 2 * W), 4000, np.uint16)
    counts[:, W:] = 6000
    predictor = Predictor(run, batch_size=2)
    np.testing.assert_array_equal(predictor.label(counts), counts > 5000)
    assert [x.shape for x in predictor.label_many([Shot(counts), Shot(frame()), Shot(counts)])] == [
        counts.shape, (H, W), counts.shape,
    ]  # fmt: skip
    with pytest.raises(UserError, match="labels and no depth"):
        predictor.infer(counts)
    with pytest.raises(UserError, match="depth and no labels"):
        Predictor(fake_run()).label(counts)
