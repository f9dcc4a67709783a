"""The self-supervised system: what its loss prefers, what it masks, and what it trains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import world
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import alignment
from tdepth_jax.systems import selfsup
from tdepth_jax.thermal import normalize
from tdepth_jax.training import partition, state, step

SMALL = {
    "data.image_size": (64, 80), "model.backbone": "custom", "model.vit_dim": 16, "model.vit_depth": 4,
    "model.vit_heads": 2, "model.vit_patch": 8, "model.vit_pos_grid": 4, "model.dpt_channels": (4, 8, 8, 8),
    "model.dpt_features": 8, "model.pose_widths": (8, 8, 8), "optimizer.learning_rate": 1e-3,
}  # fmt: skip


def make(**said):
    config = configs.defaults("selfsup", systems.schema)
    for key, value in {**SMALL, **{k.replace("__", "."): v for k, v in said.items()}}.items():
        configs._set(config, key, value, where="test")
    return systems.make(config)


@functools.cache
def snippet():
    """Three neighbouring frames of ThermalWorld by day, with their true depth and motions."""
    spec = world.sequences("test", count=1, frames=3, height=64, width=80)[0]
    frames = list(world.render(spec))
    images = np.stack([f["thermal/image"] for f in frames])[None, ..., None]
    depth = np.stack([f["thermal/depth"] for f in frames])[None, ..., None]
    poses = [f["thermal/world_from_camera"] for f in frames]
    motion = np.stack([np.linalg.inv(poses[s]) @ poses[t] for t, s in selfsup.PAIRS])[:, None]
    return (
        images,
        np.where(depth > 0, depth, 500.0).astype("f"),
        motion.astype("f"),
        frames[1]["thermal/K"][None],
    )


def batch(size=2):
    images, _, _, K = snippet()
    return {
        "thermal/image": np.repeat(images, size, axis=0),
        "thermal/K": np.repeat(K.astype("f"), size, axis=0),
    }


def terms(depth, motion, **said):
    images, _, _, K = snippet()
    settings = selfsup.Settings(**said)
    unit = normalize.standardize(normalize.normalize(images, method="snippet"))
    views = selfsup._pair_views(unit, jnp.asarray(depth), jnp.asarray(motion), K.astype("f"), None, settings)
    found = selfsup._pair_terms(views, settings)
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
    settings = selfsup.Settings(auto_mask=auto_mask)
    frozen = np.repeat(images[:, 1:2], 3, axis=1)
    unit = normalize.standardize(normalize.normalize(frozen, method="snippet"))
    views = selfsup._pair_views(unit, jnp.asarray(depth), jnp.asarray(motion), K.astype("f"), None, settings)
    share = selfsup._pair_terms(views, settings)["valid_share"][0]
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
     {"system__auto_mask": "l1", "system__detach_weight": True, "system__padding": "border"}],
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
        {"params": partition.nest(s.trainable)}, {"thermal/image": batch()["thermal/image"][:, 1]}
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
    target, source = selfsup.PAIRS[0]
    still = jnp.eye(4)[None]
    found = alignment.align(
        unit[:, target], unit[:, source], jnp.asarray(depth[:, target]), still, K.astype("f"), steps=10
    )
    off = np.linalg.inv(motion[0]) @ np.asarray(found)
    assert np.linalg.norm(off[0, :3, 3]) < 0.3 * np.linalg.norm(motion[0, 0, :3, 3])
