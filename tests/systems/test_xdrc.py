"""XD-RCDepth: what is trained and what is not, saliency by finite differences, and radar that fails."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data.radar_faults import degrade
from tdepth_jax.errors import UserError
from tdepth_jax.losses import explainable
from tdepth_jax.systems import xdrc
from tdepth_jax.training import state
from tdepth_jax.training.partition import flatten

SIZE = (32, 64)
SMALL = {
    "data.image_size": SIZE, "model.width": 0.125, "model.blocks": 1, "model.teacher_network": "xd",
    "model.teacher_width": 0.125, "model.teacher_blocks": 1, "model.dtype": "float32", "system.camera": "thermal",
    "system.radar_values": ("z", "rcs"), "system.bins": 16, "system.confidence_patch": (4, 2),
}  # fmt: skip


def system_of(**more):
    config = configs.defaults("xdrc", systems.schema)
    for key, value in (SMALL | {k.replace("__", "."): v for k, v in more.items()}).items():
        configs._set(config, key, value, where="test")
    return systems.make(config)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    K = np.broadcast_to(np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]], np.float32), (2, 3, 3))
    returns = rng.uniform((-8, -2, 5), (8, 2, 40), (2, 12, 3)).astype(np.float32)
    return {
        "thermal/image": rng.integers(2800, 3400, (2, 1, *SIZE, 1)).astype(np.uint16),
        "rgb/image": rng.integers(0, 256, (2, 1, *SIZE, 3)).astype(np.uint8),
        "thermal/K": K, "rgb/K": K, "thermal/depth": rng.uniform(2, 60, (2, *SIZE, 1)).astype(np.float32),
        "radar/valid": np.ones((2, 12), bool), "radar/rcs": rng.normal(0, 10, (2, 12)).astype(np.float32),
        **{f"radar/{axis}": returns[..., i] for i, axis in enumerate("xyz")},
    }  # fmt: skip


@pytest.fixture(scope="module")
def taught():
    """(system, variables) of a student with its teacher, fresh."""
    system = system_of()
    return system, golden.compiled(system.init)(jax.random.key(0))


def test_the_teacher_is_inherited_frozen_and_not_updated(taught):
    system, variables = taught
    assert system.inherits == (r"teacher/.*",)
    trainable, frozen, _ = state.divide(system, variables)
    assert all(k.startswith("student/") for k in trainable)
    assert frozen
    assert all(k.startswith("teacher/") for k in frozen)
    assert variables["batch_stats"].keys() == {"teacher", "student"}


def test_direct_training_has_no_teacher():
    system = system_of(system__saliency_weight=0.0, system__distribution_weight=0.0)
    assert system.teacher is None
    assert system.inherits == ()
    assert jax.eval_shape(system.init, jax.random.key(0))["params"].keys() == {"student"}
    assert system.updates[0].weights == {"depth": 1.0, "smooth": 0.001}


def test_who_is_trained_starts_from_the_imports_that_the_config_names():
    """At places that there are, all of which the import fills but for what its first convolution leaves open."""
    student = {"model__encoder_weights": "weights/x"}
    teacher = {"model__teacher_image_weights": "weights/x", "model__teacher_radar_weights": "weights/y"}
    large = {"model__teacher_network": "cafnet"}
    assert system_of().pretrained == system_of(system__trains="teacher").pretrained == {}
    cases = (
        ("student", student, {"image": "x/mobilenet", "radar": "x/mobilenet"}),
        ("teacher", teacher, {"image": "x/resnet", "stage1/radar": "y/resnet", "stage2": "y/resnet"}),
    )
    for trained, said, folders in cases:
        system = system_of(**said, **large, system__trains=trained)
        wanted = {f"{trained}/encoder/{at}": f"weights/{folder}" for at, folder in folders.items()}
        assert {at: weights.folder for at, weights in system.pretrained.items()} == wanted
        params = flatten(jax.eval_shape(system.init, jax.random.key(0))["params"])
        assert all(f"{at}/{weights.first}" in params for at, weights in system.pretrained.items())
        for name in said:
            other = "teacher" if trained == "student" else "student"
            with pytest.raises(UserError, match=f"what the {trained} starts from"):
                system_of(**{name: "weights/x"}, **large, system__trains=other)
    with pytest.raises(UserError, match="teacher_network=cafnet"):
        system_of(**teacher, system__trains="teacher")


def test_what_trains_the_teacher_is_what_the_student_inherits():
    shapes = [
        flatten(jax.eval_shape(system_of(**said).init, jax.random.key(0))["params"])
        for said in ({"system__trains": "teacher"}, {})
    ]
    assert shapes[0].keys() == {k for k in shapes[1] if k.startswith("teacher/")}
    assert all(shapes[0][k].shape == shapes[1][k].shape for k in shapes[0])


def test_a_teachers_saliency_is_its_gradient_and_its_depth_one_forward_pass(taught, batch):
    """By finite differences of mean depth along a channel; and depth is what predicting gives."""
    system, variables = taught
    one = {k: jnp.asarray(v) for k, v in batch.items()}
    net = xdrc.RadarCameraNet(xdrc.Model(**{k[6:]: v for k, v in SMALL.items() if k[:6] == "model."}).teacher)
    own = {name: tree["teacher"] for name, tree in variables.items()}
    image = jnp.asarray(np.random.default_rng(1).normal(size=(1, *SIZE, 1)), jnp.float32)
    radar = jnp.zeros((1, *SIZE, 2)).at[0, 5, 9].set(0.2)

    @golden.compiled
    def found(variables, image, radar):
        depth, saliency = xdrc.explained(variables, "teacher", net, image, radar)
        feature, maps, _ = net.apply(own, image, radar, method="front")
        moved = [
            net.apply(own, feature.at[..., 3].add(d), maps, SIZE, method="back").mean() for d in (0.02, -0.02)
        ]
        gradient = jax.grad(lambda x: net.apply(own, x, maps, SIZE, method="back").mean())(feature)
        return depth, saliency, net.apply(own, image, radar), feature, gradient, jnp.stack(moved)

    depth, saliency, whole, feature, gradient, moved = found(variables, image, radar)
    np.testing.assert_allclose(depth, whole, rtol=1e-5)
    np.testing.assert_allclose(saliency, explainable.grad_cam(feature, gradient), rtol=1e-4, atol=1e-9)
    slope = float(moved[0] - moved[1]) / 0.04
    assert float(gradient[..., 3].sum()) == pytest.approx(slope, rel=0.02, abs=1e-4)
    targets = golden.compiled(system.teacher)(variables, one)
    assert {k: v.shape for k, v in targets.items()} == {"depth": (2, *SIZE, 1), "saliency": (2, 4, 8)}


@pytest.fixture(scope="module")
def gradients(taught, batch):
    """Of the whole loss w.r.t. all parameters, the teacher's targets made within; and the terms."""
    system, variables = taught
    mutable = {"batch_stats": variables["batch_stats"]}

    def total(params):
        targets = system.teacher({"params": params, **mutable}, batch)
        terms, new = system.updates[0].loss(
            params, mutable, batch, jax.lax.stop_gradient(targets), jax.random.key(0)
        )
        weights = system.updates[0].weights
        return sum(weights[k] * a / b for k, (a, b) in terms.items()), (terms, new)

    return golden.compiled(jax.grad(total, has_aux=True))(variables["params"])


