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
from etils import epath
from jax import Array
from jaxtyping import Bool
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import warp
from tdepth_jax.losses import confidence as losses
from tdepth_jax.losses import depth as depth_losses
from tdepth_jax.models import confidence as models
from tdepth_jax.models import depth as depth_models
from tdepth_jax.models.resize import bilinear
from tdepth_jax.systems import optimizers, pretrained, two_views
from tdepth_jax.systems.base import Batch, Params, System, Term, Update, single
from tdepth_jax.thermal import normalize

RIG = frozenset({"thermal/image", "rgb/image", "thermal/K", "rgb/K", "rgb_from_thermal"})


@dataclasses.dataclass(frozen=True)
class Model(depth_models.DepthConfig):
    """The student's network; the teacher's, which is like it but for what is said here; and the one that compares."""

    backbone_weights: str | None = None  # folder written by import_weights; None = random
    teacher_weights: str | None = None  # the teacher's; None = those of the student
    teacher_backbone: str | None = None
    teacher_vit_dim: int | None = None
    teacher_vit_depth: int | None = None
    teacher_vit_heads: int | None = None
    teacher_vit_patch: int | None = None
    teacher_vit_pos_grid: int | None = None
    teacher_output_gain: float | None = None
    confidence_widths: tuple[int, ...] = models.WIDTHS
    spread_width: int = 32  # of the head that says the student's own spread; 0 = none

    @property
    def teacher(self) -> depth_models.DepthConfig:
        own = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(depth_models.DepthConfig)
        }
        said = {name: getattr(self, f"teacher_{name}", None) for name in own}
        return depth_models.DepthConfig(**own | {k: v for k, v in said.items() if v is not None})


