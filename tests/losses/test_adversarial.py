"""The critic's losses and the watch over it, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax.losses import adversarial, segmentation

DAY, NIGHT = jnp.array([True, False, False]), jnp.array([False, True, False])
SAID = jnp.array([0.9, -0.5, 7.0])[:, None, None, None] * jnp.ones((3, 2, 2, 1))


def mean(term):
    total, count = term
    return float(total / count)


def test_squares_and_cross_entropy_of_one_domain():
    assert mean(adversarial.domain_loss(SAID, DAY, 1.0, kind="squares")) == pytest.approx(0.1**2)
    assert mean(adversarial.domain_loss(SAID, NIGHT, 1.0, kind="squares")) == pytest.approx(1.5**2)
    own = adversarial.domain_loss(SAID, NIGHT, 0.0, kind="cross_entropy")
    assert mean(own) == pytest.approx(np.log(1 + np.exp(-0.5)), rel=1e-5)
    assert mean(adversarial.domain_loss(SAID, NIGHT, 1.0, kind="cross_entropy")) == pytest.approx(
        np.log(1 + np.exp(0.5)), rel=1e-5
    )
    weight = jnp.zeros((3, 2, 2)).at[:, 0, 0].set(1.0)  # one pixel of four
    weighed = adversarial.domain_loss(SAID, DAY, 0.0, kind="squares", weight=weight)
    assert mean(weighed) == pytest.approx(0.9**2 / 4)


def test_an_absent_domain_gives_nothing_and_no_gradient():
    nobody = jnp.zeros(3, bool)

    def loss(said):
        total, count = adversarial.domain_loss(said, nobody, 1.0, kind="squares")
        return total / jnp.maximum(count, 1e-12)

    value, slope = jax.value_and_grad(loss)(SAID)
    assert float(value) == 0
    assert not np.asarray(slope).any()


def run(values, steps, kind="squares", day=DAY, night=NIGHT):
    watch = adversarial.watch_begun()
    said = jnp.asarray(values, jnp.float32)[:, None, None, None] * jnp.ones((3, 2, 2, 1))
    for _ in range(steps):
        watch = adversarial.watched(watch, said, day, night, kind=kind)
    return watch, float(adversarial.verdict(watch))


def test_a_critic_that_tells_all_dominates_but_not_before_it_is_watched():
    watch, judged = run([0.8, 0.1, 0.0], adversarial.HORIZON)
    assert judged == 1
    assert float(watch.right) == pytest.approx(1.0)
    assert float(watch.spread) == pytest.approx(0.35, rel=1e-5)  # 0.8 and 0.1 lie 0.35 from their mean
    assert run([0.8, 0.1, 0.0], adversarial.HORIZON - 1)[1] == 0
    assert run([0.8, 0.9, 0.0], adversarial.HORIZON)[1] == 0  # wrong by night: half is right
    assert run([2.0, -3.0, 0.0], adversarial.HORIZON, "cross_entropy")[1] == 1


def test_a_critic_that_says_the_same_of_all_has_collapsed():
    watch, judged = run([0.7, 0.7, 5.0], adversarial.HORIZON)
    assert judged == -1
    assert float(watch.right) == pytest.approx(0.5)


def test_batches_without_both_domains_and_numbers_that_are_none_are_not_watched():
    for values, night in (([0.8, 0.1, 0.0], jnp.zeros(3, bool)), ([np.nan, 0.1, 0.0], NIGHT)):
        assert run(values, 3, night=night)[0] == adversarial.watch_begun()


def test_the_watch_forgets():
    watch, _ = run([0.8, 0.1, 0.0], 200)
    for _ in range(adversarial.HORIZON):
        watch = adversarial.watched(watch, 1 - SAID.at[:2].set(0.9), DAY, ~DAY, kind="squares")
    assert 0.5 < float(watch.right) < 0.5 + 0.5 * (1 - 1 / adversarial.HORIZON) ** adversarial.HORIZON + 0.01


def test_certainty_and_what_was_published_of_it():
    logits = jnp.zeros((1, 1, 2, 13)).at[0, 0, 0, 3].set(50.0)
    np.testing.assert_allclose(segmentation.certainty(logits)[0, 0], [1, 1 / 13], rtol=1e-5)
    published = segmentation.certainty(logits, as_published=True)[0, 0]
    np.testing.assert_allclose(published, [np.e / (np.e + 12), 1 / 13], rtol=1e-5)


def test_a_weight_does_not_change_what_the_cross_entropy_is_divided_by():
    logits, labels = jnp.zeros((1, 1, 3, 4)), jnp.array([[[0, 2, 255]]])
    total, count = segmentation.cross_entropy(logits, labels, jnp.array([[[0.5, 0.0, 9.0]]]))
    assert float(total / count) == pytest.approx(0.5 * np.log(4) / 2)
