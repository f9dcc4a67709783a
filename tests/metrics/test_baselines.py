"""Baselines against a search over every value, and against profiles known beforehand."""

import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import baselines
from tdepth_jax.metrics import depth as m
from tdepth_jax.metrics.protocols import protocols

NONE, MEDIAN = protocols(("none", "median"))


def road(n=12, h=10, w=14, seed=0):
    """Depth falls down the picture; every image has its own scale and its own bumps."""
    rng = np.random.default_rng(seed)
    rows = 40 / (1 + np.arange(h))[:, None]
    truth = rows * rng.uniform(0.5, 1.8, (n, 1, 1)) * rng.lognormal(0, 0.2, (n, h, w))
    truth[:, :2] = 0  # sky: never any ground truth
    return truth.astype(np.float32)


def abs_rel(profile, truths, protocol):
    rows = [m.image_sums(profile.predict(t.shape), t, protocol).sum(0) for t in truths]
    return m.finish(np.stack(rows), "per_image")["abs_rel"]


def fit(truths, protocols=(NONE, MEDIAN), **kw):
    return baselines.fit(lambda i: (truths[i], None), len(truths), protocols, **kw)


def test_the_constant_is_the_best_of_all_constants():
    truths = road()
    found, _ = fit(truths)[NONE]
    grid = [
        abs_rel(baselines.Profile("constant", "", np.array([c])), truths, NONE)
        for c in np.geomspace(1, 60, 400)
    ]
    assert abs_rel(found, truths, NONE) == pytest.approx(min(grid), rel=3e-3)


def test_each_row_is_the_best_of_all_values_for_that_row():
    truths = road(w=5)
    _, found = fit(truths)[NONE]
    for r in range(2, 10):
        g = truths[:, r].astype(float).ravel()
        best = min(np.geomspace(0.5, 60, 4000), key=lambda p: (np.abs(p - g) / g).sum())
        assert (np.abs(found.rows[r] - g) / g).sum() <= (np.abs(best - g) / g).sum() * 1.002


def test_under_median_alignment_the_shape_fit_is_found():
    # Same shape in every image, wildly different scales: only the scaled fit can be exact.
    rows = 40 / (1 + np.arange(8.0))[:, None] * np.ones((8, 6))
    truths = (rows * np.array([0.2, 1.0, 1.9])[:, None, None]).astype(np.float32)
    _, profile = fit(truths)[MEDIAN]
    assert abs_rel(profile, truths, MEDIAN) < 2e-3


def test_the_chosen_fit_beats_the_plain_row_mean_on_the_training_split():
    truths = road(30)
    seen = truths > 0
    mean = truths.sum((0, 2)) / np.maximum(seen.sum((0, 2)), 1)
    plain = baselines.Profile("row-wise", "mean", np.where(mean > 0, mean, mean.max()))
    for protocol in (NONE, MEDIAN):
        constant, rows = fit(truths)[protocol]
        assert abs_rel(rows, truths, protocol) <= abs_rel(plain, truths, protocol) * 1.003
        assert abs_rel(rows, truths, protocol) < abs_rel(constant, truths, protocol)


def test_profiles_stretch_to_other_heights_and_ignore_averaging():
    truths = road()
    found = fit(truths, protocols(("none",), ("per_image", "pooled")))
    assert list(found) == [NONE]
    _, rows = found[NONE]
    assert rows.predict((20, 3)).shape == (20, 3)
    np.testing.assert_allclose(rows.predict((10, 3))[:, 0], rows.rows, rtol=1e-6)


def test_a_split_without_depth_is_said_so():
    with pytest.raises(UserError, match="no ground-truth depth"):
        fit(np.zeros((2, 4, 4), np.float32))