@dataclasses.dataclass(frozen=True)
class Settings:
    """As published where the publication has it; weights are those of its supervised stage on MS2."""

    name: str = "confidence"
    # supervised: labels in both views | label_free: teacher and confidence stand still
    stage: str = "supervised"
    normalization: str = "frame"  # of counts to about [0, 1]: full_scale | frame
    weighting: str = "confidence"  # of the distillation: confidence | plain (every pixel of the mask alike)
    train_rgb: str = "all"  # what the supervised stage trains of the teacher: all | head | nothing
    train_thermal: str = "all"  # of the student, in either stage: all | head, its backbone stands still
    thermal_weight: float = 1.0  # SILog of the student
    rgb_weight: float = 1.0  # SILog of the teacher
    silog_scale: float = 10.0
    scale_share: float = 0.85  # of SILog's forgiveness of scale
    distill_weight: float = 0.2  # 2.0 in the label-free stage
    likelihood_weight: float = 0.1  # of the confidence
    log_weight: float = 0.002  # of ln c in it: c settles at log_weight / error
    # What is an error to the distillation and the likelihood: metres, as published, or log, of the depths' logarithms.
    # For a network that predicts disparity metres are a wild measure, which far pixels rule.
    error: str = "metres"
    smoothness_weight: float = 0.01  # of the teacher's depth
    confidence_smoothness_weight: float = 1e-4
    kept_errors: float = 0.8  # share of errors, the smallest, that SILog, likelihood and distillation look at
    least_similarity: float = 0.01  # what is distilled: features that are alike,
    similarity_share: float = 0.2  # without this share of the least alike,
    least_confidence: float = 1e-3  # a teacher who is trusted at all,
    least_difference: float = 0.01  # and depths that differ by this much, in units of the error
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
            if self.likelihood_weight:
                found |= {"confidence_smoothness": self.confidence_smoothness_weight}
            if self.rgb_weight and self.train_rgb != "nothing":
                found |= {"rgb": self.rgb_weight, "smoothness": self.smoothness_weight}
        return {name: weight for name, weight in found.items() if weight}

    @property
    def teaches(self) -> bool:
        """Whether the teacher itself is taught."""
        return "rgb" in self.weights

    @property
    def looks(self) -> bool:
        """Whether the student's view matters to any loss; if not, the teacher is trained alone."""
        return bool(self.weights.keys() - {"rgb", "smoothness"})

    @property
    def compares(self) -> bool:
        """Whether the two views are compared; if not, the student is trained by labels alone."""
        return bool({"distill", "likelihood"} & self.weights.keys())


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    _check(model, settings)
    if not model.spread_width:
        settings = dataclasses.replace(settings, spread_weight=0.0)
    supervised = settings.stage == "supervised"
    nets = {"thermal": depth_models.DepthNet(model), "rgb": depth_models.DepthNet(model.teacher)}
    comparing = models.ConfidenceNet(model.confidence_widths, dtype=model.compute_dtype)
    spreading = models.SpreadHead(model.spread_width)
    height, width = config.data.image_size

    def init(rng: Array) -> dict[str, Any]:
        thermal, rgb, compare, spread = jax.random.split(rng, 4)
        image = jnp.zeros((1, height, width, 1))
        cues = jnp.zeros((1, height, width, models.CUES))
        keys = {"thermal": thermal, "rgb": rgb}
        params: dict[str, Any] = {name: net.init(keys[name], image)["params"] for name, net in nets.items()}
        found = comparing.init(compare, cues)
        params["confidence"] = found["params"]
        if model.spread_width:
            _, features = jax.eval_shape(functools.partial(view, {"params": params}, "thermal"), image)
            params["spread"] = spreading.init(spread, jnp.zeros(features.shape))["params"]
        return {"params": params, "batch_stats": {"confidence": found["batch_stats"]}}

    def view(variables: dict[str, Any], name: str, images: Array) -> tuple[Array, Array]:
        """(depth [b h w 1], features [b u v c]) of standardised images."""
        found: Any = nets[name].apply({"params": variables["params"][name]}, images, features=True)
        depth, features = found
        return depth, features.astype(jnp.float32)

    def spread_of(params: Params, features: Array) -> Array:
        spread: Any = spreading.apply({"params": params["spread"]}, features)
        return bilinear(spread, (height, width))

    def teacher(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        depth, features = view(variables, "rgb", two_views.colours(batch))
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
        cues = two_views.cues(
            batch, *ours, theirs, occlusion=settings.occlusion, min_depth=settings.min_depth
        )
        own = {"params": params["confidence"], "batch_stats": mutable["batch_stats"]["confidence"]}
        out: Any = comparing.apply(own, cues.pop("stack"), train=train, mutable=["batch_stats"])
        found, changed = out
        return {**cues, "confidence": found}, {"batch_stats": {"confidence": changed["batch_stats"]}}

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        variables = {"params": params}
        terms: dict[str, Term] = {}
        if settings.teaches:
            targets = teacher(variables, batch)  # live: it is taught itself
            terms |= _teacher_terms(batch, targets["depth"], settings)
        if not settings.looks:
            return terms, mutable
        ours = view(variables, "thermal", two_views.counts(batch, settings.normalization))
        spread = spread_of(params, ours[1]) if settings.spread_weight else None
        if supervised:
            terms |= _student_terms(batch, ours[0], spread, settings)
        if settings.compares:
            theirs, known = two_views.sound(
                jax.lax.stop_gradient(targets or teacher(variables, batch)), batch
            )
            seen, mutable = compare(params, mutable, batch, ours, theirs, train=supervised)
            terms |= _comparing_terms(batch, seen, theirs["depth"], known, spread, settings)
        return terms, mutable

    def predict(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        if not settings.looks:
            return {"depth": teacher(variables, batch)["depth"]}
        depth, features = view(variables, "thermal", two_views.counts(batch, settings.normalization))
        if not model.spread_width:
            return {"depth": depth}
        return {"depth": depth, "spread": spread_of(variables["params"], features)}

    def panels(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """A row an image: thermal image and inverse depth, colour image and inverse depth, and the confidence, its
        logarithm from 1/1000 (black) to 1 (white)."""
        params = variables["params"]
        mutable = {name: tree for name, tree in variables.items() if name != "params"}
        thermal = two_views.counts(batch, settings.normalization)
        ours = view(variables, "thermal", thermal)
        theirs, known = two_views.sound(teacher(variables, batch), batch)
        seen, _ = compare(params, mutable, batch, ours, theirs, train=False)
        trust = 1 + jnp.log10(jnp.where(known, seen["confidence"], 1e-3)) / 3
        grey = (
            thermal * normalize.STD + normalize.MEAN,
            two_views.near(ours[0]),
            two_views.near(theirs["depth"]),
            trust,
        )
        shown = [jnp.repeat(x, 3, axis=-1) for x in grey]
        shown.insert(2, single(batch["rgb/image"]) / 255)
        picture = jnp.clip(jnp.concatenate(shown, axis=2) * 255, 0, 255).astype(jnp.uint8)
        return {"views_and_confidence": picture}

    tx = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    if settings.backbone_rate != 1:
        tx = optimizers.slowed(tx, r"(thermal|rgb)/(vit|head)/.*", settings.backbone_rate)
    alone = not settings.looks
    return System(
        needs=_needs(settings),
        wants=frozenset() if alone else frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=(
            Update(name="all", trainable=_trained(settings), loss=loss, weights=settings.weights, tx=tx),
        ),
        predict=predict,
        camera="rgb" if alone else "thermal",
        sees=frozenset({"rgb/image"} if alone else ()),
        teacher=teacher if settings.compares and not settings.teaches else None,
        panels=panels if settings.compares else None,
        pretrained={
            **pretrained.of_depth_net("thermal", model.backbone_weights, output=model.output),
            **pretrained.of_depth_net(
                "rgb", model.teacher_weights or model.backbone_weights, output=model.output
            ),
        },
        inherits=_inherited(model, settings),
        scale="metric",
    )


def _check(model: Model, settings: Settings) -> None:
    configs.check_choices(
        "system",
        settings,
        stage=("supervised", "label_free"),
        normalization=("full_scale", "frame"),
        weighting=("confidence", "plain"),
        error=("metres", "log"),
        train_rgb=("all", "head", "nothing"),
        train_thermal=("all", "head"),
    )
    if model.output == "bins":
        raise UserError(
            "the confidence method reads a decoder's features: take a DPT head, not model.output=bins"
        )
    if not settings.weights or min(settings.weights.values()) < 0:
        raise UserError("system: give at least one loss a weight, and none a negative one")
    if not 0 < settings.kept_errors <= 1 or not 0 <= settings.similarity_share < 1:
        raise UserError("system.kept_errors must lie in (0, 1] and system.similarity_share in [0, 1)")


def _needs(settings: Settings) -> frozenset[str]:
    needs = {"rgb/image", "rgb/depth"} if settings.teaches else set()
    if settings.looks:
        needs |= {"thermal/image"} | ({"thermal/depth"} if settings.stage == "supervised" else set())
    if settings.compares:
        needs |= RIG | ({"rgb/depth"} if "likelihood" in settings.weights else set())
    return frozenset(needs)


def _trained(settings: Settings) -> tuple[str, ...]:
    """Patterns of the parameters that the losses with a weight train."""
    terms = settings.weights.keys()
    found = [_part("thermal", settings.train_thermal)] if {"thermal", "distill"} & terms else []
    found += [r"spread/.*"] if "spread" in terms else []
    found += [r"confidence/.*"] if "likelihood" in terms else []
    found += [_part("rgb", settings.train_rgb)] if settings.teaches else []
    return tuple(found)


def _part(network: str, part: str) -> str:
    return rf"{network}/.*" if part == "all" else rf"{network}/(head|metric_bins)/.*"


def _inherited(model: Model, settings: Settings) -> tuple[str, ...]:
    """What must come from another run: left random, it would teach noise."""
    if settings.stage == "label_free":
        return (r"rgb/.*", r"confidence/.*", r"thermal/.*")
    imported = model.teacher_weights and (epath.Path(model.teacher_weights) / "head").exists()
    teacher = settings.compares and not settings.teaches and not imported
    student = settings.compares and "thermal" not in settings.weights
    return (*([r"rgb/.*"] if teacher else []), *([r"thermal/.*"] if student else []))


def _distilled(
    seen: dict[str, Array], depth: Array, known: Array, settings: Settings
) -> Bool[Array, "b h w 1"]:
    """The pixels of the teacher's view that teach."""
    inside = lambda d: (d > settings.min_depth) & (d < settings.max_depth)  # noqa: E731
    mask = known & seen["visible"] & inside(depth) & inside(seen["depth"])
    alike = losses.between(seen["similarity"], mask, low=settings.similarity_share)
    difference = seen["difference"]
    if settings.error == "log":
        difference = jnp.abs(jnp.log(jnp.where(mask, seen["depth"] / depth, 1.0)))
    close = losses.between(difference, mask, high=settings.kept_errors)
    mask = alike & close & (seen["similarity"] > settings.least_similarity)
    if settings.weighting == "confidence":
        mask &= seen["confidence"] > settings.least_confidence
    return jax.lax.stop_gradient(mask & (difference > settings.least_difference))


def _labelled(depth: Array, truth: Array, settings: Settings) -> Bool[Array, "b h w 1"]:
    """Pixels with a label, without the largest errors."""
    known = (truth > settings.min_depth) & (truth < settings.max_depth)
    return losses.between(jnp.abs(depth - truth), known, high=settings.kept_errors)


def _silog(depth: Array, truth: Array, settings: Settings) -> Term:
    mask = _labelled(depth, truth, settings)
    total, count = depth_losses.silog(depth, truth, mask, share=settings.scale_share)
    return settings.silog_scale * total, count


def _teacher_terms(batch: Batch, depth: Array, settings: Settings) -> dict[str, Term]:
    """What labels teach the teacher."""
    return {
        "rgb": _silog(depth, batch["rgb/depth"], settings),
        "smoothness": losses.guided_smoothness(depth, single(batch["rgb/image"]) / 255),
    }


def _student_terms(batch: Batch, depth: Array, spread: Array | None, settings: Settings) -> dict[str, Term]:
    """What labels teach the student: its depth, and how wrong it is."""
    truth = batch["thermal/depth"]
    terms = {"thermal": _silog(depth, truth, settings)}
    if spread is not None:
        known = (truth > settings.min_depth) & (truth < settings.max_depth)
        error = jnp.log(depth) - jnp.log(jnp.where(known, truth, 1.0))
        terms["spread"] = losses.spread_likelihood(error, spread, known.astype(jnp.float32))
    return terms


def _comparing_terms(
    batch: Batch, seen: dict[str, Array], depth: Array, known: Array, spread: Array | None, settings: Settings
) -> dict[str, Term]:
    """What the two views teach: the student by the teacher's depth, the confidence by the teacher's labels, and without
    labels the student's spread by the teacher as far as that is trusted."""
    trust, mask = seen["confidence"], _distilled(seen, depth, known, settings)
    unit = jnp.log if settings.error == "log" else (lambda x: x)
    ours = unit(jnp.where(mask, seen["depth"], 1.0))
    weight = trust if settings.weighting == "confidence" else jnp.ones_like(trust)
    terms = {
        "valid_share": (mask.sum(dtype=jnp.float32), jnp.float32(mask.size)),
        "confidence": (jnp.where(known, trust, 0.0).sum(), known.sum(dtype=jnp.float32)),
        "distill": losses.confident_distance(ours, unit(depth), weight, mask),
        "confidence_smoothness": losses.guided_smoothness(trust, two_views.near(depth)),
    }
    if settings.stage == "supervised":
        if settings.likelihood_weight:
            truth = batch["rgb/depth"]
            mask = _labelled(depth, truth, settings)
            error = unit(depth) - unit(jnp.where(mask, truth, 1.0))
            terms["likelihood"] = losses.confidence_likelihood(
                error, trust, mask, log_weight=settings.log_weight
            )
    elif spread is not None:
        there, _ = warp.sample(spread, jax.lax.stop_gradient(seen["pixels"]))
        error = jnp.log(jnp.where(mask, seen["depth"], 1.0)) - jnp.log(jnp.where(mask, depth, 1.0))
        trusted = jnp.where(mask, jax.lax.stop_gradient(trust), 0.0)
        terms["spread"] = losses.spread_likelihood(error, there, trusted)
    return terms
