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
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import alignment, intrinsics, se3, splat
from tdepth_jax.losses import motion as motion_losses
from tdepth_jax.losses import photometric, reprojection
from tdepth_jax.losses.reprojection import PAIRS
from tdepth_jax.models import depth as depth_models
from tdepth_jax.models import pose as pose_models
from tdepth_jax.systems import optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update
from tdepth_jax.thermal import mapping, normalize

RGB = {"rgb/image", "rgb/K", "rgb_from_thermal"}  # what multi-spectral consistency reads besides


@dataclasses.dataclass(frozen=True)
class Model(depth_models.DepthConfig):
    """The depth network's sizes, and the pose network's."""

    pose_net: str = "light"  # light = stride-2 convolutions | resnet18 | resnet50
    pose_weights: str | None = (
        None  # of the pose net's ResNet: folder written by import_weights; None = random
    )
    pose_widths: tuple[int, ...] = (16, 32, 64, 128, 256, 256, 256)  # of the light one
    pose_scale: float = 0.01  # of the motion that the network's output of one means
    pose_view: str = "pair"  # what the light one sees: pair | gradients
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
    # Of the two neighbours of the middle frame: mean = each is a mean of its own; minimum = at each pixel the one that
    # explains it better (Godard et al. 2019), against occlusion.
    reprojection: str = "mean"
    # Multi-spectral consistency (Shin et al. 2021): the thermal depth, seen from the RGB camera, must explain the RGB
    # video as well. The rig's baseline ties the scale to metres, if weakly. Published: thermal 1, RGB 0.1 outdoors
    # (alphas 0.85 and 0.3), thermal 0.25, RGB 1 indoors (0.15 and 0.85). 0 = thermal alone.
    thermal_weight: float = 1.0
    rgb_weight: float = 0.0
    rgb_alpha: float = 0.3
    # Whether the records' intrinsics are right (given), or a guess: then one focal length is learnt (focal), or both
    # and the principal point (all; Gordon et al. 2019), starting from `focal_start` times the guess.
    intrinsics: str = "given"
    focal_start: float = 1.0
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
        reprojection=("mean", "minimum"),
        intrinsics=intrinsics.KINDS,
    )
    configs.check_choices(
        "model", model, pose_view=("pair", "gradients"), pose_net=("light", "resnet18", "resnet50")
    )
    _check(model, settings, config)
    depth_net = depth_models.DepthNet(model)
    pose_net = _pose_net(model)
    height, width = config.data.image_size

    def init(rng: Array) -> dict[str, Any]:
        depth_rng, pose_rng = jax.random.split(rng)
        image = jnp.zeros((1, height, width, 1))
        params = {"depth": depth_net.init(depth_rng, image)["params"]}
        pose = pose_net.init(pose_rng, image, image)
        params["pose"] = pose.pop("params")
        if settings.intrinsics != "given":
            params["camera"] = intrinsics.start(settings.intrinsics, settings.focal_start)
        return {"params": params, **{name: {"pose": tree} for name, tree in pose.items()}}

    def motion_of(
        params: Params, mutable: Params, first: Array, second: Array, *, train: bool
    ) -> tuple[Float[Array, "b 4 4"], Params]:
        """The pose network's motion between standardised images, and its statistics after it."""
        own = {"params": params["pose"], **{name: tree["pose"] for name, tree in mutable.items()}}
        out: Any = pose_net.apply(own, first, second, train=train, mutable=list(mutable))
        vector, changed = out
        mutable = {name: {"pose": tree} for name, tree in changed.items()}
        return se3.from_vector(vector, rotation=settings.rotation), mutable

    def camera_of(variables: dict[str, Any], K: Float[Array, "b 3 3"]) -> Float[Array, "b 3 3"]:
        """The intrinsics as learnt, from the records'."""
        camera = variables["params"].get("camera")
        return K if camera is None else intrinsics.learnt(K, camera)

    def depth_of(params: Params, counts: Array, valid: Array | None) -> tuple[Array, Array]:
        """(unit images, depth in metres) of a [b t h w 1] stack of counts."""
        unit = normalize.normalize(counts, method=settings.normalization, valid=valid)
        flat = rearrange(normalize.standardize(unit), "b t h w c -> (b t) h w c")
        depth: Any = depth_net.apply({"params": params["depth"]}, flat)
        return unit, rearrange(depth, "(b t) h w c -> b t h w c", b=len(counts))

    def poses_of(
        params: Params, mutable: Params, unit: Array, depth: Array, K: Array, valid: Array | None
    ) -> tuple[Float[Array, "p b 4 4"], dict[str, Term], Params]:
        """source_from_target of every pair, from unit images and depth [b t h w 1], what ties the pose network to it,
        and the pose network's statistics."""
        asked = PAIRS if settings.pose_pairs == "directed" else ((0, 1), (1, 2))
        targets, sources = zip(*asked, strict=True)

        def stack(x: Array, which: tuple[int, ...]) -> Array:
            """Pairs behind the examples, as in `losses.reprojection`."""
            return rearrange(jnp.stack([x[:, i] for i in which], axis=1), "b p h w c -> (b p) h w c")

        first, second = (stack(normalize.standardize(unit), which) for which in (targets, sources))
        motion, mutable = motion_of(params, mutable, first, second, train=True)
        terms = {}
        if settings.pose_alignment:
            # No gradient passes: where the motion fits best, the photometric loss has none along it.
            aligned = jax.lax.stop_gradient(
                alignment.align(
                    *(stack(unit, targets), stack(unit, sources), stack(depth, targets), motion),
                    jnp.repeat(K, len(asked), axis=0),
                    None if valid is None else jnp.repeat(valid.astype(unit.dtype), len(asked), axis=0),
                    steps=settings.pose_alignment,
                )
            )
            size = jax.lax.stop_gradient(1.0 / jnp.mean(1.0 / depth))
            terms["pose"] = motion_losses.motion_distance(motion, aligned, size)
            motion = aligned
        found = dict(zip(asked, rearrange(motion, "(b p) i j -> p b i j", p=len(asked)), strict=True))
        both = [found[p] if p in found else se3.inverse(found[p[::-1]]) for p in PAIRS]
        return jnp.stack(both), terms, mutable

    def consistency(views: reprojection.Views, alpha: float) -> dict[str, Term]:
        return reprojection.pair_terms(
            views,
            alpha=alpha,
            auto_mask=settings.auto_mask,
            detach_weight=settings.detach_weight,
            least_valid=settings.least_valid,
            minimum=settings.reprojection == "minimum",
        )

    def rgb_terms(
        batch: Batch, depth: Array, motion: Array, K: Array, valid: Array | None
    ) -> dict[str, Term]:
        """The same of the RGB video, by the thermal depth as the RGB camera sees it."""
        images = normalize.standardize(batch["rgb/image"].astype(jnp.float32) / 255)
        rgb_from_thermal = batch["rgb_from_thermal"]
        frames = depth.shape[1]
        each = lambda x: jnp.repeat(x, frames, axis=0)  # noqa: E731
        seen, covered = splat.splat_depth(
            rearrange(depth, "b t h w c -> (b t) h w c"),
            *(each(x) for x in (K, rgb_from_thermal, batch["rgb/K"])),
            size=(height, width),
            valid=None if valid is None else each(valid),
        )
        seen, covered = (rearrange(x, "(b t) h w c -> b t h w c", t=frames) for x in (seen, covered))
        motion = rgb_from_thermal @ motion @ se3.inverse(rgb_from_thermal)
        views = reprojection.pair_views(
            images, seen, motion, batch["rgb/K"], covered, padding=settings.padding
        )
        return {f"rgb_{name}": term for name, term in consistency(views, settings.rgb_alpha).items()}

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
        K = camera_of({"params": params}, batch["thermal/K"])
        motion, pose_terms, mutable = poses_of(params, mutable, unit, depth, K, valid)
        images = loss_images(batch["thermal/image"], unit, valid)
        usable = None if valid is None else jnp.repeat(valid[:, None], depth.shape[1], axis=1)
        views = reprojection.pair_views(images, depth, motion, K, usable, padding=settings.padding)
        terms = consistency(views, settings.alpha)
        if settings.rgb_weight:
            terms |= rgb_terms(batch, depth, motion, K, valid)
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
        statistics = {name: tree for name, tree in variables.items() if name != "params"}
        return motion_of(variables["params"], statistics, first, second, train=False)[0]

    trainable = (r"depth/(head|metric_bins)/.*", r"pose/.*", *_trained_backbone(model, settings))
    if settings.intrinsics != "given":
        trainable += (r"camera/.*",)
    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    thermal, rgb = settings.thermal_weight, settings.rgb_weight
    weights = {
        "photometric": thermal,
        "geometry": thermal * settings.geometry_weight,
        "smoothness": settings.smoothness_weight,
    }
    if rgb:
        weights |= {"rgb_photometric": rgb, "rgb_geometry": rgb * settings.geometry_weight}
    if settings.pose_alignment:
        weights["pose"] = settings.pose_weight
    return System(
        needs=frozenset({"thermal/image", "thermal/K"} | (RGB if rgb else set())),
        wants=frozenset({"thermal/valid"}),
        offsets=(-settings.interval, 0, settings.interval),
        init=init,
        updates=(Update(name="all", trainable=trainable, loss=loss, weights=weights, tx=optimizer),),
        predict=predict,
        panels=panels,
        motion=motion,
        intrinsics=None if settings.intrinsics == "given" else camera_of,
        pretrained={
            **pretrained.of_depth_net("depth", model.backbone_weights, output=model.output),
            **pretrained.of_resnet("pose/encoder", model.pose_weights),
        },
    )


