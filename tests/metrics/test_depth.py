"""Depth metrics against arithmetic done pixel by pixel, and against what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import depth as m

RAW = m.Protocol(alignment="none")


def by_hand(pairs):
    """Metrics of (predicted, truth) pairs with the definitions written out one pixel at a time."""
    n = len(pairs)
    total = dict.fromkeys(("abs", "sq", "se", "sle", "ae", "log", "d1", "d2", "d3"), 0.0)
    for p, g in pairs:
        total["abs"] += abs(p - g) / g
        total["sq"] += (p - g) ** 2 / g
        total["se"] += (p - g) ** 2
        total["sle"] += (math.log(p) - math.log(g)) ** 2
        total["ae"] += abs(p - g)
        total["log"] += math.log(p) - math.log(g)
        for k in (1, 2, 3):
            total[f"d{k}"] += max(p / g, g / p) < 1.25**k
    mean = {k: v / n for k, v in total.items()}
    return {
        "abs_rel": mean["abs"],
        "sq_rel": mean["sq"],
        "rmse": math.sqrt(mean["se"]),
        "rmse_log": math.sqrt(mean["sle"]),
        "mae": mean["ae"],
        "silog": 100 * math.sqrt(max(mean["sle"] - mean["log"] ** 2, 0.0)),
        "d1": mean["d1"],
        "d2": mean["d2"],
        "d3": mean["d3"],
    }


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-6), key


def scene(seed=0, b=3, h=6, w=8):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 95, (b, h, w, 1)).astype(np.float32)
    truth[rng.random(truth.shape) < 0.3] = 0.0
    predicted = np.clip(truth * rng.lognormal(0, 0.4, truth.shape) + rng.uniform(0, 3, truth.shape), 0.2, 200)
    return predicted.astype(np.float32), truth


def overall(predicted, truth, protocol, **kw):
    return m.finish(m.batch_sums(predicted, truth, protocol, **kw).sum(1), protocol.averaging)


def test_two_pixels_worked_on_paper():
    predicted = np.array([[2.0, 10.0]], np.float32)
    truth = np.array([[4.0, 8.0]], np.float32)
    got = m.finish(m.image_sums(predicted, truth, RAW).sum(0)[None], "pooled")
    assert got["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)
    assert got["sq_rel"] == pytest.approx((1.0 + 0.5) / 2)
    assert got["rmse"] == pytest.approx(2.0)
    assert got["mae"] == pytest.approx(2.0)
    assert got["rmse_log"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(1.25) ** 2) / 2))
    assert (got["d1"], got["d2"], got["d3"]) == (0.0, 0.5, 0.5)  # a ratio of exactly 1.25 is not below it


def test_each_alignment_pixel_by_pixel():
    predicted, truth = scene()
    for alignment, domain in (
        ("none", "depth"),
        ("median", "depth"),
        ("lstsq", "depth"),
        ("lstsq", "inverse_depth"),
    ):
        per_image, everything = [], []
        for p, g in zip(predicted[..., 0], truth[..., 0], strict=True):
            use = (g > 1e-3) & (g < 80)
            p, g = p[use].astype(float), g[use].astype(float)
            if alignment == "median":
                p = p * np.median(g) / np.median(p)
            elif alignment == "lstsq" and domain == "depth":
                s, t = np.polyfit(p, g, 1)
                p = s * p + t
            elif alignment == "lstsq":
                s, t = np.polyfit(1 / p, 1 / g, 1)
                p = 1 / np.maximum(s / p + t, 1 / 80)
            pairs = list(zip(np.clip(p, 1e-3, 80), g, strict=True))
            per_image.append(by_hand(pairs))
            everything += pairs
        mean = {k: float(np.mean([r[k] for r in per_image])) for k in per_image[0]}
        protocol = m.Protocol(alignment=alignment, lstsq_domain=domain)
        same(overall(predicted, truth, protocol), mean)
        pooled = m.Protocol(alignment=alignment, lstsq_domain=domain, averaging="pooled")
        same(overall(predicted, truth, pooled), by_hand(everything))


def test_clamp_before_or_after_the_alignment():
    predicted = np.array([[1.0, 2.0, 400.0]], np.float32)
    truth = np.array([[10.0, 20.0, 70.0]], np.float32)
    after = m.align(predicted[0], truth[0], m.Protocol(alignment="median"))
    before = m.align(predicted[0], truth[0], m.Protocol(alignment="median", clamp="before_alignment"))
    np.testing.assert_allclose(after, [10, 20, 80])
    np.testing.assert_allclose(before, [10, 20, 800])


def test_least_squares_undoes_any_scale_and_shift_of_the_inverse():
    truth = np.random.default_rng(1).uniform(2, 60, (1, 5, 7, 1)).astype(np.float32)
    predicted = 1 / (0.3 * (1 / truth) + 0.01)
    got = overall(predicted, truth, m.Protocol(alignment="lstsq"))
    assert got["abs_rel"] < 1e-5
    assert got["d1"] == 1.0


def test_least_squares_of_a_constant_prediction_is_the_mean():
    truth = np.array([[10.0, 20.0, 30.0]], np.float32)
    got = m.align(np.full(3, 5.0), truth[0], m.Protocol(alignment="lstsq", lstsq_domain="depth"))
    np.testing.assert_allclose(got, 20.0)


def test_resize_is_bilinear_on_the_inverse_with_centres_at_integers():
    depth = np.array([[1.0, 4.0]], np.float32)
    got = m.resize_depth(depth, (1, 4))
    # x = (x' + .5)/2 - .5 = -.25, .25, .75, 1.25 -> inverse depths 1, .8125, .4375, .25
    np.testing.assert_allclose(got, [[1, 1 / 0.8125, 1 / 0.4375, 4]], rtol=1e-4)
    np.testing.assert_allclose(m.resize_depth(depth, (1, 4), "bilinear"), [[1, 1.75, 3.25, 4]], rtol=1e-6)
    np.testing.assert_array_equal(m.resize_depth(depth, (1, 4), "nearest"), [[1, 1, 4, 4]])


def test_bands_split_the_range_and_sum_to_the_whole():
    predicted, truth = scene(3)
    rows = m.batch_sums(predicted, truth, RAW)
    cuts = m.bands(RAW)
    assert [b.name for b in cuts] == ["0-10 m", "10-20 m", "20-40 m", "40-80 m"]
    for i, band in enumerate(cuts):
        inside = (truth >= band.near) & (truth < band.far) & (truth > 1e-3)
        assert rows[:, i, 0].sum() == inside.sum()
        pairs = zip(
            np.clip(predicted[inside].astype(float), 1e-3, 80), truth[inside].astype(float), strict=True
        )
        same(m.finish(rows[:, i], "pooled"), by_hand(list(pairs)))
    assert rows[..., 0].sum() == ((truth > 1e-3) & (truth < 80)).sum()
    assert [b.name for b in m.bands(m.Protocol(max_depth=10.0))] == ["0-10 m"]


def test_a_prediction_that_is_not_finite_counts_as_wholly_wrong():
    truth = np.full((1, 2, 2, 1), 20.0, np.float32)
    predicted = truth.copy()
    predicted[0, 0, 0, 0] = np.nan
    for alignment in ("none", "median"):
        got = overall(predicted, truth, m.Protocol(alignment=alignment, resize="nearest"))
        assert got["abs_rel"] == pytest.approx(0.25, abs=1e-4)
        assert got["d3"] == 0.75


def test_an_image_without_ground_truth_takes_no_part():
    predicted, truth = scene(5)
    empty = np.concatenate([truth, np.zeros_like(truth[:1])])
    both = np.concatenate([predicted, predicted[:1]])
    for averaging in m.AVERAGINGS:
        protocol = m.Protocol(averaging=averaging)
        same(overall(both, empty, protocol), overall(predicted, truth, protocol))
    nothing = m.finish(np.zeros((2, len(m.SUMS))), "per_image")
    assert all(math.isnan(v) for v in nothing.values())


positive = st.floats(0.5, 79.0, width=32)
maps = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.just(3), st.just(5), st.just(1)), elements=positive
)


@settings(max_examples=40, deadline=None)
@given(truth=maps, factor=st.floats(0.05, 20.0), seed=st.integers(0, 99))
def test_the_median_protocol_does_not_see_scale(truth, factor, seed):
    noise = np.random.default_rng(seed).lognormal(0, 0.3, truth.shape)
    predicted = (truth * noise).astype(np.float32)
    protocol = m.Protocol(alignment="median", resize="nearest")
    one = overall(predicted, truth, protocol)
    other = overall((predicted * np.float32(factor)).astype(np.float32), truth, protocol)
    for key in ("abs_rel", "rmse", "rmse_log"):
        assert other[key] == pytest.approx(one[key], rel=1e-4, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(truth=maps, padding=st.integers(0, 3), order=st.randoms(use_true_random=False))
def test_padding_order_and_batching_do_not_matter(truth, padding, order):
    rng = np.random.default_rng(0)
    predicted = (truth * rng.lognormal(0, 0.3, truth.shape)).astype(np.float32)
    n = len(truth)
    shuffled = list(range(n))
    order.shuffle(shuffled)
    junk = np.full((padding, *truth.shape[1:]), 7.0, np.float32)
    padded = np.concatenate([predicted[shuffled], junk]), np.concatenate([truth[shuffled], junk])
    mask = np.arange(n + padding) < n
    for averaging in m.AVERAGINGS:
        protocol = m.Protocol(averaging=averaging)
        plain = overall(predicted, truth, protocol)
        same(overall(*padded, protocol, mask=mask), plain)
        parts = [m.batch_sums(predicted[i : i + 1], truth[i : i + 1], protocol) for i in range(n)]
        same(m.finish(np.concatenate(parts).sum(1), averaging), plain)


def test_pooled_is_the_metric_of_all_pixels_laid_end_to_end():
    predicted, truth = scene(9, b=4)
    pooled = overall(predicted, truth, m.Protocol(alignment="none", averaging="pooled"))
    line = predicted.reshape(1, 1, -1, 1), truth.reshape(1, 1, -1, 1)
    same(overall(*line, RAW), pooled)


def test_intervals_hold_the_estimate_and_match_the_normal_approximation():
    rng = np.random.default_rng(0)
    truth = rng.uniform(5, 50, (300, 4, 4, 1)).astype(np.float32)
    predicted = (truth * rng.lognormal(0, 0.3, (300, 1, 1, 1))).astype(np.float32)
    rows = m.batch_sums(predicted, truth, RAW).sum(1)
    each = m.from_sums(rows)[:, 0]
    low, high = m.intervals(rows, "per_image", samples=2000)["abs_rel"]
    error = 1.96 * each.std(ddof=1) / math.sqrt(300)
    assert (low, high) == pytest.approx((each.mean() - error, each.mean() + error), rel=0.03)
    low, high = m.intervals(rows, "pooled")["abs_rel"]
    assert low < m.finish(rows, "pooled")["abs_rel"] < high
    assert m.intervals(rows, "per_image") == m.intervals(rows, "per_image")  # seeded
    assert m.intervals(rows[:1], "per_image") == {}


def test_protocols_are_named_and_mistakes_are_answered():
    got = m.protocols(("none", "median", "none"), ("per_image", "pooled"))
    assert [p.name for p in got] == ["none/per_image", "none/pooled", "median/per_image", "median/pooled"]
    with pytest.raises(UserError, match="did you mean 'median'"):
        m.Protocol(alignment="meidan")
    with pytest.raises(UserError, match="averaging 'pixel'"):
        m.Protocol(averaging="pixel")
    with pytest.raises(UserError, match="min_depth"):
        m.Protocol(max_depth=0.0)
