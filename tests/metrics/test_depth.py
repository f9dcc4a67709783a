"""Depth metrics against arithmetic done pixel by pixel, and against what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tdepth_jax.metrics import depth as m
from tdepth_jax.metrics.protocols import Protocol

PLAIN = ("per_image", "pooled")
RAW = Protocol(alignment="none")


def by_hand(pairs):
    """Metrics of (predicted, truth) pairs with the definitions written out one pixel at a time."""
    n = len(pairs)
    total = dict.fromkeys(("abs", "sq", "se", "sle", "ae", "log", "d1", "d2", "d3", "iae", "ise"), 0.0)
    for p, g in pairs:
        total["abs"] += abs(p - g) / g
        total["sq"] += (p - g) ** 2 / g
        total["se"] += (p - g) ** 2
        total["sle"] += (math.log(p) - math.log(g)) ** 2
        total["ae"] += abs(p - g)
        total["log"] += math.log(p) - math.log(g)
        total["iae"] += abs(1000 / p - 1000 / g)  # 1/km
        total["ise"] += (1000 / p - 1000 / g) ** 2
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
        "imae": mean["iae"],
        "irmse": math.sqrt(mean["ise"]),
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
        protocol = Protocol(alignment=alignment, lstsq_domain=domain)
        same(overall(predicted, truth, protocol), mean)
        pooled = Protocol(alignment=alignment, lstsq_domain=domain, averaging="pooled")
        same(overall(predicted, truth, pooled), by_hand(everything))


def test_clamp_before_or_after_the_alignment():
    predicted = np.array([[1.0, 2.0, 400.0]], np.float32)
    truth = np.array([[10.0, 20.0, 70.0]], np.float32)
    after = m.align(predicted[0], truth[0], Protocol(alignment="median"))
    before = m.align(predicted[0], truth[0], Protocol(alignment="median", clamp="before_alignment"))
    np.testing.assert_allclose(after, [10, 20, 80])
    np.testing.assert_allclose(before, [10, 20, 800])


def test_least_squares_undoes_any_scale_and_shift_of_the_inverse():
    truth = np.random.default_rng(1).uniform(2, 60, (1, 5, 7, 1)).astype(np.float32)
    predicted = 1 / (0.3 * (1 / truth) + 0.01)
    got = overall(predicted, truth, Protocol(alignment="lstsq"))
    assert got["abs_rel"] < 1e-5
    assert got["d1"] == 1.0


def test_least_squares_of_a_constant_prediction_is_the_mean():
    truth = np.array([[10.0, 20.0, 30.0]], np.float32)
    got = m.align(np.full(3, 5.0), truth[0], Protocol(alignment="lstsq", lstsq_domain="depth"))
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
    assert [b.name for b in m.bands(Protocol(max_depth=10.0))] == ["0-10 m"]


def test_a_prediction_that_is_not_finite_counts_as_wholly_wrong():
    truth = np.full((1, 2, 2, 1), 20.0, np.float32)
    predicted = truth.copy()
    predicted[0, 0, 0, 0] = np.nan
    for alignment in ("none", "median"):
        got = overall(predicted, truth, Protocol(alignment=alignment, resize="nearest"))
        assert got["abs_rel"] == pytest.approx(0.25, abs=1e-4)
        assert got["d3"] == 0.75


def test_an_image_without_ground_truth_takes_no_part():
    predicted, truth = scene(5)
    empty = np.concatenate([truth, np.zeros_like(truth[:1])])
    both = np.concatenate([predicted, predicted[:1]])
    for averaging in PLAIN:
        protocol = Protocol(averaging=averaging)
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
    protocol = Protocol(alignment="median", resize="nearest")
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
    for averaging in PLAIN:
        protocol = Protocol(averaging=averaging)
        plain = overall(predicted, truth, protocol)
        same(overall(*padded, protocol, mask=mask), plain)
        parts = [m.batch_sums(predicted[i : i + 1], truth[i : i + 1], protocol) for i in range(n)]
        same(m.finish(np.concatenate(parts).sum(1), averaging), plain)


def test_pooled_is_the_metric_of_all_pixels_laid_end_to_end():
    predicted, truth = scene(9, b=4)
    pooled = overall(predicted, truth, Protocol(alignment="none", averaging="pooled"))
    line = predicted.reshape(1, 1, -1, 1), truth.reshape(1, 1, -1, 1)
    same(overall(*line, RAW), pooled)


def test_per_sequence_and_per_range_by_hand():
    truth = np.array([[[4.0, 12.0]], [[4.0, 12.0]], [[4.0, 4.0]]], np.float32)[..., None]
    predicted = truth * np.array([1.1, 1.2, 1.6], np.float32)[:, None, None, None]
    predicted[0, 0, 1] = 12.0 * 1.5
    rows = m.batch_sums(predicted, truth, RAW).sum(1)
    sequences = np.array(["a", "b", "b"])
    got = m.finish(rows, "per_sequence", sequences)["abs_rel"]
    assert got == pytest.approx(((0.1 + 0.5) / 2 + (0.2 + 0.6) / 2) / 2)
    ranged = Protocol(alignment="none", averaging="per_range")
    rows = m.batch_sums(predicted, truth, ranged)
    assert rows.shape[1] == 16
    truth[0, 0, 0] = 12.0  # both pixels of the first image now in one range: it weighs as one
    predicted[0, 0, 0] = 12.0 * 1.1
    rows = m.batch_sums(predicted, truth, ranged)
    assert m.finish(rows, "per_range")["abs_rel"] == pytest.approx((0.3 + 0.2 + 0.6) / 3)
    predicted[1, 0, 1] = 12.0 * 1.4  # two ranges of one pixel each: 0.2 and 0.4
    rows = m.batch_sums(predicted, truth, ranged)
    assert m.finish(rows, "per_range")["abs_rel"] == pytest.approx((0.3 + 0.3 + 0.6) / 3)


def test_per_range_weighs_a_range_and_not_its_pixels():
    truth = np.array([[3.0, 3.0, 3.0, 22.0]], np.float32)
    predicted = np.array([[3.3, 3.3, 3.3, 44.0]], np.float32)
    rows = m.image_sums(predicted, truth, Protocol(alignment="none", averaging="per_range"))[None]
    assert m.finish(rows, "per_range")["abs_rel"] == pytest.approx((0.1 + 1.0) / 2, rel=1e-5)


def test_hot_and_cold_regions_by_hand():
    truth = np.full((1, 20), 10.0, np.float32)
    truth[0, 19] = 0.0  # the coldest pixel has no ground truth: it takes no part
    heat = np.arange(20.0)[None]
    heat[0, 19] = -50.0
    predicted = truth.copy()
    predicted[0, 0], predicted[0, 18] = 11.0, 15.0
    rows = m.image_sums(predicted, truth, RAW, thermal=heat)
    bands = len(m.bands(RAW))
    cold, hot = rows[bands:]
    # percentiles of 0…18: the 10th is 1.8, the 90th 16.2 -> pixels 0, 1 and 17, 18
    assert (cold[0], hot[0]) == (2, 2)
    assert m.from_sums(cold)[0] == pytest.approx(0.05, rel=1e-5)
    assert m.from_sums(hot)[0] == pytest.approx(0.25, rel=1e-5)
    assert rows[:bands, 0].sum() == 19
    flat = m.image_sums(predicted, truth, RAW, thermal=np.zeros_like(heat))
    assert (flat[bands:, 0] == 0).all()  # nothing is hotter than anything else


def test_published_resizes_by_hand():
    depth = np.array([[1.0, 2.0, 4.0]], np.float32)
    # floor(i·3/5): 0, 0, 1, 1, 2
    np.testing.assert_array_equal(m.resize_depth(depth, (2, 5), "nearest_floor"), [[1, 1, 2, 2, 4]] * 2)
    # corners on corners: x = 0, .5, 1, 1.5, 2
    np.testing.assert_allclose(m.resize_depth(depth, (1, 5), "bilinear_corners"), [[1, 1.5, 2, 3, 4]])
    np.testing.assert_allclose(m.resize_depth(depth, (3, 3), "bilinear_corners"), np.repeat(depth, 3, 0))
    np.testing.assert_allclose(m.resize_depth(depth, (1, 1), "bilinear_corners"), [[1.0]])
    far = np.array([[80.0]], np.float32)
    wanted = 1 / (1 / (80 + 1e-6) + 1e-6)  # 6.4 mm nearer, as published
    np.testing.assert_allclose(m.resize_depth(far, (1, 1), "inverse_bilinear_eps"), [[wanted]], rtol=1e-6)


def test_the_lower_median_of_an_even_number_of_pixels():
    p, g = np.array([1.0, 2.0]), np.array([10.0, 40.0])
    np.testing.assert_allclose(m.align(p, g, Protocol(middle="lower")), [10, 20])
    np.testing.assert_allclose(m.align(p, g, Protocol()), [25 / 1.5, 50 / 1.5])


def test_a_sparse_border_is_left_out():
    truth = np.full((200, 220), 5.0, np.float32)
    truth[:60] = 0  # the first 60 rows are empty, then every row is known
    truth[:, ::3] = 0
    use = m.scored(truth, None, Protocol(crop="sparse_border"))
    rows, columns = np.nonzero(use.any(1))[0], np.nonzero(use.any(0))[0]
    assert (rows[0], rows[-1]) == (60, 159)  # 40 pixels at the other sides, whatever they hold
    assert (columns[0], columns[-1]) == (40, 178)  # column 180 is empty, so the crop moves on to 179
    assert not m.scored(truth[:50, :50], None, Protocol(crop="sparse_border")).any()  # nothing is left
