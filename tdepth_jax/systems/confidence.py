"""Thermal depth taught by RGB depth as far as that can be trusted (MonoTher-Depth, Zuo et al., RA-L 2025).

Two depth networks look through the two cameras of a rig, whose images need not be aligned: the teacher's depth and the
rig's pose bring the student's depth into the teacher's view. A third network says there, from how the two views agree,
how far the teacher can be trusted. It is learnt with labels (stage "supervised", both networks with it); then the
teacher and it stand still, and the student learns in new scenes without any label ("label_free").

Beyond the publication the student carries a "spread", the scale of its own error, to whoever uses it alone.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import camera, rig, se3, warp
from tdepth_jax.losses import confidence as losses
from tdepth_jax.losses import depth as depth_losses
from tdepth_jax.models import confidence as models
from tdepth_jax.models import depth as depth_models
from tdepth_jax.models.resize import bilinear
from tdepth_jax.systems import optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update
from tdepth_jax.thermal import normalize

RIG = frozenset({"thermal/image", "rgb/image", "thermal/K", "rgb/K", "rgb_from_thermal"})


@dataclasses.dataclass(frozen=True)
class Model(depth_models.DepthConfig):
    """Both depth networks, which are alike, and the network that compares them."""

    backbone_weights: str | None = None  # folder written by import_weights, for both; None = random
    rgb_weights: str | None = None  # the teacher's, where they are others
    confidence_widths: tuple[int, ...] = models.WIDTHS
    spread_width: int = 32  # of the head that says the student's own spread; 0 = none


@dataclasses.dataclass(frozen=True)
class Settings:
    """As published where the publication has it; weights are those of its supervised stage on MS2."""

    name: str = "confidence"
    stage: str = (
        "supervised"  # supervised: labels in both views | label_free: teacher and confidence stand still
    )
    normalization: str = "frame"  # of counts to about [0, 1]: full_scale | frame
    weighting: str = "confidence"  # of the distillation: confidence | plain (every pixel of the mask alike)
    train_rgb: bool = True  # whether the supervised stage trains the teacher
    thermal_weight: float = 1.0  # SILog of the student
    rgb_weight: float = 1.0  # SILog of the teacher
    silog_scale: float = 10.0
    scale_share: float = 0.85  # of SILog's forgiveness of scale
    distill_weight: float = 0.2  # 2.0 in the label-free stage
    likelihood_weight: float = 0.1  # of the confidence
    log_weight: float = 0.002  # of ln c in it: c settles at log_weight / error in metres
    smoothness_weight: float = 0.01  # of the teacher's depth
    confidence_smoothness_weight: float = 1e-4
    kept_errors: float = 0.8  # share of errors, the smallest, that SILog, likelihood and distillation look at
    least_similarity: float = 0.01  # what is distilled: features that are alike,
    similarity_share: float = 0.2  # without this share of the least alike,
    least_confidence: float = 1e-3  # a teacher who is trusted at all,
    least_difference: float = 0.01  # and depths that differ by this much, metres
    # Whether what the thermal camera cannot see behind nearer things is left out, by the rig and the teacher's depth;
    # the public code has only kept_errors for it.
    occlusion: bool = True
    spread_weight: float = 0.1  # of the student's own spread; it trains that head alone
    min_depth: float = 1e-3  # metres; labels and depths outside are not used
    max_depth: float = 80.0
    backbone_rate: float = 1.0  # learning rate of backbone and DPT over that of the rest; published 0.02

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that the stage has."""
        found = {"distill": self.distill_weight, "spread": self.spread_weight}
        if self.stage == "supervised":
            found |= {"thermal": self.thermal_weight, "likelihood": self.likelihood_weight}
            found |= {"confidence_smoothness": self.confidence_smoothness_weight}
            if self.train_rgb:
                found |= {"rgb": self.rgb_weight, "smoothness": self.smoothness_weight}
        return {name: weight for name, weight in found.items() if weight}


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    _check(model, settings)
    if not model.spread_width:
        settings = dataclasses.replace(settings, spread_weight=0.0)
    supervised = settings.stage == "supervised"
    net = depth_models.DepthNet(model)
    comparing = models.ConfidenceNet(model.confidence_widths, dtype=model.compute_dtype)
    spreading = models.SpreadHead(model.spread_width)
    height, width = config.data.image_size

    def init(rng: Array) -> dict[str, Any]:
        thermal, rgb, compare, spread = jax.random.split(rng, 4)
        image = jnp.zeros((1, height, width, 1))
        cues = jnp.zeros((1, height, width, models.CUES))
        params = {name: net.init(key, image)["params"] for name, key in (("thermal", thermal), ("rgb", rgb))}
        found = comparing.init(compare, cues)
        params["confidence"] = found["params"]
        if model.spread_width:
            _, features = jax.eval_shape(functools.partial(view, {"params": params}, "thermal"), image)
            params["spread"] = spreading.init(spread, jnp.zeros(features.shape))["params"]
        return {"params": params, "batch_stats": {"confidence": found["batch_stats"]}}

    def view(variables: dict[str, Any], name: str, images: Array) -> tuple[Array, Array]:
        """(depth [b h w 1], features [b h w c]) of standardised images."""
        found: Any = net.apply({"params": variables["params"][name]}, images, features=True)
        depth, features = found
        return depth, bilinear(features.astype(jnp.float32), depth.shape[1:3])

    def spread_of(params: Params, features: Array) -> Array:
        spread: Any = spreading.apply({"params": params["spread"]}, features)
        return spread

    def teacher(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        depth, features = view(variables, "rgb", _colours(batch))
        return {"depth": depth, "features": features}

    def compare(
        params: Params,
        mutable: Params,
        batch: Batch,
        ours: tuple[Array, Array],
        theirs: dict[str, Array],
        *,
        train: bool,
    ) -> tuple[dict[str, Array], Params]:
        """What the views say of each other, in the teacher's view, and the statistics after it."""
        cues = _cues(batch, *ours, theirs, settings)
        own = {"params": params["confidence"], "batch_stats": mutable["batch_stats"]["confidence"]}
        out: Any = comparing.apply(own, cues.pop("stack"), train=train, mutable=["batch_stats"])
        found, changed = out
        return {**cues, "confidence": found}, {"batch_stats": {"confidence": changed["batch_stats"]}}

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        variables = {"params": params}
        thermal = _counts(batch, settings)
        ours = view(variables, "thermal", thermal)
        live = targets or teacher(variables, batch)
        theirs, known = _sound(jax.lax.stop_gradient(live), batch)
        seen, mutable = compare(params, mutable, batch, ours, theirs, train=supervised)
        mask = _distilled(seen, theirs["depth"], known, settings)
        weight = (
            seen["confidence"] if settings.weighting == "confidence" else jnp.ones_like(seen["confidence"])
        )
        terms = {"distill": losses.confident_distance(seen["depth"], theirs["depth"], weight, mask)}
        terms["valid_share"] = mask.sum(dtype=jnp.float32), jnp.float32(mask.size)
        terms["confidence"] = jnp.where(known, seen["confidence"], 0.0).sum(), known.sum(dtype=jnp.float32)
        if supervised:
            terms |= _taught(batch, ours[0], live["depth"], seen["confidence"], settings)
        if settings.spread_weight:
            terms["spread"] = _spread_term(
                batch, ours, seen, theirs, mask, functools.partial(spread_of, params), settings
            )
        used = {**settings.weights, "valid_share": 0.0, "confidence": 0.0}
        return {name: term for name, term in terms.items() if name in used}, mutable

    def predict(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        depth, features = view(variables, "thermal", _counts(batch, settings))
        if not model.spread_width:
            return {"depth": depth}
        return {"depth": depth, "spread": spread_of(variables["params"], features)}

    def panels(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """A row an image: thermal image and inverse depth, colour image and inverse depth, confidence."""
        params = variables["params"]
        mutable = {name: tree for name, tree in variables.items() if name != "params"}
        thermal = _counts(batch, settings)
        ours = view(variables, "thermal", thermal)
        theirs, known = _sound(teacher(variables, batch), batch)
        seen, _ = compare(params, mutable, batch, ours, theirs, train=False)
        trust = jnp.where(known, seen["confidence"], 0.0)
        grey = [
            thermal * normalize.STD + normalize.MEAN,
            _near(ours[0]),
            _near(theirs["depth"]),
            trust / trust.max(),
        ]
        shown = [jnp.repeat(x, 3, axis=-1) for x in grey]
        shown.insert(2, _single(batch["rgb/image"]) / 255)
        return {
            "views_and_confidence": jnp.clip(jnp.concatenate(shown, axis=2) * 255, 0, 255).astype(jnp.uint8)
        }

    trained = [r"thermal/.*"] + ([r"spread/.*"] if settings.spread_weight else [])
    if supervised:
        trained += [r"confidence/.*"] + ([r"rgb/.*"] if settings.train_rgb else [])
    tx = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    if settings.backbone_rate != 1:
        tx = optimizers.slowed(tx, r"(thermal|rgb)/(vit|head)/.*", settings.backbone_rate)
    labels = {"thermal/depth"} | (
        {"rgb/depth"} if settings.train_rgb or settings.likelihood_weight else set()
    )
    return System(
        needs=RIG | (labels if supervised else set()),
        wants=frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=(Update(name="all", trainable=tuple(trained), loss=loss, weights=settings.weights, tx=tx),),
        predict=predict,
        teacher=None if supervised and settings.train_rgb else teacher,
        panels=panels,
        pretrained={
            **pretrained.of_depth_net("thermal", model.backbone_weights, output=model.output),
            **pretrained.of_depth_net(
                "rgb", model.rgb_weights or model.backbone_weights, output=model.output
            ),
        },
        inherits=() if supervised else (r"rgb/.*", r"confidence/.*", r"thermal/.*"),
        scale="metric",
    )


def _check(model: Model, settings: Settings) -> None:
    configs.check_choices(
        "system",
        settings,
        stage=("supervised", "label_free"),
        normalization=("full_scale", "frame"),
        weighting=("confidence", "plain"),
    )
    if model.output == "bins":
        raise UserError(
            "the confidence method reads a decoder's features: take a DPT head, not model.output=bins"
        )
    if not settings.weights or min(settings.weights.values()) < 0:
        raise UserError("system: give at least one loss a weight, and none a negative one")
    if not 0 < settings.kept_errors <= 1 or not 0 <= settings.similarity_share < 1:
        raise UserError("system.kept_errors must lie in (0, 1] and system.similarity_share in [0, 1)")


def _single(stack: Array) -> Array:
    """[b 1 h w c] of training as [b h w c], which evaluation has."""
    return stack[:, 0] if stack.ndim == 5 else stack


def _counts(batch: Batch, settings: Settings) -> Float[Array, "b h w 1"]:
    """Thermal images as the network sees them."""
    valid = batch.get("thermal/valid")
    unit = normalize.normalize(
        _single(batch["thermal/image"])[:, None],
        method=settings.normalization,
        valid=None if valid is None else valid[:, None],
    )
    return normalize.standardize(unit)[:, 0]


def _colours(batch: Batch) -> Float[Array, "b h w 3"]:
    return normalize.standardize(_single(batch["rgb/image"]).astype(jnp.float32) / 255)


def _sound(theirs: dict[str, Array], batch: Batch) -> tuple[dict[str, Array], Bool[Array, "b h w 1"]]:
    """The teacher's targets with numbers everywhere, and where they were any: an RGB frame, and a finite depth."""
    there = (_single(batch["rgb/image"]) > 0).any(axis=(1, 2, 3))
    known = jnp.isfinite(theirs["depth"]) & jnp.isfinite(theirs["features"]).all(axis=-1, keepdims=True)
    known &= there[:, None, None, None] & (theirs["depth"] > 0)
    clean = {name: jnp.where(known, value, 1.0) for name, value in theirs.items()}
    return clean, known


def _rig(batch: Batch) -> tuple[Array, Array, Array]:
    """(thermal K, RGB K, thermal_from_rgb), sound also where a frame has no RGB."""
    eye = lambda x: jnp.where(jnp.isfinite(x).all(axis=(1, 2), keepdims=True), x, jnp.eye(x.shape[-1]))  # noqa: E731
    rgb_from_thermal = eye(batch["rgb_from_thermal"])
    return eye(batch["thermal/K"]), eye(batch["rgb/K"]), se3.inverse(rgb_from_thermal)


def _cues(
    batch: Batch, depth: Array, features: Array, theirs: dict[str, Array], settings: Settings
) -> dict[str, Array]:
    """What the confidence is made of, in the teacher's view: its "stack" [b h w 8], which passes no gradient, and
    "depth", the student's as the teacher sees it, "visible", "similarity" and "difference".

    In the published order: likeness of features in the teacher's view, the same in the student's view brought here,
    difference of depths (-1 where one is missing), the student's depth, the teacher's depth, the colour image.
    """
    thermal_K, rgb_K, thermal_from_rgb = _rig(batch)
    seen = rig.seen_by_other(theirs["depth"], rgb_K, depth, thermal_K, thermal_from_rgb)
    ours, distance = jax.lax.stop_gradient((features, depth))
    here = _likeness(theirs["features"], warp.sample(ours, seen.pixels, padding="zeros")[0])
    points = se3.transform(se3.inverse(thermal_from_rgb), camera.backproject(distance, thermal_K))
    landed, _ = camera.project(points, rgb_K)
    there = _likeness(ours, warp.sample(theirs["features"], landed, padding="zeros")[0])
    there = jnp.where(seen.visible, warp.nearest(there, seen.pixels), 0.0)
    difference = jnp.abs(theirs["depth"] - seen.depth)
    visible = seen.visible if settings.occlusion else _inside(seen.pixels, depth.shape)
    if "thermal/valid" in batch:
        visible &= warp.nearest(batch["thermal/valid"], seen.pixels)
    shown = jnp.where(visible & (seen.depth > settings.min_depth), difference, -1.0)
    stack = [here, there, shown, jnp.maximum(seen.depth, 0.0), theirs["depth"], _colours(batch)]
    return {
        "stack": jax.lax.stop_gradient(jnp.concatenate(stack, axis=-1)),
        "pixels": seen.pixels,
        "depth": seen.depth,
        "visible": visible,
        "similarity": here,
        "difference": difference,
    }


def _inside(pixels: Array, shape: tuple[int, ...]) -> Bool[Array, "b h w 1"]:
    last = jnp.array([shape[2] - 1, shape[1] - 1])
    return ((pixels >= 0) & (pixels <= last)).all(axis=-1, keepdims=True)


def _likeness(a: Array, b: Array) -> Float[Array, "b h w 1"]:
    """Cosine of the angle between two features at every pixel."""
    norms = jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True)
    return (a * b).sum(axis=-1, keepdims=True) / jnp.maximum(norms, 1e-8)


def _distilled(
    seen: dict[str, Array], depth: Array, known: Array, settings: Settings
) -> Bool[Array, "b h w 1"]:
    """The pixels of the teacher's view that teach."""
    inside = lambda d: (d > settings.min_depth) & (d < settings.max_depth)  # noqa: E731
    mask = known & seen["visible"] & inside(depth) & inside(seen["depth"])
    alike = losses.between(seen["similarity"], mask, low=settings.similarity_share)
    close = losses.between(seen["difference"], mask, high=settings.kept_errors)
    mask = alike & close & (seen["similarity"] > settings.least_similarity)
    if settings.weighting == "confidence":
        mask &= seen["confidence"] > settings.least_confidence
    return jax.lax.stop_gradient(mask & (seen["difference"] > settings.least_difference))


def _labelled(depth: Array, truth: Array, settings: Settings) -> Bool[Array, "b h w 1"]:
    """Pixels with a label, without the largest errors."""
    known = (truth > settings.min_depth) & (truth < settings.max_depth)
    return losses.between(jnp.abs(depth - truth), known, high=settings.kept_errors)


def _taught(
    batch: Batch, ours: Array, theirs: Array, confidence: Array, settings: Settings
) -> dict[str, Term]:
    """What labels teach: both depths, and the confidence in the teacher's."""

    def silog(depth: Array, truth: Array) -> Term:
        mask = _labelled(depth, truth, settings)
        total, count = depth_losses.silog(depth, truth, mask, share=settings.scale_share)
        return settings.silog_scale * total, count

    terms = {"thermal": silog(ours, batch["thermal/depth"])}
    if settings.train_rgb or settings.likelihood_weight:
        truth = batch["rgb/depth"]
        mask = _labelled(theirs, truth, settings)
        terms["likelihood"] = losses.confidence_likelihood(
            theirs - truth, confidence, mask, log_weight=settings.log_weight
        )
    if settings.train_rgb:
        terms["rgb"] = silog(theirs, batch["rgb/depth"])
        terms["smoothness"] = losses.guided_smoothness(theirs, _single(batch["rgb/image"]) / 255)
    guide = jax.lax.stop_gradient(_near(theirs))
    terms["confidence_smoothness"] = losses.guided_smoothness(confidence, guide)
    return terms


def _spread_term(
    batch: Batch,
    ours: tuple[Array, Array],
    seen: dict[str, Array],
    theirs: dict[str, Array],
    mask: Array,
    spread_of: Any,
    settings: Settings,
) -> Term:
    """The student's own spread: against its labels, or without any against the teacher as far as that is trusted."""
    depth, features = ours
    spread = spread_of(features)
    if settings.stage == "supervised":
        truth = batch["thermal/depth"]
        known = (truth > settings.min_depth) & (truth < settings.max_depth)
        error = jnp.log(depth) - jnp.log(jnp.where(known, truth, 1.0))
        return losses.spread_likelihood(error, spread, known.astype(jnp.float32))
    there, _ = warp.sample(spread, jax.lax.stop_gradient(seen["pixels"]))
    error = jnp.log(jnp.where(mask, seen["depth"], 1.0)) - jnp.log(jnp.where(mask, theirs["depth"], 1.0))
    weight = jnp.where(mask, jax.lax.stop_gradient(seen["confidence"]), 0.0)
    return losses.spread_likelihood(error, there, weight)


def _near(depth: Array) -> Float[Array, "b h w 1"]:
    """Inverse depth, the nearest pixel of each image being 1."""
    near = 1.0 / jnp.maximum(depth, 1e-3)
    return near / near.max(axis=(1, 2, 3), keepdims=True)
