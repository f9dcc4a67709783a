"""Distillation losses: the published code's values, hand-worked numbers, and where their minimum lies."""

import json

import jax
import jax.numpy as jnp
import models_cekd as cekd
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.losses import distillation
from tdepth_jax.models import transfer


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
    loss = lambda s: mean(distillation.uncertain_distance(student, teacher, jnp.full((2, 3), s)))  # noqa: E731
    right = np.log(4.0)
    assert loss(right) == pytest.approx(1 + right, rel=1e-5)
    assert loss(0.0) == pytest.approx(4.0)
    assert loss(right) < min(loss(right - 0.1), loss(right + 0.1))


def test_uncertain_distance_weighs_every_channel_of_every_image_by_its_own_variance():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    log_variance = rng.normal(size=(2, 5)).astype(np.float32)
    values = [
        (teacher[b, y, x, c] - student[b, y, x, c]) ** 2 / np.exp(log_variance[b, c]) + log_variance[b, c]
        for b in range(2) for y in range(3) for x in range(4) for c in range(5)
    ]  # fmt: skip
    found = mean(
        distillation.uncertain_distance(jnp.asarray(student), jnp.asarray(teacher), jnp.asarray(log_variance))
    )
    assert found == pytest.approx(np.mean(values), rel=1e-4)


def test_the_expected_variances_begin_standardised_over_the_batch():
    """A linear map and a batch norm, as in the public code: mean 0 and deviation 1 of every channel over images."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 2, 2, 4)), jnp.float32)
    found, _ = transfer.LogVariance().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-3)


def test_attended_distance_by_hand():
    """Energies along a row of two pixels: (1, 0) and (0, 1) differ by 1 in both, so their mean square is 1."""
    at = lambda *v: jnp.sqrt(jnp.array(v)).reshape(1, 1, 2, 1)  # noqa: E731
    shares = jnp.array([[[0.25, 0.75]]])
    loss = mean(distillation.attended_distance([at(4.0, 0.0), at(0.0, 9.0)], [at(1.0, 0.0)], shares))
    assert loss == pytest.approx(0.75, rel=1e-5)
    wide = jnp.repeat(jnp.repeat(at(1.0, 0.0), 3, axis=1), 3, axis=2)  # another size of the same
    assert mean(distillation.attended_distance([wide], [at(1.0, 0.0)], jnp.ones((1, 1, 1)))) < 1e-6
    twice = mean(distillation.attended_distance([at(0.0, 9.0)], 2 * [at(1.0, 0.0)], jnp.ones((1, 2, 1))))
    assert twice == pytest.approx(2.0, rel=1e-5)  # the teacher's maps add up


def test_attended_distance_and_its_shares_are_the_authors():
    """Value and gradients of the public code of AFD, the learned part included."""
    stored = dict(np.load(golden.FOLDER / "cekd_attended.npz"))
    params = {"params": cekd.matcher(json.loads(bytes(stored.pop("spec"))))}
    ours, theirs = ([jnp.asarray(x) for x in maps] for maps in cekd.attended())
    model = transfer.Matcher(width=4)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)  # noqa: E731
    assert shapes(model.init(jax.random.key(0), ours, theirs)) == shapes(params)

    def loss(ours):
        total, count = distillation.attended_distance(ours, theirs, model.apply(params, ours, theirs))
        return total / count

    value, gradients = golden.compiled(jax.value_and_grad(loss))(ours)
    assert float(value) == pytest.approx(float(stored["value"]), rel=1e-5)
    for i, gradient in enumerate(gradients):
        expected = stored[f"gradient_{i}"]
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max() + 1e-8)
