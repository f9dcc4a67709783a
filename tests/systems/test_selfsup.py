"""The self-supervised system: what its loss prefers, what it masks, and what it trains."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import world
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import alignment, intrinsics, se3, splat
from tdepth_jax.losses import reprojection
from tdepth_jax.models.resnet import VARIANTS, ResNet
from tdepth_jax.thermal import normalize
from tdepth_jax.training import mesh, partition, start, state, step

pytestmark = pytest.mark.usefixtures("unoptimised")

SMALL = {
    "data.image_size": (64, 80), "model.backbone": "custom", "model.vit_dim": 16, "model.vit_depth": 4,
    "model.vit_heads": 2, "model.vit_patch": 8, "model.vit_pos_grid": 4, "model.dpt_channels": (4, 8, 8, 8),
    "model.dpt_features": 8, "model.pose_widths": (8, 8, 8), "optimizer.learning_rate": 1e-3,
}  # fmt: skip

PUBLISHED = {
    "alpha": 0.85, "auto_mask": "mix", "detach_weight": False, "least_valid": 0.03, "minimum": False,
}  # fmt: skip


def configured(**said):
    config = configs.defaults("selfsup", systems.schema)
    for key, value in {**SMALL, **{k.replace("__", "."): v for k, v in said.items()}}.items():
        configs._set(config, key, value, where="test")
    return config


def make(**said):
    return systems.make(configured(**said))


@functools.cache
def rendered():
    spec = world.sequences("test", count=1, frames=3, height=64, width=80)[0]
    return list(world.render(spec))


@functools.cache
def snippet():
    """Three neighbouring frames of ThermalWorld by day, with their true depth and motions."""
    frames = rendered()
    images = np.stack([f["thermal/image"] for f in frames])[None, ..., None]
    depth = np.stack([f["thermal/depth"] for f in frames])[None, ..., None]
    poses = [f["thermal/world_from_camera"] for f in frames]
    motion = np.stack([np.linalg.inv(poses[s]) @ poses[t] for t, s in reprojection.PAIRS])[:, None]
    return (
        images,
        np.where(depth > 0, depth, 500.0).astype("f"),
        motion.astype("f"),
        frames[1]["thermal/K"][None],
    )


def batch(size=2):
    images, _, _, K = snippet()
    frames = rendered()
    one = {
        "thermal/image": images,
        "thermal/K": K.astype("f"),
        "rgb/image": np.stack([f["rgb/image"] for f in frames])[None],
        "rgb/K": frames[1]["rgb/K"][None].astype("f"),
        "rgb_from_thermal": frames[1]["rgb_from_thermal"][None].astype("f"),
    }
    return {key: np.repeat(value, size, axis=0) for key, value in one.items()}


def terms(depth, motion, **said):
    images, _, _, K = snippet()
    unit = normalize.standardize(normalize.normalize(images, method="snippet"))
    views = reprojection.pair_views(unit, depth, jnp.asarray(motion), K.astype("f"), padding="zeros")
    found = reprojection.pair_terms(views, **PUBLISHED | said)
    return {k: float(jnp.sum(s / jnp.maximum(n, 1))) for k, (s, n) in found.items()}


def test_the_truth_scores_better_than_wrong_depth_wrong_motion_and_standing_still():
    _, depth, motion, _ = snippet()
    true = terms(depth, motion, auto_mask="off")
    backwards = np.linalg.inv(motion)
    still = np.broadcast_to(np.eye(4, dtype="f"), motion.shape)
    for other in (terms(3 * depth, motion, auto_mask="off"), terms(depth, backwards, auto_mask="off")):
        assert true["photometric"] < 0.7 * other["photometric"]
    assert true["photometric"] < 0.7 * terms(depth, still, auto_mask="off")["photometric"]
    uneven = depth * np.float32([1, 2, 1])[None, :, None, None, None]  # the frames disagree on the scale
    assert true["geometry"] < 0.5 * terms(uneven, motion, auto_mask="off")["geometry"]


def test_scaling_depth_and_translation_together_changes_nothing():
    _, depth, motion, _ = snippet()
    scaled = motion.copy()
    scaled[..., :3, 3] *= 0.1
    a, b = terms(depth, motion), terms(0.1 * depth, scaled)
    assert a == pytest.approx(b, rel=1e-3)


@pytest.mark.parametrize("auto_mask", ["mix", "l1"])
def test_a_camera_that_stands_still_teaches_nothing(auto_mask):
    images, depth, motion, K = snippet()
    frozen = np.repeat(images[:, 1:2], 3, axis=1)
    unit = normalize.standardize(normalize.normalize(frozen, method="snippet"))
    views = reprojection.pair_views(unit, depth, jnp.asarray(motion), K.astype("f"), padding="zeros")
    share = reprojection.pair_terms(views, **PUBLISHED | {"auto_mask": auto_mask})["valid_share"][0]
    assert float(share.max()) < 0.01


def test_the_bonnet_is_neither_scored_nor_used_for_the_range():
    system = make()
    params = system.init(jax.random.key(0))["params"]
    clean = batch() | {"thermal/valid": np.ones((2, 64, 80, 1), bool)}
    clean["thermal/valid"][:, 50:] = False
    dirty = clean | {"thermal/image": clean["thermal/image"].copy()}
    dirty["thermal/image"][:, :, 50:] = 60000
    loss = jax.jit(system.updates[0].loss)
    a, _ = loss(params, {}, clean, None, jax.random.key(0))
    b, _ = loss(params, {}, dirty, None, jax.random.key(0))
    # The networks do see the bonnet, so the depths differ a little; what is compared does not.
    np.testing.assert_allclose(a["photometric"][1], b["photometric"][1], rtol=0.35)
    no_mask, _ = loss(
        params, {}, {k: v for k, v in clean.items() if "valid" not in k}, None, jax.random.key(0)
    )
    assert float(a["photometric"][1].sum()) < float(no_mask["photometric"][1].sum())


def test_the_published_stage_one_freezes_the_backbone():
    variables = make().init(jax.random.key(0))
    trainable, frozen, _ = state.divide(make(), variables)
    assert all(k.startswith(("depth/head/", "pose/")) for k in trainable)
    assert all(k.startswith("depth/vit/") for k in frozen)
    everything, none, _ = state.divide(make(system__train_backbone=True), variables)
    assert not none
    assert len(everything) == len(trainable) + len(frozen)


@pytest.mark.parametrize(
    "said",
    [{}, {"system__pose_pairs": "directed", "system__rotation": "euler"}, {"system__loss_scale": "unit"},
     {"system__auto_mask": "l1", "system__detach_weight": True, "system__padding": "border"},
     {"system__reprojection": "minimum", "system__intrinsics": "focal"},
     {"system__rgb_weight": 0.5}],
)  # fmt: skip
def test_every_variant_learns_on_one_snippet(said):
    system = make(system__train_backbone=True, **said)
    trainable, frozen, mutable = state.divide(system, system.init(jax.random.key(0)))
    s = state.create(system, trainable, mutable, ema=False)
    take = jax.jit(step.make_step(system, seed=0))
    history = []
    for _ in range(15):
        s, logs = take(s, frozen, batch())
        history.append(float(logs["loss"]))
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    depth = jax.jit(system.predict)(
        {"params": partition.nest({**s.trainable, **frozen})},
        {"thermal/image": batch()["thermal/image"][:, 1]},
    )["depth"]
    assert depth.shape == (2, 64, 80, 1)
    assert float(depth.min()) >= 0.099
    assert float(depth.max()) <= 100.1


def test_an_unknown_choice_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"system\.auto_mask='mixx' is not known; did you mean 'mix'"):
        make(system__auto_mask="mixx")


def test_aligned_pairs_teach_the_pose_network_and_only_it():
    system = make(system__pose_alignment=3)
    variables = system.init(jax.random.key(0))
    (update,) = system.updates

    def pose_term(params):
        terms, _ = update.loss(params, {}, batch(), None, jax.random.key(0))
        total, count = terms["pose"]
        return total / count

    value, gradient = jax.value_and_grad(pose_term)(variables["params"])
    assert value > 0
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient["pose"]))
    # The depth that the alignment used is what the distance is measured in, nothing else of it is asked.
    assert update.weights["pose"] > 0
    assert "pose" not in make().updates[0].weights


def test_alignment_finds_the_motion_of_thermalworld_from_standing_still():
    images, depth, motion, K = snippet()
    unit = normalize.normalize(images, method="snippet")
    target, source = reprojection.PAIRS[0]
    still = jnp.eye(4)[None]
    found = alignment.align(
        unit[:, target], unit[:, source], jnp.asarray(depth[:, target]), still, K.astype("f"), steps=10
    )
    off = np.linalg.inv(motion[0]) @ np.asarray(found)
    assert np.linalg.norm(off[0, :3, 3]) < 0.3 * np.linalg.norm(motion[0, 0, :3, 3])


def test_minimum_reprojection_takes_the_better_neighbour_of_each_pixel():
    """The earlier frame is spoilt on its left, the later one on its right: between them they explain everything."""
    rng = np.random.default_rng(0)
    target = rng.random((1, 16, 24, 1), np.float32)
    early, late = target.copy(), target.copy()
    early[:, :, :12] += 0.5
    late[:, :, 12:] += 0.5
    images = np.stack([early, target, late], axis=1)
    depth, K = np.ones((1, 3, 16, 24, 1), "f"), np.float32([[[20, 0, 12], [0, 20, 8], [0, 0, 1]]])
    still = jnp.broadcast_to(jnp.eye(4), (4, 1, 4, 4))
    views = reprojection.pair_views(images, depth, still, K, padding="zeros")
    off = PUBLISHED | {"auto_mask": "off", "alpha": 0.0}
    mean, least = (
        reprojection.pair_terms(views, **off | {"minimum": m})["photometric"] for m in (False, True)
    )
    np.testing.assert_allclose(mean[0] / mean[1], 0.25, rtol=1e-5)
    np.testing.assert_allclose(least[0][:2], 0.0, atol=1e-4)
    np.testing.assert_allclose(least[0][2:], mean[0][2:], rtol=1e-5)  # they have one source each
    np.testing.assert_allclose(least[1], 16 * 24)


def test_minimum_reprojection_uses_what_only_one_neighbour_sees():
    _, depth, motion, K = snippet()
    images = np.zeros_like(snippet()[0], np.float32)
    beyond = motion.copy()
    beyond[1, :, 0, 3] = 1e6  # the later frame is nowhere in view
    views = reprojection.pair_views(images, depth, jnp.asarray(beyond), K.astype("f"), padding="zeros")
    off = PUBLISHED | {"auto_mask": "off"}
    seen, of_both = (
        reprojection.pair_terms(views, **off | {"minimum": m})["photometric"][1] for m in (False, True)
    )
    assert seen[1] == 0
    assert of_both[0] == of_both[1] == seen[0] > 0


def test_depth_of_the_thermal_camera_as_the_rgb_camera_of_thermalworld_sees_it():
    frame = rendered()[1]
    depth = frame["thermal/depth"][None, ..., None]
    found, covered = splat.splat_depth(
        np.where(depth > 0, depth, 500.0).astype("f"), frame["thermal/K"][None].astype("f"),
        frame["rgb_from_thermal"][None].astype("f"), frame["rgb/K"][None].astype("f"),
        size=frame["rgb/depth"].shape,
    )  # fmt: skip
    truth = frame["rgb/depth"]
    both = np.asarray(covered[0, ..., 0]) & (truth > 0)
    assert both.mean() > 0.4
    off = np.abs(np.asarray(found[0, ..., 0]) - truth)[both] / truth[both]
    assert np.median(off) < 0.01
    assert np.quantile(off, 0.9) < 0.15


def test_what_is_near_hides_what_is_far_and_depth_has_its_gradient():
    """A pole at 2 m before a wall at 8 m, seen from 0.5 m further right: it moves by 10 pixels, the wall by 2.5."""
    K = np.float32([[[40, 0, 20], [0, 40, 4], [0, 0, 1]]])
    depth = np.full((1, 8, 40, 1), 8.0, np.float32)
    depth[:, :, 20:23] = 2.0
    move = np.eye(4, dtype="f")[None].copy()
    move[0, 0, 3] = -0.5
    seen, covered = splat.splat_depth(depth, K, move, K, size=(8, 40))
    row = np.asarray(seen[0, 4, :, 0])
    np.testing.assert_allclose(row[10:13], 2.0, rtol=1e-6)
    np.testing.assert_allclose(row[[*range(9), *range(22, 37)]], 8.0, rtol=1e-5)
    assert not np.asarray(covered[0, 4, 18:20, 0]).any()  # the wall that the pole hid
    assert not np.asarray(covered[0, 4, 37:40, 0]).all()  # beyond the first camera's view
    gradient = jax.grad(lambda d: splat.splat_depth(d, K, move, K, size=(8, 40))[0][0, 4, 11, 0])(depth)
    assert float(gradient[0, 4, 21, 0]) == pytest.approx(1.0, abs=1e-5)
    assert float(jnp.abs(gradient).sum()) == pytest.approx(1.0, abs=1e-4)  # the hidden wall has no part in it


def test_the_thermal_depth_explains_the_rgb_video():
    """With the rig's extrinsics and the true motion; not standing still, not backwards, not with another K."""
    images, depth, motion, K = snippet()
    frames = rendered()
    of_frame = {key: np.stack([f[key] for f in frames]) for key in ("rgb/image", "rgb/K", "rgb_from_thermal")}
    E, rgb_K = of_frame["rgb_from_thermal"].astype("f"), of_frame["rgb/K"].astype("f")
    pictures = normalize.standardize(jnp.asarray(of_frame["rgb/image"], jnp.float32) / 255)[None]

    def rgb(motion, E, K):
        seen, covered = splat.splat_depth(depth[0], K, E, rgb_K, size=images.shape[2:4])
        moved = jnp.asarray(E[1] @ motion @ np.linalg.inv(E[1]))
        views = reprojection.pair_views(
            pictures, seen[None], moved, rgb_K[1:2], covered[None], padding="zeros"
        )
        total, count = reprojection.pair_terms(views, **PUBLISHED | {"auto_mask": "off"})["photometric"]
        return float((total / count).mean())

    K = np.repeat(K, 3, axis=0).astype("f")
    true = rgb(motion, E, K)
    assert true < 0.6 * rgb(np.broadcast_to(np.eye(4, dtype="f"), motion.shape), E, K)
    assert true < 0.6 * rgb(np.linalg.inv(motion), E, K)
    assert true < 0.9 * rgb(motion, E, rgb_K)