def test_every_loss_reaches_the_student_and_none_the_teacher(gradients, taught):
    found, (terms, new) = gradients
    assert terms.keys() == {"depth", "smooth", "distribution", "saliency"}
    for total, count in terms.values():
        assert np.isfinite(total)
        assert count > 0
    assert all(not np.asarray(x).any() for x in jax.tree.leaves(found["teacher"]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    flat = flatten(found["student"])
    # Both halves, radar's branch through FiLM alone (its scale starts at zero, so its encoder waits a step).
    for part in ("encoder/image/stem", "encoder/film_2/scale", "encoder/daspp", "decoder/head"):
        assert any(np.asarray(x).any() for k, x in flat.items() if k.startswith(part)), part
    old = taught[1]["batch_stats"]
    same = [
        all(
            jax.tree.leaves(
                jax.tree.map(lambda a, b: bool((a == b).all()), old[who], new["batch_stats"][who])
            )
        )
        for who in ("teacher", "student")
    ]
    assert same == [True, False]
    halves = flatten(
        jax.tree.map(lambda a, b: bool((a != b).any()), old["student"], new["batch_stats"]["student"])
    )
    assert {k.split("/")[0] for k, moved in halves.items() if moved} == {"encoder", "decoder"}


def test_radar_may_be_missing_or_wrong(taught, batch):
    system, variables = taught
    predict = golden.compiled(system.predict)
    single = {k: v[:, 0] if v.ndim == 5 else v for k, v in batch.items()}
    for kind in ("given", "missing", "wrong"):
        depth = predict(variables, degrade(single, kind))["depth"]
        assert depth.shape == (2, *SIZE, 1)
        assert np.isfinite(depth).all()
        assert (np.asarray(depth) > 0).all()


def test_what_degrading_does(batch):
    gone, wrong = degrade(batch, "missing"), degrade(batch, "wrong")
    assert not gone["radar/valid"].any()
    assert batch["radar/valid"].all()
    assert (np.abs(wrong["radar/z"] - batch["radar/z"]) > 1).mean() > 0.8
    for axis in "xy":  # along its own ray
        np.testing.assert_allclose(
            wrong[f"radar/{axis}"] / wrong["radar/z"], batch[f"radar/{axis}"] / batch["radar/z"], rtol=1e-5
        )
    np.testing.assert_array_equal(degrade(batch, "wrong")["radar/z"], wrong["radar/z"])


def test_in_training_some_images_have_no_radar_and_some_have_wrong_radar(batch):
    settings = xdrc.Settings(camera="thermal", radar_values=("z", "rcs"), radar_dropout=0.3, radar_wrong=0.2)
    used = [key for key in batch if key.startswith("radar/") or key == "thermal/K"]
    many = {key: jnp.repeat(jnp.asarray(batch[key]), 500, axis=0) for key in used}
    failing = {k: np.asarray(v) for k, v in xdrc._failing(many, settings, jax.random.key(0)).items()}
    gone = ~failing["radar/valid"].any(1)
    changed = np.abs(failing["radar/z"] / np.asarray(many["radar/z"]) - 1) > 1e-4
    wrong = changed.any(1)
    assert gone.mean() == pytest.approx(0.3, abs=0.05)  # 1000 images: one standard deviation is 0.014
    assert wrong.mean() == pytest.approx(0.2, abs=0.05)
    assert not (gone & wrong).any()
    assert changed[wrong].mean() > 0.99  # every return of them
    rays = [failing[f"radar/{axis}"] / failing["radar/z"] for axis in "xy"]
    for axis, ray in zip("xy", rays, strict=True):
        np.testing.assert_allclose(ray, many[f"radar/{axis}"] / many["radar/z"], rtol=1e-4, atol=1e-5)

    seen = xdrc._radar(many | {"radar/valid": jnp.asarray(failing["radar/valid"])}, settings, SIZE, 100.0)
    assert not seen[gone].any()
    assert float(seen[..., 0].max()) <= 0.4 + 1e-6  # z as a share of 100 m


def test_the_rgb_camera_sees_radar_moved_into_its_axes(batch):
    """Half a metre to the right of the thermal camera: what is at x there is at x - 0.5 here."""
    motion = np.broadcast_to(np.eye(4, dtype=np.float32), (2, 4, 4)).copy()
    motion[:, 0, 3] = -0.5
    settings = xdrc.Settings(camera="rgb", radar_values=("z", "rcs"))
    given = {k: jnp.asarray(v) for k, v in batch.items()}
    moved = xdrc._radar(given | {"rgb_from_thermal": jnp.asarray(motion)}, settings, SIZE, 100.0)
    by_hand = xdrc._radar(given | {"radar/x": given["radar/x"] - 0.5}, settings, SIZE, 100.0)
    np.testing.assert_array_equal(moved, by_hand)
    system = system_of(system__camera="rgb")
    assert system.camera == "rgb"
    assert {"rgb/image", "rgb/K", "radar/rcs", "radar/valid"} <= system.sees
    assert system.needs - system.sees == {"rgb/depth"}


def test_only_some_lines_are_labels(batch):
    system = system_of(
        system__saliency_weight=0.0,
        system__distribution_weight=0.0,
        system__label_lines=4,
        system__max_depth=1e3,
    )
    variables = jax.eval_shape(system.init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), variables)
    terms, _ = golden.compiled(system.updates[0].loss)(
        zeros["params"], {"batch_stats": zeros["batch_stats"]}, batch, None, jax.random.key(0)
    )
    assert float(terms["depth"][1]) == 2 * SIZE[0] * SIZE[1] / 4


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"system__radar_values": ("rcs",)}, "the first is z"),
        ({"system__radar_values": ("z", "speed")}, "the first is z"),
        ({"system__trains": "both"}, "system.trains"),
        ({"system__camera": "nir"}, "system.camera"),
        ({"system__radar_dropout": 0.6, "system__radar_wrong": 0.4}, "together below 1"),
        ({"system__temperature": 0.0}, "temperature"),
        ({"model__network": "big"}, "model.network"),
    ],
)
def test_what_cannot_be_is_refused(said, message):
    with pytest.raises(UserError, match=message):
        system_of(**said)
