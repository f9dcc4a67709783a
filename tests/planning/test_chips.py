"""Slices of TPUs, and the arithmetic of a step on them, against numbers worked by hand."""

import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.planning import chips, roofline
from tdepth_jax.planning.hlo import Collective


def reduced(size: float, kind: str = "all-reduce", times: int = 1) -> Collective:
    return Collective(kind, size, int(size // 4), times, 0)


@pytest.mark.parametrize(
    ("text", "count", "egress"),
    [
        ("v5e:16x16", 256, 4 * 50e9),  # a torus: two links along each of two axes
        ("v5e:8x16", 128, 3 * 50e9),  # only the axis of 16 is a ring
        ("v5e:2x4", 8, 2 * 50e9),
        ("v6e:4x4", 16, 2 * 100e9),
        ("v5p:4x4x4", 64, 6 * 100e9),
        ("v5p:2x2x1", 4, 2 * 100e9),
        ("v4:4x4x8", 128, 6 * 50e9),
        ("v4:2x4x4", 32, 3 * 50e9),
    ],
)
def test_slices_and_what_a_chip_of_them_can_send(text, count, egress):
    found = chips.parse(text)
    assert (found.name, found.chips, found.egress) == (text, count, egress)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v5e-256", "as v5e:16x16"),
        ("v5e", "KIND:SIDES"),
        ("v9:2x2", "there is no chip 'v9'"),
        ("v5e:4x4x4", "slices of v5e are 2x2"),
        ("v5p:4x4", "slices of v5p are 2x2x1"),
        ("v5e:3x5", "slices of v5e are"),
        ("v5e:32x32", "largest slice of v5e has 256"),
    ],
)
def test_a_topology_that_is_none(text, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        chips.parse(text)


def test_an_all_reduce_of_a_gigabyte_over_a_pod():
    # 2 * 255/256 GB leave each chip over four links of 50 GB/s; 16 + 16 hops there and back.
    took = roofline.seconds(reduced(1e9), chips.parse("v5e:16x16"))
    assert took == pytest.approx(2 * 255 / 256 / 200 + 32e-6)
    assert roofline.seconds(reduced(1e9, "all-gather"), chips.parse("v5e:16x16")) == pytest.approx(took / 2)
    assert roofline.seconds(reduced(1e9), chips.Slice("v5e", (1, 1))) == 0


def test_a_step_is_as_long_as_its_longest_part():
    on = chips.parse("v5e:16x16")
    times = roofline.times(flops=197e12, bytes=819e9 / 2, collectives=[reduced(1e9, times=3)], on=on)
    assert (times.compute, times.hbm) == (1.0, 0.5)
    assert times.interconnect == pytest.approx(3 * (2 * 255 / 256 / 200 + 32e-6))
    assert times.limit == "compute"
    assert times.overlapped == 1.0
    assert times.apart == pytest.approx(1.0 + times.interconnect)
    assert roofline.times(flops=1, bytes=819e9, collectives=[], on=on).limit == "hbm"


@pytest.mark.parametrize("kind", chips.CHIPS)
def test_growing_slices_are_slices(kind):
    found = chips.growing(kind)
    assert [one.chips for one in found] == [1, 4, 8, 16, 32, 64, 128, 256]
    for one in found[1:]:
        assert chips.parse(one.name) == one