def test_rgb_consistency_and_a_free_scale_exclude_each_other():
    with pytest.raises(UserError, match="loss_depth=free"):
        make(system__rgb_weight=0.1, system__loss_depth="batch")
    assert make(system__rgb_weight=0.1).needs >= {"rgb/image", "rgb/K", "rgb_from_thermal"}


def test_a_learnt_camera_is_the_same_camera_under_every_crop():
    K, crop = (
        np.float32([[90, 0, 40], [0, 95, 30], [0, 0, 1]]),
        np.float32([[1.2, 0, -5], [0, 1.1, -7], [0, 0, 1]]),
    )
    params = {"log_focal": jnp.float32([0.1, -0.2]), "centre": jnp.float32([0.03, -0.01])}
    whole, cropped = (np.asarray(intrinsics.learnt(k[None], params)[0]) for k in (K, crop @ K))
    np.testing.assert_allclose(cropped, crop @ whole, rtol=1e-5)
    np.testing.assert_allclose(whole[0, 0], 90 * np.exp(0.1), rtol=1e-6)
    np.testing.assert_allclose(whole[:2, 2], [40 + 90 * 0.03, 30 - 95 * 0.01], rtol=1e-6)


def test_the_photometric_loss_leads_a_wrong_focal_length_to_the_true_one():
    """Depth and motion as they are; the focal length starts 20 % too long."""
    _, depth, motion, K = snippet()
    unit = normalize.standardize(normalize.normalize(snippet()[0], method="snippet"))

    def loss(params):
        camera = intrinsics.learnt(jnp.asarray(K, jnp.float32), params)
        views = reprojection.pair_views(unit, depth, jnp.asarray(motion), camera, padding="zeros")
        total, count = reprojection.pair_terms(views, **PUBLISHED | {"auto_mask": "off"})["photometric"]
        return (total / count).sum()

    params = intrinsics.start("focal", 1.2)
    step = jax.jit(jax.grad(loss))
    for _ in range(120):
        params = jax.tree.map(lambda p, g: p - 0.004 * jnp.sign(g), params, step(params))
    assert float(params["log_focal"][0]) == pytest.approx(0.0, abs=0.04)


