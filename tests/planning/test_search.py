"""The search for the largest batch, with a chip whose memory is a function."""

import jax
import pytest

from tdepth_jax.planning.job import largest_batch
from tdepth_jax.planning.program import TooLarge, _in_memory


class Chip:
    """Needs `fixed + each * batch` bytes, and has `capacity`; remembers what was compiled."""

    def __init__(self, fixed: float, each: float, capacity: float):
        self.fixed, self.each, self.capacity, self.tried = fixed, each, capacity, []

    def __call__(self, batch: int) -> float:
        self.tried.append(batch)
        need = self.fixed + self.each * batch
        if need > self.capacity:
            raise TooLarge(need, self.capacity)
        return need


@pytest.mark.parametrize(
    ("fixed", "each", "capacity", "granularity"),
    [(2e9, 1e8, 16e9, 1), (0, 3e9, 16e9, 1), (1e9, 5e6, 16e9, 1), (2e9, 1e8, 16e9, 4), (1e9, 15e9, 16e9, 1)],
)
def test_the_largest_is_within_an_eighth_and_was_compiled(fixed, each, capacity, granularity):
    chip = Chip(fixed, each, capacity)
    batch, size = largest_batch(chip, capacity=capacity, granularity=granularity)
    true = int((capacity - fixed) // each) // granularity * granularity
    assert batch in chip.tried
    assert batch % granularity == 0
    assert batch <= true <= batch + max(granularity, batch / 7)
    assert size == pytest.approx((fixed + each * batch) / 2**30)
    assert len(chip.tried) <= 7


def test_what_is_known_is_not_compiled_again():
    chip = Chip(2e9, 1e8, 16e9)
    largest_batch(chip, capacity=16e9, known={4: 2.4e9})
    assert 4 not in chip.tried
    assert len(chip.tried) == len(set(chip.tried))


def test_a_batch_that_was_refused_bounds_the_search():
    chip = Chip(2e9, 1e9, 16e9)
    assert largest_batch(chip, capacity=16e9, refused=64)[0] in (13, 14)
    assert max(chip.tried) < 64


def test_no_batch_fits():
    assert largest_batch(Chip(20e9, 1e9, 16e9), capacity=16e9) is None


@pytest.mark.parametrize(
    ("said", "sizes"),
    [
        (
            "Ran out of memory in memory space hbm. Used 17.05G of 15.75G hbm. Exceeded",
            "17.05 GiB of 15.75 GiB",
        ),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (18.44G) exceeds available HBM "
            "(15.75G).",
            "18.44 GiB of 15.75 GiB",
        ),
    ],
)
def test_the_compilers_refusals_are_understood(said, sizes):
    with pytest.raises(TooLarge, match=sizes), _in_memory():
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {said}")
    with pytest.raises(jax.errors.JaxRuntimeError), _in_memory():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
