"""The step: what moves and what must not, against optimisation written out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from tdepth_jax.errors import UserError
from tdepth_jax.training import partition, state, step


def begin(system, *, ema=False):
    trainable, frozen, mutable = state.divide(system, system.init(jax.random.key(1)))
    return state.create(system, trainable, mutable, ema=ema), frozen


def test_one_step_of_sgd_equals_the_gradient_by_hand():
    system = toys.make(optimizer=optax.sgd(0.1))
    s, frozen = begin(system)
    batch = toys.batch(0)
    new, logs = jax.jit(step.make_step(system, seed=0))(s, frozen, batch)
    hidden = np.tanh(batch["x"] @ frozen["net/backbone/kernel"])
    residual = hidden @ s.trainable["net/head/kernel"] - batch["y"]
    gradient = 2 * hidden.T @ residual / len(hidden)
    np.testing.assert_allclose(
        new.trainable["net/head/kernel"],
        s.trainable["net/head/kernel"] - 0.1 * gradient,
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(logs["fit"], np.mean(residual**2), rtol=1e-5)
    assert int(new.step) == 1


def test_only_trained_parameters_have_optimiser_state_and_move():
    system = toys.make(adversarial=True)
    s, frozen = begin(system)
    assert set(s.trainable) == {"net/head/kernel", "net/head/bias", "critic/kernel"}
    assert set(frozen) == {"net/backbone/kernel"}
    moments = sum(x.size for x in jax.tree.leaves(s.opt))
    assert moments == 2 * (9 + 8) + 2  # Adam: two moments per trained number and one count per update
    new, logs = jax.jit(step.make_step(system, seed=0))(s, frozen, toys.batch(0))
    assert all(bool(jnp.any(new.trainable[k] != s.trainable[k])) for k in s.trainable)
    assert {"net/loss", "net/fit", "net/confuse", "critic/loss", "critic/domain"} <= set(logs)
    np.testing.assert_allclose(logs["net/loss"], logs["net/fit"] + 0.1 * logs["net/confuse"], rtol=1e-6)


def test_the_second_update_does_not_touch_the_first_ones_parameters():
    system = toys.make(adversarial=True)
    s, frozen = begin(system)
    one, _ = step.make_step(system, seed=0)(s, frozen, toys.batch(0))
    no_confusion = dataclasses.replace(system.updates[0], weights={"fit": 1.0})
    plain = dataclasses.replace(system, updates=(no_confusion, system.updates[1]))
    other, _ = step.make_step(plain, seed=0)(s, frozen, toys.batch(0))
    np.testing.assert_array_equal(one.trainable["critic/kernel"], other.trainable["critic/kernel"])


def test_a_teacher_gives_targets_without_gradient():
    system = toys.make(teacher=True, optimizer=optax.sgd(0.1))
    s, frozen = begin(system)
    batch = toys.batch(0)
    targets = step.make_teacher(system)(s, frozen, batch)
    new, _ = step.make_step(system, seed=0)(s, frozen, batch, targets)
    hidden = np.tanh(batch["x"] @ frozen["net/backbone/kernel"])
    y = hidden @ s.trainable["net/head/kernel"]
    gradient = 2 * hidden.T @ (y - (2 * y + 1)) / len(hidden)  # the target is a constant here
    np.testing.assert_allclose(
        new.trainable["net/head/kernel"],
        s.trainable["net/head/kernel"] - 0.1 * gradient,
        rtol=1e-4,
        atol=1e-6,
    )


def test_accumulated_micro_batches_equal_one_batch():
    system = toys.make(optimizer=optax.sgd(0.1))
    s, frozen = begin(system)
    whole, logs = step.make_step(system, seed=0)(s, frozen, toys.batch(0))
    parts, part_logs = step.make_step(system, seed=0, accumulate=4)(s, frozen, toys.batch(0))
    for name in s.trainable:
        np.testing.assert_allclose(parts.trainable[name], whole.trainable[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(part_logs["loss"], logs["loss"], rtol=1e-5)
    assert float(parts.mutable["batch_stats"]["count"]) == 4


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_poisoned_batch_changes_nothing_and_is_counted(poison):
    system = toys.make()
    s, frozen = begin(system, ema=True)
    take = jax.jit(step.make_step(system, seed=0, ema_decay=0.9))
    bad = toys.batch(0)
    bad["x"][3, 1] = np.nan
    bad["y"][2] = poison
    after, logs = take(s, frozen, bad)
    for a, b in zip(
        jax.tree.leaves((after.trainable, after.opt, after.mutable)),
        jax.tree.leaves((s.trainable, s.opt, s.mutable)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert (int(after.step), int(logs["skipped_steps"]), int(logs["skipped_in_a_row"])) == (1, 1, 1)
    again, logs = take(after, frozen, toys.batch(1))
    assert (int(logs["skipped_steps"]), int(logs["skipped_in_a_row"])) == (1, 0)
    assert bool(jnp.any(again.trainable["net/head/kernel"] != s.trainable["net/head/kernel"]))


def test_moving_average_by_hand():
    system = toys.make()
    s, frozen = begin(system, ema=True)
    take = step.make_step(system, seed=0, ema_decay=0.75)
    one, _ = take(s, frozen, toys.batch(0))
    want = 0.75 * s.trainable["net/head/kernel"] + 0.25 * one.trainable["net/head/kernel"]
    np.testing.assert_allclose(one.ema["net/head/kernel"], want, rtol=1e-6)
    used = state.variables(one, frozen)["params"]["net"]["head"]["kernel"]
    np.testing.assert_array_equal(used, one.ema["net/head/kernel"])


def test_a_pattern_or_a_weight_that_names_nothing_is_an_error():
    with pytest.raises(UserError, match=r"net/haed/\.\*.*did you mean 'net/head/kernel'"):
        partition.split({"net/head/kernel": 1}, ["net/haed/.*"])
    system = toys.make()
    update = dataclasses.replace(system.updates[0], weights={"fitt": 1.0})
    s, frozen = begin(system)
    with pytest.raises(UserError, match="no such loss term fitt"):
        step.make_step(dataclasses.replace(system, updates=(update,)), seed=0)(s, frozen, toys.batch(0))


def test_nest_undoes_flatten():
    tree = {"a": {"b": np.ones(1), "c": {"d": np.zeros(2)}}, "e": np.ones(3)}
    assert jax.tree.structure(partition.nest(partition.flatten(tree))) == jax.tree.structure(tree)
