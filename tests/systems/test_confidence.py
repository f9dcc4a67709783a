"""Confidence-aware distillation: who learns what, and that a bad teacher poisons nothing."""

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.training import state, step

pytestmark = pytest.mark.usefixtures("unoptimised")

SIZE = (16, 24)
SMALL = {
    "data.image_size": SIZE, "model.backbone": "custom", "model.vit_dim": 16, "model.vit_depth": 4,
    "model.vit_heads": 2, "model.vit_patch": 8, "model.vit_pos_grid": 5, "model.dpt_channels": (4, 8, 8, 8),
    "model.dpt_features": 8, "model.confidence_widths": (4, 4, 4), "model.spread_width": 4,
    "model.output_offset": -2.0, "optimizer.learning_rate": 3e-3,
}  # fmt: skip
LABEL_FREE = {"system.stage": "label_free", "system.distill_weight": 2.0}


def system_of(said=None):
    config = configs.defaults("confidence", systems.schema)
    for key, value in {**SMALL, **(said or {})}.items():
        configs._set(config, key, value, where="test")
    return systems.make(config)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    K = np.broadcast_to(np.float32([[20, 0, 11.5], [0, 20, 7.5], [0, 0, 1]]), (3, 3, 3)).copy()
    motion = np.broadcast_to(np.eye(4, dtype=np.float32), (3, 4, 4)).copy()
    motion[:, 0, 3] = 0.15
    ramp = np.broadcast_to(np.linspace(30, 3, SIZE[0], dtype="f")[None, :, None, None], (3, *SIZE, 1))
    return {
        "thermal/image": rng.integers(2800, 3400, (3, 1, *SIZE, 1)).astype(np.uint16),
        "rgb/image": rng.integers(1, 255, (3, 1, *SIZE, 3)).astype(np.uint8),
        "thermal/K": K, "rgb/K": K, "rgb_from_thermal": motion,
        "thermal/depth": ramp.copy(), "rgb/depth": ramp.copy(),
        "thermal/valid": np.ones((3, *SIZE, 1), bool),
    }  # fmt: skip


def single(batch):
    """As evaluation has it."""
    return {k: v[:, 0] if v.ndim == 5 else v for k, v in batch.items()}


def unlabelled(batch):
    return {k: v for k, v in batch.items() if not k.endswith("/depth")}


def begin(system, variables):
    trainable, frozen, mutable = state.divide(system, variables)
    return state.create(system, trainable, mutable, ema=False), frozen


@pytest.fixture(scope="module")
def taught(batch):
    """(variables, first and last logs) after 40 steps with labels."""
    system = system_of()
    now, frozen = begin(system, golden.compiled(system.init)(jax.random.key(0)))
    assert not frozen
    advance = golden.compiled(step.make_step(system, seed=0))
    logs = []
    for _ in range(40):
        now, found = advance(now, frozen, batch)
        logs.append({k: float(v) for k, v in found.items()})
    return state.variables(now, frozen), logs


@pytest.fixture(scope="module")
def adapting():
    """(system, teach, advance) of the label-free stage, compiled once."""
    system = system_of(LABEL_FREE)
    return system, golden.compiled(step.make_teacher(system)), golden.compiled(step.make_step(system, seed=0))


def test_with_labels_both_depths_are_learnt_and_their_errors_are_known(taught, batch):
    variables, logs = taught
    for name in ("thermal", "rgb", "likelihood", "spread"):
        assert logs[-1][name] < 0.8 * logs[0][name], name
    assert float(log_error(variables, batch).mean()) < 0.25


def log_error(variables, batch):
    found = golden.compiled(system_of().predict)(variables, single(batch))
    return np.abs(np.log(found["depth"]) - np.log(batch["thermal/depth"]))


