"""Distillation losses: the published code's values, hand-worked numbers, and where their minimum lies."""

import jax
import jax.numpy as jnp
import models_cekd as cekd
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.losses import distillation


def mean(pair):
    total, count = pair
    return float(total) / float(count)


@pytest.fixture
def pair():
    """(student, teacher) as the published code saw them."""
    return tuple(jnp.asarray(cekd.features((6, 8, 5), seed)) for seed in (1, 2))


LOSSES = {
    "similarity": distillation.pairwise_similarity,
    "distillation": lambda s, t: distillation.soft_cross_entropy(s, t, temperature=6),
    "hint": distillation.feature_distance,
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_the_published_ones(name, pair):
    stored = np.load(golden.FOLDER / "cekd_losses.npz")
    assert mean(LOSSES[name](*pair)) == pytest.approx(float(stored[name]), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_is_below_its_value_where_student_and_teacher_agree(name, pair):
    """A sign the wrong way round would show here: eq. (4) and (5) are printed with one."""
    student, teacher = pair
    least = mean(LOSSES[name](teacher, teacher))
    assert least >= 0
    for share in (0.01, 0.3, 1.0):
        assert mean(LOSSES[name](teacher + share * (student - teacher), teacher)) > least
    gradient = jax.grad(lambda s: LOSSES[name](s, teacher)[0])(teacher)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_the_soft_cross_entropy_of_agreement_is_the_teachers_entropy(pair):
    _, teacher = pair
    p = np.exp(np.asarray(teacher) / 6)
    p /= p.sum(-1, keepdims=True)
    entropy = -(p * np.log(p)).sum(-1).mean()
    assert mean(distillation.soft_cross_entropy(teacher, teacher, temperature=6)) == pytest.approx(
        entropy, rel=1e-5
    )


def test_similarity_by_hand_and_its_blindness_to_lengths():
    student = jnp.array([[1.0, 0.0], [0.0, 2.0]]).reshape(1, 1, 2, 2)  # a right angle
    teacher = jnp.array([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]).reshape(1, 1, 2, 3)  # none
    assert mean(distillation.pairwise_similarity(student, teacher)) == pytest.approx(2 / 4)
    assert mean(distillation.pairwise_similarity(5 * student, teacher)) == pytest.approx(2 / 4)


def test_the_hint_over_pixels_is_as_many_times_larger_as_there_are_channels(pair):
    assert mean(distillation.feature_distance(*pair, per_pixel=True)) == pytest.approx(
        5 * mean(distillation.feature_distance(*pair)), rel=1e-5
    )


def test_uncertain_distance_is_least_where_the_variance_is_right():
    student, teacher = jnp.zeros((2, 2, 2, 3)), jnp.full((2, 2, 2, 3), 2.0)
    loss = lambda s: mean(distillation.uncertain_distance(student, teacher, jnp.full(2, s)))  # noqa: E731
    right = np.log(4.0)
    assert loss(right) == pytest.approx(1 + right, rel=1e-5)
    assert loss(0.0) == pytest.approx(4.0)
    assert loss(right) < min(loss(right - 0.1), loss(right + 0.1))


def test_attended_distance_by_hand():
    """Energies along a row of two pixels: (1, 0) and (0, 1) are √2 apart, so 2 squared."""
    at = lambda *v: jnp.sqrt(jnp.array(v)).reshape(1, 1, 2, 1)  # noqa: E731
    shares = jnp.array([[[0.25, 0.75]]])
    loss = mean(distillation.attended_distance([at(4.0, 0.0), at(0.0, 9.0)], [at(1.0, 0.0)], shares))
    assert loss == pytest.approx(0.75 * 2, rel=1e-5)
    wide = jnp.repeat(jnp.repeat(at(1.0, 0.0), 3, axis=1), 3, axis=2)  # another size of the same
    assert mean(distillation.attended_distance([wide], [at(1.0, 0.0)], jnp.ones((1, 1, 1)))) < 1e-6
