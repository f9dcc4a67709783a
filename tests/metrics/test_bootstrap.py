"""Bootstrap intervals: against theory where theory knows, and wider where frames are alike."""

import math

import numpy as np
import pytest

from tdepth_jax.metrics import depth as m
from tdepth_jax.metrics.bootstrap import intervals
from tdepth_jax.metrics.protocols import Protocol

RAW = Protocol(alignment="none")


def rows_of(errors):
    """Sums of images of one pixel at 10 m whose relative errors are given."""
    truth = np.full((len(errors), 1, 1, 1), 10.0, np.float32)
    return m.batch_sums((truth * (1 + np.reshape(errors, (-1, 1, 1, 1)))).astype(np.float32), truth, RAW).sum(
        1
    )


def half(interval):
    return (interval[1] - interval[0]) / 2


def test_of_independent_frames_it_is_the_normal_approximation():
    errors = np.random.default_rng(0).gamma(4, 0.05, 900)
    low, high = intervals(rows_of(errors), "per_image", samples=4000)["abs_rel"]
    error = 1.96 * errors.std(ddof=1) / math.sqrt(900)
    assert (low + high) / 2 == pytest.approx(errors.mean(), abs=0.2 * error)
    assert (high - low) / 2 == pytest.approx(
        error, rel=0.25
    )  # thirty blocks tell a spread to about an eighth


def test_frames_that_are_alike_widen_it():
    rng = np.random.default_rng(1)
    alike = np.repeat(rng.gamma(4, 0.05, 90), 10)  # ten copies of ninety frames
    shuffled = rng.permutation(alike)
    wide, narrow = (half(intervals(rows_of(e), "per_image")["abs_rel"]) for e in (alike, shuffled))
    assert wide == pytest.approx(1.96 * alike.std() / math.sqrt(90), rel=0.3)
    assert wide > 2 * narrow


def test_of_many_sequences_it_is_the_spread_of_sequences():
    rng = np.random.default_rng(2)
    level = rng.gamma(4, 0.05, 60)
    errors = np.repeat(level, 20)
    sequences = np.repeat(np.arange(60), 20)
    found = half(intervals(rows_of(errors), "per_image", sequences, samples=4000)["abs_rel"])
    assert found == pytest.approx(1.96 * level.std(ddof=1) / math.sqrt(60), rel=0.15)


def test_coverage_of_a_new_drive():
    """Of forty tests of twelve drives each, most intervals hold the truth; those over frames would not."""
    hits = narrow = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        errors = np.repeat(0.2 + 0.05 * rng.standard_normal(12), 30) + 0.01 * rng.standard_normal(360)
        rows = rows_of(errors)
        low, high = intervals(rows, "per_image", np.repeat(np.arange(12), 30), samples=400)["abs_rel"]
        hits += low < 0.2 < high
        error = 1.96 * errors.std() / math.sqrt(360)
        narrow += abs(errors.mean() - 0.2) < error
    assert hits >= 34
    assert narrow < 25


def test_every_averaging_holds_its_estimate():
    rng = np.random.default_rng(0)
    truth = rng.uniform(5, 50, (300, 4, 4, 1)).astype(np.float32)
    predicted = (truth * rng.lognormal(0, 0.3, (300, 1, 1, 1))).astype(np.float32)
    sequences = np.array(list("abcde"))[np.arange(300) // 60]
    for averaging in ("per_image", "pooled", "per_sequence", "per_range"):
        protocol = Protocol(alignment="none", averaging=averaging)
        rows = m.batch_sums(predicted, truth, protocol.sums_key)
        rows = rows if averaging == "per_range" else rows.sum(1)
        low, high = intervals(rows, averaging, sequences)["abs_rel"]
        assert low < m.finish(rows, averaging, sequences)["abs_rel"] < high, averaging
        assert intervals(rows, averaging, sequences) == intervals(rows, averaging, sequences)  # seeded


def test_one_image_and_images_without_pixels():
    rows = rows_of([0.1, 0.2, 0.3])
    assert intervals(rows[:1], "per_image") == {}
    assert intervals(np.zeros_like(rows), "pooled") == {}
    blank = np.concatenate([rows, np.zeros_like(rows)])
    names = np.array(["a"] * 3 + ["b"] * 3)
    assert intervals(blank, "per_image", names) == intervals(rows, "per_image", names[:3])