def test_how_well_a_focal_length_is_known():
    """2 * 100^2 / (200^2 * 0.02) = 25 pixels, 2 * 110^2 / (100^2 * 0.01) = 242; without turning, not at all."""
    K = np.float64([[100, 0, 100], [0, 110, 50], [0, 0, 1]])
    turns = np.asarray(se3.from_vector(jnp.float32([[0, 0, 0, 0.01, 0.02, 0]] * 5), rotation="axis_angle"))
    fx, fy = intrinsics.focal_tolerance(K, (100, 200), turns[:, :3, :3])
    assert fx == pytest.approx(25, rel=1e-3)
    assert fy == pytest.approx(242, rel=1e-3)
    assert intrinsics.focal_tolerance(K, (100, 200), np.eye(3)[None]) == (np.inf, np.inf)


def test_settings_of_the_camera_that_cannot_be():
    for said, words in (
        ({"system__intrinsics": "all"}, "data.flip=false"),
        ({"system__focal_start": 1.2}, "system.intrinsics=focal"),
        ({"system__focal_start": -1.0, "system__intrinsics": "focal"}, "must be positive"),
        ({"model__pose_weights": "weights/x"}, "model.pose_net=resnet18"),
    ):
        with pytest.raises(UserError, match=words):
            make(**said)


