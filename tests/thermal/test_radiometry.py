"""Counts and temperatures against numbers worked by hand and against the integral they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdepth_jax.thermal import radiometry


def test_counts_of_the_a65():
    found = radiometry.counts_from_celsius(np.array([0.0, 10, 20, 30, 40]))
    np.testing.assert_allclose(found, [1965.1, 2384.2, 2852.0, 3369.3, 3936.5], atol=0.05)


@given(
    celsius=st.floats(-60, 300),
    emissivity=st.floats(0.3, 1),
    reflected=st.floats(-40, 60),
    transmission=st.floats(0.5, 1),
)
def test_a_surface_is_found_again(celsius, emissivity, reflected, transmission):
    """The signal composed by hand from what is emitted, reflected and added by the air."""
    S = radiometry.counts_from_celsius
    signal = transmission * (emissivity * S(celsius) + (1 - emissivity) * S(reflected)) + (
        1 - transmission
    ) * S(7.0)
    back = radiometry.celsius_from_counts(
        signal,
        emissivity=emissivity,
        reflected_celsius=reflected,
        transmission=transmission,
        air_celsius=7.0,
    )
    assert abs(back - celsius) < 1e-6


def test_shiny_things_look_like_what_they_reflect():
    """e = 0.1 under a cold sky: read as a black body, a 20 °C sheet seems far colder."""
    S = radiometry.counts_from_celsius
    seen = 0.1 * S(20.0) + 0.9 * S(-40.0)
    assert radiometry.celsius_from_counts(seen) < -25
    assert abs(radiometry.celsius_from_counts(seen, emissivity=0.1, reflected_celsius=-40.0) - 20) < 1e-6


def test_impossible_counts_are_nan():
    assert np.isnan(radiometry.celsius_from_counts(np.array([-500.0])))[0]


def test_centikelvin():
    assert radiometry.celsius_from_centikelvin(np.uint16(29315)) == 20.0


def test_air_lets_less_through_the_further_and_the_moister():
    near, far = (radiometry.air_transmission(metres=d, celsius=20, relative_humidity=0.5) for d in (1, 100))
    dry, moist = (radiometry.air_transmission(metres=50, celsius=30, relative_humidity=h) for h in (0.1, 0.9))
    assert 1 > near > far > 0.5
    assert dry > moist
    assert radiometry.air_transmission(metres=0, celsius=20, relative_humidity=0.5) == 1.0