def _check(model: Model, settings: Settings, config: ConfigDict) -> None:
    """Raises UserError for settings that cannot go together."""
    if settings.rgb_weight and settings.loss_depth == "batch":
        raise UserError(
            "system.rgb_weight needs system.loss_depth=free: the rig's baseline is in metres, and loss_depth=batch "
            "takes the scale away"
        )
    if settings.intrinsics == "all" and config.data.flip:
        raise UserError(
            "system.intrinsics=all needs data.flip=false: a mirrored image has its principal point mirrored, too"
        )
    if settings.intrinsics == "given" and settings.focal_start != 1.0:
        raise UserError("system.focal_start needs system.intrinsics=focal or all")
    if settings.focal_start <= 0:
        raise UserError(f"system.focal_start={settings.focal_start} must be positive")
    if model.pose_weights and model.pose_net == "light":
        raise UserError(
            "model.pose_weights needs model.pose_net=resnet18 or resnet50: the light one has none to import"
        )


def _pose_net(model: Model) -> Any:
    if model.pose_net == "light":
        return pose_models.PoseNet(
            widths=model.pose_widths, scale=model.pose_scale, view=model.pose_view, dtype=model.compute_dtype
        )
    return pose_models.PoseResNet(variant=model.pose_net, scale=model.pose_scale, dtype=model.compute_dtype)


def _trained_backbone(model: Model, settings: Settings) -> tuple[str, ...]:
    """Patterns of what is trained in the backbone: all of it, its adapters (stage 2), or nothing (stage 1)."""
    if settings.train_backbone:
        return (r"depth/vit/.*",)
    adapters = {"lora_": model.lora_rank, "conv_adapter": model.conv_adapter_width}
    return tuple(rf"depth/vit/blocks/{name}.*" for name, size in adapters.items() if size)