def test_the_pose_resnet_starts_from_imported_weights_and_keeps_its_statistics(tmp_path, monkeypatch):
    monkeypatch.setitem(VARIANTS, "resnet18", dataclasses.replace(VARIANTS["resnet18"], blocks=(1, 1, 1, 1)))
    folder = tmp_path / "resnet18"
    net = ResNet(VARIANTS["resnet18"])
    published = net.init(jax.random.key(7), jnp.zeros((1, 64, 64, 3)))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "resnet", partition.flatten(published["params"]))
        checkpointer.save(folder / "resnet_statistics", partition.flatten(published["batch_stats"]))
    config = configured(model__pose_net="resnet18", model__pose_weights=str(folder))
    system = systems.make(config)
    s, frozen = start.fresh(system, mesh.make_mesh(configs.Mesh(data=1, fsdp=1)), config)
    kernel = s.trainable["pose/encoder/conv1/kernel"]
    np.testing.assert_allclose(
        kernel,
        jnp.tile(published["params"]["conv1"]["kernel"].mean(2, keepdims=True) / 2, (1, 1, 2, 1)),
        rtol=1e-6,
    )
    before = s.mutable["batch_stats"]["pose"]["encoder"]["bn1"]["mean"]
    s, _ = jax.jit(step.make_step(system, seed=0))(s, frozen, batch())
    after = s.mutable["batch_stats"]["pose"]["encoder"]["bn1"]["mean"]
    assert float(jnp.abs(after - before).max()) > 0
    pair = {"thermal/image": batch()["thermal/image"][:, :2], "thermal/K": batch()["thermal/K"]}
    both = system.motion(state.variables(s, frozen), pair)
    alone = system.motion(state.variables(s, frozen), {key: value[:1] for key, value in pair.items()})
    np.testing.assert_allclose(both[:1], alone, atol=1e-6)  # statistics of the run, not of the batch
