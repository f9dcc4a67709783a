"""Self-supervised thermal depth from video (Fan et al., ICRA 2024): the next frame is the label.

A depth network (ViT + DPT) and a pose network are trained together so that each neighbour of a snippet, warped
by both, looks like the target. Stage 1 trains the head and the pose network on a frozen backbone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.geometry import alignment, camera, se3, warp
from tdepth_jax.losses import motion as motion_losses
from tdepth_jax.losses import photometric
from tdepth_jax.models import depth as depth_models
from tdepth_jax.models import pose as pose_models
from tdepth_jax.systems import optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update
from tdepth_jax.thermal import mapping, normalize

# Ordered pairs (target, source) of a snippet (t-k, t, t+k), both directions: the lineage sums these four.
PAIRS = ((1, 0), (1, 2), (0, 1), (2, 1))


@dataclasses.dataclass(frozen=True)
class Model(depth_models.DepthConfig):
    """The depth network's sizes, and the pose network's."""

    pose_widths: tuple[int, ...] = (16, 32, 64, 128, 256, 256, 256)
    pose_scale: float = 0.01  # of the motion that the network's output of one means
    pose_view: str = "pair"  # what the pose network sees: pair | gradients
    backbone_weights: str | None = None  # folder written by import_weights; None = random


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str = "selfsup"
    interval: int = 1  # frames between the target and its neighbours
    train_backbone: bool = False  # the published stage 1 freezes it; with no weights to freeze, train it
    normalization: str = "snippet"  # of counts to about [0, 1]: full_scale | frame | snippet
    loss_scale: str = (
        "standard"  # images in the loss: standard = (x - .45)/.225 as the lineage, unit = [0, 1]
    )
    # What the losses compare. network: what the network sees; temporal: Shin et al.'s temporal mapping (equalisation
    # shared by the snippet, and CLAHE), which Fan et al. use in stage 2.
    loss_images: str = "network"
    clahe_clip: float = 2.0  # of temporal mapping; 3 indoors, 0 = no CLAHE
    mapping_as_published: bool = (
        False  # the public code's mapping, which differs between the frames of a snippet
    )
    alpha: float = 0.85  # share of SSIM in the photometric distance
    smoothness_weight: float = 0.1
    geometry_weight: float = 0.5
    auto_mask: str = "mix"  # drop pixels a still camera explains better, by: mix (SSIM + L1) | l1 | off
    detach_weight: bool = False  # whether the geometric weight 1 - inconsistency passes no gradient
    least_valid: float = 0.03  # a pair with a smaller valid share is not used
    # The scale of depth and translation is theirs to choose, and depth can run into an end of its range on the way.
    # batch: the losses see depth divided by its harmonic mean over the batch (Wang et al. 2018), so that no gradient
    # moves the scale; free: as published.
    loss_depth: str = "free"
    padding: str = "zeros"  # border | zeros
    # How the pose network sees a pair. temporal: in order of time, the motion inverted for the way back (Monodepth2);
    # "forwards" is learnt at once, which a short training needs. directed: each way by itself (SC-SfMLearner).
    pose_pairs: str = "temporal"
    rotation: str = "axis_angle"  # axis_angle | euler
    # Gauss-Newton steps that align each pair by its depth, from the pose network's motion (Wang et al. 2018); the views
    # are warped by what they find, and the pose network learns it. 0 = the network alone, as published.
    pose_alignment: int = 0
    pose_weight: float = 0.3  # of the pose network's distance from the aligned motion


def make(config: ConfigDict) -> System:
    """The system that a config describes; the only place here that reads one."""
    model, settings = Model(**config.model), Settings(**config.system)
    configs.check_choices(
        "system",
        settings,
        normalization=("full_scale", "frame", "snippet"),
        loss_scale=("standard", "unit"),
        loss_images=("network", "temporal"),
        auto_mask=("mix", "l1", "off"),
        loss_depth=("free", "batch"),
        padding=("border", "zeros"),
        pose_pairs=("temporal", "directed"),
        rotation=("axis_angle", "euler"),
    )
    configs.check_choices("model", model, pose_view=("pair", "gradients"))
    depth_net = depth_models.DepthNet(model)
    pose_net = pose_models.PoseNet(
        widths=model.pose_widths, scale=model.pose_scale, view=model.pose_view, dtype=model.compute_dtype
    )
    height, width = config.data.image_size

    def apply(net: Any, params: Params, *inputs: Array) -> Any:
        return net.apply({"params": params}, *inputs)

    def init(rng: Array) -> dict[str, Any]:
        depth_rng, pose_rng = jax.random.split(rng)
        image = jnp.zeros((1, height, width, 1))
        return {
            "params": {
                "depth": depth_net.init(depth_rng, image)["params"],
                "pose": pose_net.init(pose_rng, image, image)["params"],
            }
        }

    def depth_of(params: Params, counts: Array, valid: Array | None) -> tuple[Array, Array]:
        """(unit images, depth in metres) of a [b t h w 1] stack of counts."""
        unit = normalize.normalize(counts, method=settings.normalization, valid=valid)
        flat = rearrange(normalize.standardize(unit), "b t h w c -> (b t) h w c")
        depth = apply(depth_net, params["depth"], flat)
        return unit, rearrange(depth, "(b t) h w c -> b t h w c", b=len(counts))

    def poses_of(
        params: Params, unit: Array, depth: Array, K: Array, valid: Array | None
    ) -> tuple[Float[Array, "p b 4 4"], dict[str, Term]]:
        """source_from_target of every pair, from unit images and depth [b t h w 1], and what ties the pose network."""
        asked = PAIRS if settings.pose_pairs == "directed" else ((0, 1), (1, 2))
        targets, sources = zip(*asked, strict=True)
        stack = lambda x, which: jnp.concatenate([x[:, i] for i in which])  # noqa: E731
        first, second = (stack(normalize.standardize(unit), which) for which in (targets, sources))
        motion = se3.from_vector(apply(pose_net, params["pose"], first, second), rotation=settings.rotation)
        terms = {}
        if settings.pose_alignment:
            # No gradient passes: where the motion fits best, the photometric loss has none along it.
            aligned = jax.lax.stop_gradient(
                alignment.align(
                    *(stack(unit, targets), stack(unit, sources), stack(depth, targets), motion),
                    jnp.tile(K, (len(asked), 1, 1)),
                    None if valid is None else jnp.tile(valid.astype(unit.dtype), (len(asked), 1, 1, 1)),
                    steps=settings.pose_alignment,
                )
            )
            size = jax.lax.stop_gradient(1.0 / jnp.mean(1.0 / depth))
            terms["pose"] = motion_losses.motion_distance(motion, aligned, size)
            motion = aligned
        found = dict(zip(asked, rearrange(motion, "(p b) i j -> p b i j", p=len(asked)), strict=True))
        both = [found[p] if p in found else se3.inverse(found[p[::-1]]) for p in PAIRS]
        return jnp.stack(both), terms

    def loss_images(counts: Array, unit: Array, valid: Array | None) -> Array:
        if settings.loss_images == "temporal":
            unit = mapping.temporal_mapping(
                counts,
                valid=None if valid is None else valid[:, None],
                clip_limit=settings.clahe_clip,
                as_published=settings.mapping_as_published,
            )
        return normalize.standardize(unit) if settings.loss_scale == "standard" else unit

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        valid = batch.get("thermal/valid")
        unit, depth = depth_of(params, batch["thermal/image"], None if valid is None else valid[:, None])
        if settings.loss_depth == "batch":
            depth = depth * jnp.mean(1.0 / depth)
        motion, pose_terms = poses_of(params, unit, depth, batch["thermal/K"], valid)
        images = loss_images(batch["thermal/image"], unit, valid)
        views = _pair_views(images, depth, motion, batch["thermal/K"], valid, settings)
        terms = _pair_terms(views, settings)
        sums, counts = zip(
            *(photometric.smoothness(depth[:, t], images[:, t]) for t in range(3)), strict=True
        )
        terms["smoothness"] = jnp.stack(sums), jnp.stack(counts)
        return terms | pose_terms, mutable

    def predict(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        valid = batch.get("thermal/valid")
        _, depth = depth_of(
            variables["params"], batch["thermal/image"][:, None], None if valid is None else valid[:, None]
        )
        return {"depth": depth[:, 0]}

    def panels(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        unit, depth = depth_of(variables["params"], batch["thermal/image"][:1], None)
        near = 1.0 / depth[:, 1]
        near = near / near.max(axis=(1, 2), keepdims=True)
        picture = jnp.clip(jnp.concatenate([unit[:, 1], near], axis=2) * 255, 0, 255).astype(jnp.uint8)
        return {"thermal_and_inverse_depth": jnp.repeat(picture, 3, axis=-1)}

    def motion(variables: dict[str, Any], batch: Batch) -> Float[Array, "b 4 4"]:
        """What the pose network alone says: the published test, whatever refined the motion in training."""
        valid = batch.get("thermal/valid")
        unit = normalize.normalize(
            batch["thermal/image"],
            method=settings.normalization,
            valid=None if valid is None else valid[:, None],
        )
        first, second = (normalize.standardize(unit[:, t]) for t in (0, 1))
        vector = apply(pose_net, variables["params"]["pose"], first, second)
        return se3.from_vector(vector, rotation=settings.rotation)

    trainable = (r"depth/head/.*", r"pose/.*", *_trained_backbone(model, settings))
    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    weights = {
        "photometric": 1.0,
        "geometry": settings.geometry_weight,
        "smoothness": settings.smoothness_weight,
        **({"pose": settings.pose_weight} if settings.pose_alignment else {}),
    }
    return System(
        needs=frozenset({"thermal/image", "thermal/K"}),
        wants=frozenset({"thermal/valid"}),
        offsets=(-settings.interval, 0, settings.interval),
        init=init,
        updates=(Update(name="all", trainable=trainable, loss=loss, weights=weights, tx=optimizer),),
        predict=predict,
        panels=panels,
        motion=motion,
        pretrained=pretrained.of_depth_net("depth", model.backbone_weights, output=model.output),
    )


def _trained_backbone(model: Model, settings: Settings) -> tuple[str, ...]:
    """Patterns of what is trained in the backbone: all of it, its adapters (stage 2), or nothing (stage 1)."""
    if settings.train_backbone:
        return (r"depth/vit/.*",)
    adapters = {"lora_": model.lora_rank, "conv_adapter": model.conv_adapter_width}
    return tuple(rf"depth/vit/blocks/{name}.*" for name, size in adapters.items() if size)


@dataclasses.dataclass(frozen=True)
class _Views:
    """What the pairs see, each [p b h w 1]: the target image, the warped source, and the unwarped one."""

    target: Float[Array, "p b h w 1"]
    warped: Float[Array, "p b h w 1"]
    source: Float[Array, "p b h w 1"]
    inconsistency: Float[Array, "p b h w 1"]
    valid: Bool[Array, "p b h w 1"]


def _pair_views(
    images: Array, depth: Array, motion: Array, K: Array, valid: Array | None, settings: Settings
) -> _Views:
    """Warps the source of every pair into its target, all pairs in one pass."""
    targets, sources = (jnp.array(side) for side in zip(*PAIRS, strict=True))
    pick = lambda x, which: rearrange(x[:, which], "b p h w c -> (p b) h w c")  # noqa: E731
    p, b = len(PAIRS), len(images)
    K = jnp.tile(K, (p, 1, 1))
    pixels, z = warp.reproject(pick(depth, targets), rearrange(motion, "p b i j -> (p b) i j"), K)
    carried = [pick(images, sources), pick(depth, sources)]
    usable = None
    if valid is not None:  # the bonnet moves with the camera: it is at the same pixels in every frame
        usable = jnp.tile(valid.astype(images.dtype), (p, 1, 1, 1))
        carried.append(usable)
    sampled, inside = warp.sample(jnp.concatenate(carried, axis=-1), pixels, padding=settings.padding)
    mask = inside & (z > camera.MIN_DEPTH)
    if usable is not None:
        mask &= (usable > 0.5) & (sampled[..., 2:3] > 0.99)
    inconsistency = photometric.depth_inconsistency(jnp.maximum(z, camera.MIN_DEPTH), sampled[..., 1:2])
    views = (pick(images, targets), sampled[..., :1], carried[0], inconsistency, mask)
    return _Views(*(rearrange(v, "(p b) h w c -> p b h w c", b=b) for v in views))


def _pair_terms(views: _Views, settings: Settings) -> dict[str, Term]:
    """Photometric and geometric terms, one entry per pair: each pair is a mean of its own, as published."""
    fold = lambda x: rearrange(x, "p b h w c -> (p b) h w c")  # noqa: E731
    unfold = lambda x: rearrange(x, "(p b) h w c -> p b h w c", p=len(PAIRS))  # noqa: E731
    target, warped, source = fold(views.target), fold(views.warped), fold(views.source)
    distance = photometric.photometric_distance(target, warped, alpha=settings.alpha)
    mask = fold(views.valid)
    if settings.auto_mask != "off":
        share = settings.alpha if settings.auto_mask == "mix" else 0.0
        moving = photometric.photometric_distance(target, warped, alpha=share)
        still = photometric.photometric_distance(target, source, alpha=share)
        mask &= moving < still
    weight = 1.0 - fold(views.inconsistency)
    weight = jax.lax.stop_gradient(weight) if settings.detach_weight else weight
    mask = unfold(mask)
    reduce = jax.vmap(lambda value, mask: photometric.masked_sum(value, mask, least=settings.least_valid))
    sums, counts = reduce(unfold(distance * weight), mask)
    share = mask.mean(axis=(1, 2, 3, 4))
    return {
        "photometric": (sums, counts),
        "geometry": reduce(views.inconsistency, mask),
        "valid_share": (share, jnp.full_like(share, len(PAIRS))),  # logged: how much of the image teaches
    }
