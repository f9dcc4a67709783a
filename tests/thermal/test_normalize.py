"""Counts to [0, 1] against numpy's percentiles, under jit, and where a range is missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import normalize

RANGES = [(21500, 24500), (7000, 9000), (27315, 31315)]  # where general depth tools keep 1 to 17 levels


def counts(b=2, t=3, h=16, w=20, low=3000, high=9000, seed=0):
    return np.random.default_rng(seed).integers(low, high, (b, t, h, w, 1)).astype(np.uint16)


def mapped(x, **more):
    return np.asarray(jax.jit(lambda x: normalize.normalize(x, **more))(jnp.asarray(x)))


def by_hand(x, low, high):
    return np.clip((x.astype(np.float64) - low) / (high - low), 0, 1)


def test_full_scale_divides_by_14_bits():
    x = np.array([0, 1, 8192, 16384, 40000], np.uint16).reshape(1, 1, 1, 5, 1)
    assert mapped(x, method="full_scale").reshape(-1).tolist() == [0, 1 / 16384, 0.5, 1, 1]


def test_each_frame_has_its_own_percentiles():
    x = counts()
    x[0, 1] += 5000
    expected = [[by_hand(f, *np.percentile(f, [1, 99])) for f in snippet] for snippet in x]
    np.testing.assert_allclose(mapped(x, method="frame"), expected, atol=1e-5)


def test_one_temperature_is_one_grey_value_in_a_snippet():
    x = counts()
    x[:, 2, :8] += 4000  # something hot comes into view
    unit = mapped(x, method="snippet")
    np.testing.assert_allclose(unit, [by_hand(s, *np.percentile(s, [1, 99])) for s in x], atol=1e-5)
    x[0, :, 0, 0] = 6000
    same = mapped(x, method="snippet")[0, :, 0, 0, 0]
    assert same[0] == same[1] == same[2]
    apart = mapped(x, method="frame")[0, :, 0, 0, 0]
    assert abs(apart[2] - apart[0]) > 0.1


def test_given_limits():
    x = np.array([1000, 2000, 2500, 4000, 5000], np.uint16).reshape(1, 1, 1, 5, 1)
    unit = mapped(x, method="fixed", limits=(2000.0, 4000.0))
    np.testing.assert_allclose(unit.reshape(-1), [0, 0, 0.25, 1, 1])


@pytest.mark.parametrize("method", ["frame", "snippet"])
def test_a_bonnet_does_not_set_the_range(method):
    x = counts()
    valid = np.ones((2, 1, 16, 20, 1), np.uint8)  # one mask for all frames of a snippet
    valid[:, :, 12:] = 0
    plain = mapped(x, method=method, valid=valid)
    x[:, :, 12:] = 60000
    np.testing.assert_array_equal(mapped(x, method=method, valid=valid)[:, :, :12], plain[:, :, :12])
    assert (mapped(x, method=method, valid=valid)[:, :, 12:] == 1).all()
    assert mapped(x, method=method)[:, :, :12].max() < 0.2  # unmasked it does


@given(
    level=st.integers(0, 65535),
    step=st.integers(0, 3),
    masked=st.booleans(),
    method=st.sampled_from(["frame", "snippet"]),
)
@settings(max_examples=30, deadline=None)
def test_frames_without_a_range_stay_finite(level, step, masked, method):
    """Flat frames, frames of few levels, masks that leave nothing."""
    x = np.full((1, 2, 4, 5, 1), level, np.uint16)
    x[0, 0, 0, 0] = min(level + step, 65535)
    valid = np.zeros((1, 1, 4, 5, 1), np.uint8) if masked else None
    unit = np.asarray(normalize.normalize(jnp.asarray(x), method=method, valid=valid))
    assert np.isfinite(unit).all()
    assert unit.min() >= 0
    assert unit.max() <= 1


@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("method", ["full_scale", "frame", "snippet"])
def test_sixteen_bit_levels_reach_the_network(span, method):
    """Of the levels between the limits none is lost to another; 14-bit full scale cuts what needs 16 bits."""
    low, high = span
    x = np.linspace(low, high, 96 * 128).astype(np.uint16).reshape(1, 1, 96, 128, 1)
    levels = len(np.unique(x))
    kept = len(np.unique(mapped(x, method=method)))
    if method == "full_scale":
        assert kept == (levels if high <= 16384 else 1)
    else:
        assert kept >= 0.98 * levels


def test_no_gradient_reaches_the_counts_through_a_nan():
    """float counts (an augmented brightness) differentiate; a mask that leaves nothing gives no NaN."""
    x = jnp.asarray(counts(1, 1), jnp.float32)
    valid = jnp.zeros((1, 1, 16, 20, 1))
    for more in ({}, {"valid": valid}):
        slope = jax.grad(lambda x, more=more: normalize.normalize(x, method="frame", **more).sum())(x)
        assert np.isfinite(slope).all()


def test_what_is_not_offered_is_said():
    with pytest.raises(UserError, match=r"no normalisation 'clahe'; choose one of full_scale, .*frame"):
        normalize.normalize(jnp.asarray(counts()), method="clahe")
    with pytest.raises(UserError, match="'fixed' needs its limits"):
        normalize.normalize(jnp.asarray(counts()), method="fixed")


def test_standardised_values():
    np.testing.assert_allclose(normalize.standardize(jnp.array([0.45, 0.675, 0.0])), [0, 1, -2], atol=1e-6)
