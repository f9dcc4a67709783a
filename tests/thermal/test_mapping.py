"""Temporal mapping against OpenCV's CLAHE, a histogram worked by hand, and the public code's loop over bins."""

import cv2
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdepth_jax.thermal import mapping


def smooth(shape, seed=0, low=2800, high=3500):
    """Counts that vary slowly, with noise, as a thermal frame does."""
    rng = np.random.default_rng(seed)
    base = cv2.resize(rng.uniform(size=(5, 6)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    counts = low + (high - low) * (base - base.min()) / np.ptp(base) + rng.normal(0, 4, shape)
    return np.clip(counts, 0, 2**14 - 1).astype(np.uint16)


@pytest.mark.parametrize("shape", [(256, 320), (64, 80), (128, 160), (61, 83), (64, 83), (256, 322)])
@pytest.mark.parametrize("clip", [2.0, 3.0, 40.0])
def test_clahe_equals_opencv(shape, clip):
    grey = (smooth(shape).astype(float) / 3500 * 255).clip(0, 255).astype(np.uint8)
    ours = np.asarray(jax.jit(lambda x: mapping.clahe(x, clip_limit=clip))(grey[None]))[0]
    theirs = cv2.createCLAHE(clipLimit=clip, tileGridSize=(8, 8)).apply(grey)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # rounding of ties


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_clahe_equals_opencv_on_noise_of_any_contrast(seed):
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(0, 256, 2))
    grey = rng.integers(low, high + 1, (48, 64)).astype(np.uint8)
    theirs = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(grey)
    ours = np.asarray(mapping.clahe(grey[None], clip_limit=2.0))[0]
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def published(images, bins=mapping.BINS):
    """The public code's loop, in NumPy: images [t h w] in [0, 1]; see its README for the paper."""
    low, high = images.min(), images.max()
    histogram, edges = np.histogram(images, bins=bins, range=(low, high))
    share = histogram / histogram.sum()
    out = []
    for image in images:
        new, offset = np.zeros_like(image), low
        for k in range(bins):
            inside = (image > edges[k]) & (image <= edges[k + 1])
            if not inside.any():
                continue
            width = share[k] * (high - low)
            new[inside] = offset + (image[inside] - edges[k]) / (edges[k + 1] - edges[k]) * width
            offset += width
        out.append(new)
    return np.stack(out)


def snippet(seed=0):
    frames = np.stack([smooth((40, 48), seed + i, 2800 + 40 * i, 3500 + 40 * i) for i in range(3)])
    unit = np.float32(frames - frames.min()) / np.float32(np.ptp(frames))
    # Off the bins' edges: torch.histc closes a bin below, the loop above it.
    return np.clip(unit + np.random.default_rng(1).uniform(0, 1e-3, unit.shape), 0, 1).astype("f")


def test_as_published_equals_the_published_loop():
    unit = snippet()
    ours = mapping.rearrange_by_histogram(unit[..., None], np.ones((*unit.shape, 1), bool), as_published=True)
    np.testing.assert_allclose(np.asarray(ours)[..., 0], published(unit), atol=2e-3)


def test_one_temperature_is_one_grey_value_in_every_frame_unlike_as_published():
    """A frame with hot pixels beside one without: the same count must map to the same value in both."""
    unit = np.full((2, 30, 30, 1), 0.21, np.float32)
    unit[0, :10] = 0.61  # bins in between exist in the first frame only
    unit[:, 10:20] = 0.91
    usable = np.ones_like(unit, bool)
    right = np.asarray(mapping.rearrange_by_histogram(unit, usable))
    assert right[0, 15, 0, 0] == pytest.approx(right[1, 15, 0, 0], abs=1e-6)
    wrong = np.asarray(mapping.rearrange_by_histogram(unit, usable, as_published=True))
    assert abs(wrong[0, 15, 0, 0] - wrong[1, 15, 0, 0]) > 0.1


def test_rearrangement_is_equalisation_by_hand():
    """Three quarters of the pixels at 0.1, one quarter at 0.9: half-way through their bins of share 3/4 and 1/4."""
    unit = np.full((1, 4, 4, 1), 3.5 / 30, np.float32)
    unit[0, 0] = 27.5 / 30
    out = np.asarray(mapping.rearrange_by_histogram(unit, np.ones_like(unit, bool)))
    assert out[0, 1, 0, 0] == pytest.approx(0.375, abs=1e-5)
    assert out[0, 0, 0, 0] == pytest.approx(0.875, abs=1e-5)


def test_more_heat_is_never_darker_before_clahe():
    counts = np.stack([smooth((32, 40), i) for i in range(3)])[None, ..., None]
    out = np.asarray(mapping.temporal_mapping(counts, clip_limit=0.0)).ravel()
    order = np.argsort(counts.ravel(), kind="stable")
    assert (np.diff(out[order]) >= 0).all()
    assert len(np.unique(out)) > 200  # the whole range is used


@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_flat_and_masked_snippets_are_finite(clip):
    flat = np.full((1, 3, 32, 40, 1), 3000, np.uint16)
    assert np.isfinite(mapping.temporal_mapping(flat, clip_limit=clip)).all()
    nothing = np.zeros((1, 1, 32, 40, 1), bool)
    assert np.isfinite(mapping.temporal_mapping(flat, valid=nothing, clip_limit=clip)).all()


def test_a_hot_bonnet_outside_the_mask_does_not_change_the_rest():
    counts = np.stack([smooth((32, 40), i) for i in range(3)])[None, ..., None]
    valid = np.ones((1, 1, 32, 40, 1), bool)
    valid[:, :, 24:] = False
    hot = counts.copy()
    hot[:, :, 24:] = 9000
    a, b = (mapping.temporal_mapping(x, valid=valid, clip_limit=0.0)[:, :, :24] for x in (counts, hot))
    np.testing.assert_array_equal(a, b)