def test_the_spread_becomes_the_students_error_and_leaves_it_as_it_is(taught, batch):
    weights = ("thermal", "rgb", "distill", "likelihood", "smoothness", "confidence_smoothness")
    system = system_of({f"system.{name}_weight": 0.0 for name in weights})
    assert system.updates[0].weights.keys() == {"spread"}
    now, frozen = begin(system, taught[0])
    advance = golden.compiled(step.make_step(system, seed=0))
    for _ in range(120):
        now, _ = advance(now, frozen, batch)
    after = state.variables(now, frozen)
    for part in ("thermal", "rgb"):
        for a, b in zip(*(jax.tree.leaves(v["params"][part]) for v in (after, taught[0])), strict=True):
            np.testing.assert_array_equal(a, b)
    spread = golden.compiled(system.predict)(after, single(batch))["spread"]
    assert float(spread.mean()) == pytest.approx(float(log_error(after, batch).mean()), rel=0.35)


def test_without_labels_the_student_alone_learns(taught, adapting, batch):
    variables, _ = taught
    system, teach, advance = adapting
    assert system.needs.isdisjoint({"thermal/depth", "rgb/depth"})
    # A student whose world has grown by half: the new scene.
    params = jax.tree.map(lambda x: x, variables["params"])
    head = params["thermal"]["head"]["out_3"]
    params["thermal"]["head"]["out_3"] = {**head, "bias": head["bias"] - 0.6}
    now, frozen = begin(system, {**variables, "params": params})
    assert {key.split("/")[0] for key in now.trainable} == {"thermal", "spread"}
    assert {key.split("/")[0] for key in frozen} == {"rgb", "confidence"}
    images = unlabelled(batch)
    logs = []
    for _ in range(25):
        now, found = advance(now, frozen, images, teach(now, frozen, images))
        logs.append({k: float(v) for k, v in found.items()})
    before, after = {**variables, "params": params}, state.variables(now, frozen)
    assert log_error(after, batch).mean() < 0.8 * log_error(before, batch).mean()
    for ours, theirs in zip(
        jax.tree.leaves(now.mutable), jax.tree.leaves(variables["batch_stats"]), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_targets_handed_over_are_the_teachers_own(taught, adapting, batch):
    system, teach, _ = adapting
    now, frozen = begin(system, taught[0])
    targets = teach(now, frozen, unlabelled(batch))
    assert all(len(x) == 3 for x in jax.tree.leaves(targets))
    own = golden.compiled(system.teacher)(taught[0], unlabelled(batch))
    np.testing.assert_allclose(targets["depth"], own["depth"], rtol=1e-5)
    np.testing.assert_allclose(targets["features"], own["features"], rtol=1e-4, atol=1e-5)


def nan_teacher(batch, targets):
    return batch, {**targets, "depth": targets["depth"].at[0].set(jnp.nan)}


def no_colour(batch, targets):
    """A frame without RGB, as the pipeline hands it over: zeros, and no number in K and pose."""
    lost = {key: np.array(batch[key]) for key in ("rgb/image", "rgb/K", "rgb_from_thermal")}
    for value in lost.values():
        value[0] = 0 if value.dtype == np.uint8 else np.nan
    return {**batch, **lost}, targets


def one_image(name):
    return {"nan_teacher": nan_teacher, "no_colour": no_colour}[name]


@pytest.mark.parametrize("name", ["nan_teacher", "no_colour"])
def test_what_is_wrong_with_one_image_is_as_if_it_were_not_there(taught, adapting, batch, name):
    system, teach, advance = adapting
    now, frozen = begin(system, taught[0])
    images = unlabelled(batch)
    bad, targets = one_image(name)(images, teach(now, frozen, images))
    _, logs = advance(now, frozen, bad, targets)
    assert all(np.isfinite(np.asarray(v)).all() for v in logs.values())
    assert float(logs["skipped_steps"]) == 0
    # The other two images alone.
    loss = golden.compiled(lambda b, t: system.updates[0].loss(
        taught[0]["params"], now.mutable, b, t, jax.random.key(0)
    )[0])  # fmt: skip
    rest = loss({k: v[1:] for k, v in images.items()}, jax.tree.map(lambda x: x[1:], targets))
    all_three = loss(bad, targets)
    np.testing.assert_allclose(all_three["distill"], rest["distill"], rtol=1e-4)


def far_away(batch):
    apart = np.array(batch["rgb_from_thermal"])
    apart[:, 0, 3] = 1e4
    return {**batch, "rgb_from_thermal": apart}


@pytest.mark.parametrize("case", ["no_overlap", "no_trust"])
def test_nothing_to_learn_moves_nothing(taught, adapting, batch, case):
    variables = taught[0]
    if case == "no_trust":
        params = dict(variables["params"])
        out = {"kernel": params["confidence"]["out"]["kernel"] * 0, "bias": jnp.float32([-30.0])}
        params["confidence"] = {**params["confidence"], "out": out}
        variables = {**variables, "params": params}
    system, teach, advance = adapting
    now, frozen = begin(system, variables)
    images = unlabelled(batch)
    images = far_away(images) if case == "no_overlap" else images
    after, logs = advance(now, frozen, images, teach(now, frozen, images))
    assert float(logs["distill"]) == 0
    assert float(logs["valid_share"]) == 0  # by which the engine stops a run that learns nothing
    assert float(logs["skipped_steps"]) == 0
    for key, value in now.trainable.items():
        np.testing.assert_array_equal(value, after.trainable[key], err_msg=key)


def test_a_plain_student_listens_to_a_teacher_whom_nobody_trusts(taught, batch):
    plain, aware = system_of({**LABEL_FREE, "system.weighting": "plain"}), system_of(LABEL_FREE)
    params = dict(taught[0]["params"])
    out = {"kernel": params["confidence"]["out"]["kernel"] * 0, "bias": jnp.float32([-30.0])}
    params["confidence"] = {**params["confidence"], "out": out}
    mutable = {"batch_stats": taught[0]["batch_stats"]}
    shares = [
        golden.compiled(
            lambda p, s=s: s.updates[0].loss(p, mutable, unlabelled(batch), None, jax.random.key(0))[0]
        )(params)["valid_share"][0]
        for s in (plain, aware)
    ]
    assert float(shares[0]) > 0
    assert float(shares[1]) == 0


@pytest.mark.parametrize("error", ["metres", "log"])
def test_what_is_distilled_by_hand(taught, batch, error):
    """Two cameras in one place, and a teacher who says twice the student's depth: off by it, or by ln 2."""
    everything = {"kept_errors": 1.0, "similarity_share": 0.0, "least_similarity": -2.0, "weighting": "plain"}
    system = system_of(
        {**LABEL_FREE, "system.error": error, **{f"system.{k}": v for k, v in everything.items()}}
    )
    together = {**unlabelled(batch), "rgb_from_thermal": np.broadcast_to(np.eye(4, dtype="f"), (3, 4, 4))}
    depth = golden.compiled(system.predict)(taught[0], single(batch))["depth"]
    targets = {
        "depth": 2 * depth,
        "features": golden.compiled(system.teacher)(taught[0], together)["features"],
    }
    mutable = {"batch_stats": taught[0]["batch_stats"]}
    terms = golden.compiled(
        lambda p, t: system.updates[0].loss(p, mutable, together, t, jax.random.key(0))[0]
    )(taught[0]["params"], targets)
    total, count = terms["distill"]
    assert float(count) == depth.size
    expected = np.log(2) if error == "log" else float(depth.mean())
    assert float(total / count) == pytest.approx(expected, rel=1e-3)


def test_what_trains_and_what_must_be_inherited(tmp_path):
    """Losses without a weight are not computed, what only they train stands still, and what they read is not needed."""
    student = {f"system.{n}_weight": 0.0 for n in ("distill", "likelihood")}
    alone = {f"system.{n}_weight": 0.0 for n in ("thermal", "spread")}
    fixed = {"system.train_rgb": "nothing"}
    cases = {
        "all": ({}, {"thermal", "spread", "confidence", "rgb"}, "thermal", False, ()),
        "label_free": (LABEL_FREE, {"thermal", "spread"}, "thermal", True, ("rgb", "confidence", "thermal")),
        "fixed_teacher": (fixed, {"thermal", "spread", "confidence"}, "thermal", True, ("rgb",)),
        "student": ({**student, **fixed}, {"thermal", "spread"}, "thermal", False, ()),
        "teacher": ({**student, **alone}, {"rgb"}, "rgb", False, ()),
        "confidence": (
            {**alone, **fixed, "system.distill_weight": 0.0}, {"confidence"}, "thermal", True, ("rgb", "thermal"),
        ),
    }  # fmt: skip
    for name, (said, trained, camera, teacher, inherited) in cases.items():
        system = system_of(said)
        variables = jax.eval_shape(system.init, jax.random.key(0))
        own, _, _ = state.divide(system, variables)
        assert {key.split("/")[0] for key in own} == trained, name
        assert system.camera == camera, name
        assert (system.teacher is not None) == teacher, name
        assert {pattern.split("/")[0] for pattern in system.inherits} == set(inherited), name
    assert system_of({**student, **fixed}).needs == {"thermal/image", "thermal/depth"}
    assert system_of({**student, **alone}).needs == {"rgb/image", "rgb/depth"}
    for said, still in (
        ({"system.train_rgb": "head"}, {"rgb/vit"}),
        ({"system.train_rgb": "head", "system.train_thermal": "head"}, {"rgb/vit", "thermal/vit"}),
    ):
        head = system_of(said)
        _, frozen, _ = state.divide(head, jax.eval_shape(head.init, jax.random.key(0)))
        assert {"/".join(k.split("/")[:2]) for k in frozen} == still
    silent = system_of({"model.spread_width": 0})
    assert "spread" not in jax.eval_shape(silent.init, jax.random.key(0))["params"]
    (tmp_path / "head").mkdir()
    imported = {**fixed, "model.teacher_weights": str(tmp_path)}
    assert system_of(imported).inherits == ()


def test_a_part_that_learns_by_itself_computes_nothing_else(batch):
    student = {f"system.{n}_weight": 0.0 for n in ("distill", "likelihood")}
    alone = {f"system.{n}_weight": 0.0 for n in ("thermal", "spread")}
    for said, terms in (
        ({**student, "system.train_rgb": "nothing"}, {"thermal", "spread"}),
        ({**student, **alone}, {"rgb", "smoothness"}),
    ):
        system = system_of(said)
        variables = jax.eval_shape(system.init, jax.random.key(0))
        given = {k: batch[k] for k in system.needs}
        found, _ = jax.eval_shape(
            system.updates[0].loss, variables["params"], {}, given, None, jax.random.key(0)
        )
        assert found.keys() == terms


def test_a_teacher_of_another_size(batch):
    system = system_of(
        {"model.teacher_vit_dim": 24, "model.teacher_vit_heads": 3, "model.teacher_output_gain": 0.1}
    )
    params = jax.eval_shape(system.init, jax.random.key(0))["params"]
    widths = {name: params[name]["vit"]["pos_embed"].shape[-1] for name in ("thermal", "rgb")}
    assert widths == {"thermal": 16, "rgb": 24}


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"system.stage": "second"}, "system.stage='second'"),
        ({"system.weighting": "none"}, "system.weighting='none'"),
        ({"system.kept_errors": 0.0}, "kept_errors"),
        ({"model.head": "dinov2_linear", "model.output": "bins"}, "DPT head"),
    ],
)
def test_settings_that_cannot_work(said, sentence):
    with pytest.raises(UserError, match=sentence):
        system_of(said)
