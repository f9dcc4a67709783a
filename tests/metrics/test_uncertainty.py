"""Spread against error: numbers worked by hand, samples of the distribution that is promised, plain loops."""

import numpy as np
import pytest

from tdepth_jax.metrics import uncertainty
from tdepth_jax.metrics.protocols import Protocol

NONE = Protocol(alignment="none")
MEDIAN = Protocol(alignment="median")


def laplace(shape=(200, 300), *, factor=1.0, seed=0):
    """(prediction, spread, truth): errors of ln(depth) are Laplace of scale `factor` times the spread."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(5, 40, shape)
    spread = rng.uniform(0.02, 0.2, shape)
    predicted = truth * np.exp(rng.laplace(0, factor * spread))
    return predicted.astype(np.float32), spread.astype(np.float32), truth.astype(np.float32)


def rows_of(*images, protocol=NONE, **more):
    return np.stack([uncertainty.image_row(*image, protocol, **more) for image in images])


def areas(rows, error="abs_rel"):
    return uncertainty.areas(uncertainty.sparsification(rows)[error])


def test_intervals_of_laplace_errors_hold_what_they_should():
    rows = rows_of(laplace(), laplace(seed=1))
    np.testing.assert_allclose(uncertainty.coverage(rows), uncertainty.LEVELS, atol=0.004)
    assert uncertainty.miscalibration(rows) < 0.004
    assert uncertainty.temperature(rows) == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("factor", [0.05, 0.5, 3.0, 8.0])
def test_a_temperature_is_recovered_and_makes_the_intervals_right(factor):
    rows = rows_of(laplace((400, 300), factor=factor), protocol=Protocol(alignment="none", max_depth=1e9))
    found = uncertainty.temperature(rows)
    assert found == pytest.approx(factor, rel=0.015)
    assert uncertainty.miscalibration(rows) > 10 * uncertainty.miscalibration(rows, found)
    # Half of |error| lies below b·ln 2, whatever b was said to be.
    limit = 1 - 0.5**factor
    assert uncertainty.coverage(rows, 1.0, [limit])[0] == pytest.approx(0.5, abs=0.01)


def test_a_few_wild_pixels_hardly_move_the_temperature():
    """What speaks against maximum likelihood, the mean of z: 2 % of the pixels are off by 40 times their spread."""
    predicted, spread, truth = laplace()
    wild = np.random.default_rng(5).random(truth.shape) < 0.02
    predicted = np.where(wild, truth * np.exp(-40 * spread), predicted).astype(np.float32)
    z = np.abs(np.log(predicted / truth)) / spread
    assert z.mean() > 1.7
    assert uncertainty.temperature(rows_of((predicted, spread, truth))) == pytest.approx(1.03, abs=0.03)


def test_coverage_is_a_count():
    """z = 0.5, 1, 2, 4: the 50 % interval ends at ln 2 = 0.69, 80 % at 1.61, 90 % at 2.30, 95 % at 3.00."""
    truth = np.full((2, 2), 10.0)
    spread = np.full((2, 2), 0.1)
    predicted = 10 * np.exp(0.1 * np.array([[0.5, -1.0], [2.0, 4.0]]))
    row = rows_of((predicted, spread, truth))
    np.testing.assert_allclose(uncertainty.coverage(row), [0.25, 0.5, 0.75, 0.75])
    np.testing.assert_allclose(uncertainty.coverage(row, 2.0), [0.5, 0.75, 1, 1])
    # Images weigh alike, whatever their pixels, and each has its own temperature.
    other = rows_of((predicted[:1, :1], spread[:1, :1], truth[:1, :1]))
    both = np.concatenate([row, other])
    np.testing.assert_allclose(uncertainty.coverage(both), [(0.25 + 1) / 2, 0.75, 0.875, 0.875])
    np.testing.assert_allclose(
        uncertainty.coverage(both, np.array([2.0, 0.01])), [0.25, 0.375, 0.5, 0.5]
    )  # z = 0.5 of the second lies beyond 0.01 times any limit


def test_a_spread_that_orders_the_errors_has_no_ause():
    predicted, _, truth = laplace((40, 50))
    relative = np.abs(predicted - truth) / truth
    row = rows_of((predicted, relative + 1e-6, truth))
    ause, aurg = areas(row)
    assert ause == pytest.approx(0, abs=1e-7)
    assert aurg > 0.01
    wrong_way = rows_of((predicted, 1 / (relative + 1e-6), truth))
    assert areas(wrong_way)[1] < -0.01
    by_metres = rows_of((predicted, np.abs(predicted - truth) + 1e-6, truth))
    assert areas(by_metres, "rmse")[0] == pytest.approx(0, abs=1e-5)
    assert areas(by_metres)[0] > 1e-4


def test_a_constant_spread_gains_nothing():
    predicted, _, truth = laplace((40, 50))
    row = rows_of((predicted, np.full_like(truth, 0.3), truth))
    for error in uncertainty.ERRORS:
        ause, aurg = areas(row, error)
        assert aurg == pytest.approx(0, abs=1e-9)
        assert ause > 0
        by_spread, _ = uncertainty.sparsification(row)[error]
        np.testing.assert_allclose(by_spread, by_spread[0])


def test_areas_by_hand():
    """Errors 0.4, 0.3, 0.2, 0.1 of four pixels. By the oracle the largest go first; the spread says 3, 4, 1, 2."""
    truth = np.full((1, 4), 10.0)
    predicted = truth * (1 + np.array([[0.4, 0.3, 0.2, 0.1]]))
    row = rows_of((predicted, np.array([[0.3, 0.4, 0.1, 0.2]]), truth))
    by_spread, oracle = uncertainty.sparsification(row)["abs_rel"]
    # Half removed (step 25): the spread leaves 0.2 and 0.1, as the oracle; a quarter removed (between steps 12 and 13)
    # it has taken the 0.3: (1 - 0.3) / 3 against (1 - 0.4) / 3.
    assert by_spread[0] == oracle[0] == pytest.approx(0.25)
    assert by_spread[25] == oracle[25] == pytest.approx(0.15)
    # At 24 %, 3.04 pixels are left: all but 0.96 of the 0.3, or of the 0.4.
    assert by_spread[12] == pytest.approx((1 - 0.96 * 0.3) / 3.04)
    assert oracle[12] == pytest.approx((1 - 0.96 * 0.4) / 3.04)
    assert by_spread[49] == pytest.approx(0.2)  # the one it trusts most …
    assert oracle[49] == pytest.approx(0.1)  # … and the one that is best
    ause, aurg = areas(row)
    ends = np.linspace(0, 1, 51)
    expected = [np.trapezoid([*c, 0], ends) for c in (by_spread, oracle, [0.25] * 50)]
    assert (ause, aurg) == pytest.approx((expected[0] - expected[1], expected[2] - expected[0]))


def test_ties_are_removed_in_random_order():
    """Half of the pixels are trusted, half are not, in no order inside: the expectation over many shuffles."""
    rng = np.random.default_rng(3)
    truth = np.full((1, 100), 10.0)
    error = rng.uniform(0, 0.5, (1, 100))
    spread = np.where(np.arange(100) < 50, 0.1, 0.2)[None]
    by_spread, _ = uncertainty.sparsification(rows_of((truth * (1 + error), spread, truth)))["abs_rel"]
    found = []
    for _ in range(3000):
        order = np.lexsort((rng.random(100), spread[0]))
        ranked = error[0, order]
        found.append([ranked[: 100 - 2 * k].mean() for k in range(50)])
    np.testing.assert_allclose(by_spread, np.mean(found, axis=0), atol=0.01)


def test_masks_padding_and_what_is_out_of_range_leave_no_trace():
    predicted, spread, truth = laplace((30, 40))
    valid = np.ones(truth.shape, bool)
    valid[:, 20:] = False
    half = rows_of((predicted[:, :20], spread[:, :20], truth[:, :20]))
    np.testing.assert_allclose(rows_of((predicted, spread, truth), valid=valid), half)
    none = np.where(valid, truth, 0)
    np.testing.assert_allclose(rows_of((predicted, spread, none)), half)
    batch = [np.stack([x, x])[..., None] for x in (predicted, spread, truth)]
    rows = uncertainty.batch_rows(*batch, NONE, mask=np.array([True, False]))
    np.testing.assert_allclose(rows[0], rows_of((predicted, spread, truth))[0])
    assert not rows[1].any()
    assert not rows_of((predicted, spread, 0 * truth)).any()


def test_a_scale_leaves_the_spread_as_it_is():
    predicted, spread, truth = laplace((31, 41))
    one, seven = (rows_of((f * predicted, spread, truth), protocol=MEDIAN) for f in (1, np.float32(7)))
    np.testing.assert_allclose(one, seven, rtol=1e-4, atol=1.5)  # a pixel may change its bin by rounding
    np.testing.assert_allclose(uncertainty.coverage(one), uncertainty.coverage(seven), atol=1e-3)
    with pytest.raises(ValueError, match="its shift changes"):
        rows_of((predicted, spread, truth), protocol=Protocol(alignment="lstsq"))


def test_a_spread_of_another_size_is_resized():
    truth = np.full((4, 4), 10.0)
    predicted, spread = np.full((2, 2), 10.5), np.full((2, 2), 0.1)
    np.testing.assert_allclose(
        rows_of((predicted, spread, truth)), rows_of((np.full((4, 4), 10.5), np.full((4, 4), 0.1), truth))
    )


def test_a_failed_spread_claims_to_be_right():
    truth = np.full((1, 4), 10.0)
    predicted = truth * np.exp([[0.3, 0.01, 0.01, 0.01]])
    spread = np.array([[np.nan, 0.1, 0.2, -1.0]])
    row = rows_of((predicted, spread, truth))
    assert uncertainty.unusable(row) == 2
    np.testing.assert_allclose(uncertainty.coverage(row), [0.5] * 4)  # those two are never covered
    by_spread, _ = uncertainty.sparsification(row)["abs_rel"]
    assert by_spread[25] == pytest.approx((np.exp(0.3) - 1 + np.exp(0.01) - 1) / 2)  # and removed last


def test_confidence_is_the_probability_of_being_within_a_quarter():
    assert uncertainty.confidence(np.log(1.25) / np.log(2)) == pytest.approx(0.5)
    assert uncertainty.confidence(np.array([1e-9, 1e9])) == pytest.approx([1, 0], abs=1e-8)
    predicted, spread, truth = laplace((400, 400), factor=2.0)
    rows = rows_of((predicted, 3 * spread, truth))  # three times too large, and errors twice the spread
    for t, right in ((1.0, False), (2 / 3, True)):
        said, true, share = uncertainty.promises(rows, t).T
        assert share.sum() == pytest.approx(1)
        known = share > 0.01
        assert np.allclose(said[known], true[known], atol=0.02) == right
    within = (np.abs(np.log(predicted / truth)) < np.log(1.25)).mean()
    said, true, share = uncertainty.promises(rows, 2 / 3).T
    assert np.nansum(true * share) == pytest.approx(within)
    assert np.nansum(said * share) == pytest.approx(
        uncertainty.confidence(2 * spread.astype(float)).mean(), abs=3e-3
    )
