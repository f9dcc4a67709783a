"""XD-RCDepth (Sun et al., arXiv 2510.13565): light radar-camera depth, taught by a large network of the same inputs.

Two kinds of runs share one config section: `trains="teacher"` trains the large network on measured depth, and
`trains="student"` the light one, on measured depth and on what the frozen teacher says: where its feature raises its
depth (Grad-CAM saliency), and its depth as a distribution over bins. With both weights 0 there is no teacher: direct
training. Nothing knows RGB from thermal but the normalisation of the image: `camera` says which is seen.

Published: both losses, L1-like training on measured depth with edge-aware smoothness of weight 0.001 (CaFNet's and
LiRCDepth's; XD-RCDepth's own is not in our sources), depth up to 100 m, rasterised radar of nearest returns with depth,
RCS and velocity as channels, MobileNetV2's weights of ImageNet for image and for radar (LiRCDepth's). Chosen here, for
no source states it:

- saliency explains the mean of predicted depth, at the feature after the DASPP (1/8 of the image), which both networks
  have; maps are compared by cosine. The student's saliency is differentiated whole, gradients of gradients included;
- bins: number, spacing, temperature, the weights of both losses;
- `radar_dropout`, `radar_wrong`: a share of training images sees no radar, another every return at a random distance
  along its ray, so that the network works where the sensor fails and believes it no more than the image allows;
- `label_lines`: of dense true depth only every n-th row is a label, as a scanner's lines are of real depth.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.data import radar_faults
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import points, se3
from tdepth_jax.losses import depth as depth_losses
from tdepth_jax.losses import explainable, photometric
from tdepth_jax.models.radar_camera import RadarCameraConfig, RadarCameraNet
from tdepth_jax.systems import labelling, optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update, single
from tdepth_jax.thermal import normalize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What a radar column is divided by: about its spread; z by the range.
SCALES = {"rcs": 20.0, "rcs_dbsm": 20.0, "vx": 10.0, "vy": 10.0, "vz": 10.0, "radial_velocity": 10.0}
NEAREST = 1.0  # metres, the first bin of a logarithmic spacing
COARSE_WEIGHT = 0.5  # CaFNet's, of radar's own depth


@dataclasses.dataclass(frozen=True)
class Model:
    """Both networks; a student's teacher must be what the run that it comes from trained."""

    network: str = "xd"  # xd | lirc
    width: float = 1.0  # multiplies all channels; 1 is the published size
    blocks: int = 6  # of an encoder's stage at most; 6 is all of them
    film: str = "channel"  # of xd: channel | spatial
    # MobileNetV2 for the student's image and radar: folder written by import_weights; None = random.
    encoder_weights: str | None = None
    teacher_network: str = "cafnet"
    teacher_width: float = 1.0
    teacher_blocks: int = 6
    # ResNets for the teacher, likewise: a 34 for its image, an 18 for either stage of its radar.
    teacher_image_weights: str | None = None
    teacher_radar_weights: str | None = None
    max_depth: float = 100.0  # metres
    dtype: str = "auto"  # of the networks' products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)

    def __post_init__(self) -> None:
        _ = self.student, self.teacher

    @property
    def student(self) -> RadarCameraConfig:
        return RadarCameraConfig(
            self.network, self.width, self.blocks, self.film, max_depth=self.max_depth, dtype=self.dtype
        )

    @property
    def teacher(self) -> RadarCameraConfig:
        return RadarCameraConfig(
            self.teacher_network,
            self.teacher_width,
            self.teacher_blocks,
            max_depth=self.max_depth,
            dtype=self.dtype,
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str = "xdrc"
    trains: str = "student"  # teacher | student
    camera: str = "rgb"  # rgb | thermal
    normalization: str = "frame"  # of thermal counts to [0, 1]: full_scale | frame
    radar_values: tuple[str, ...] = ("z", "rcs", "vx", "vz")  # the data set's columns that are seen; z first
    radar_dropout: float = 0.1  # share of training images without radar; 0 as published
    radar_wrong: float = 0.1  # share of training images whose returns are all wrong; 0 as published
    smooth_weight: float = 0.001
    saliency_weight: float = 1.0  # explainability-aligned; 0 = not computed
    distribution_weight: float = 1.0  # depth-distribution; 0 = not computed
    bins: int = 128
    spacing: str = "linear"  # of the bins: linear | log
    temperature: float = 2.0  # of the distribution: metres, or logarithms of metres
    confidence_patch: tuple[int, int] = (150, 50)  # rows, columns round a return; the large network's radar
    label_lines: int = 1  # every n-th row of true depth is a label
    min_depth: float = 1e-3  # metres; labels outside are not used
    max_depth: float = 80.0

    def __post_init__(self) -> None:
        configs.check_choices(
            "system", self, trains=("teacher", "student"), camera=("rgb", "thermal"), spacing=explainable.SPACINGS,
            normalization=("full_scale", "frame"),
        )  # fmt: skip
        unknown = [name for name in self.radar_values[1:] if name not in SCALES]
        if not self.radar_values or self.radar_values[0] != "z" or unknown:
            raise UserError(
                f"system.radar_values={self.radar_values}: the first is z, the others among {', '.join(SCALES)}"
            )
        if min(self.radar_dropout, self.radar_wrong) < 0 or self.radar_dropout + self.radar_wrong >= 1:
            raise UserError(
                f"system: radar_dropout={self.radar_dropout} and radar_wrong={self.radar_wrong} must be at least 0 "
                "and together below 1"
            )
        if min(self.saliency_weight, self.distribution_weight, self.smooth_weight) < 0:
            raise UserError("system: no weight may be negative")
        if self.bins < 2 or self.temperature <= 0 or self.label_lines < 1:
            raise UserError(
                f"system: bins={self.bins} must be at least 2, temperature={self.temperature} above 0 and "
                f"label_lines={self.label_lines} at least 1"
            )

    @property
    def tied(self) -> dict[str, float]:
        """The weights of the losses that need a teacher."""
        if self.trains == "teacher":
            return {}
        found = {"saliency": self.saliency_weight, "distribution": self.distribution_weight}
        return {name: weight for name, weight in found.items() if weight}

    @property
    def columns(self) -> tuple[str, ...]:
        """The radar columns that are read."""
        return tuple(dict.fromkeys(("x", "y", *self.radar_values)))


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    name = settings.trains
    _check_weights(model, settings)
    net = RadarCameraNet(model.teacher if name == "teacher" else model.student)
    master = RadarCameraNet(model.teacher)
    height, width = config.data.image_size
    eye = settings.camera
    colours = 3 if eye == "rgb" else 1

    def init(rng: Array) -> dict[str, Any]:
        image = jnp.zeros((1, height, width, colours))
        radar = jnp.zeros((1, height, width, len(settings.radar_values)))
        own, theirs = jax.random.split(rng)
        found = {name: net.init(own, image, radar)}
        if settings.tied:
            found["teacher"] = master.init(theirs, image, radar)
        return {
            collection: {name: tree[collection] for name, tree in found.items()}
            for collection in ("params", "batch_stats")
        }

    def see(batch: Batch) -> tuple[Array, Array]:
        """(image, radar) as the network gets them."""
        image = _image(batch, settings)
        h, w = image.shape[1:3]
        return image, _radar(batch, settings, (h, w), model.max_depth)

    def teacher(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        depth, saliency = explained(variables, "teacher", master, *see(batch))
        found = {"depth": depth, "saliency": saliency}
        return {
            key: found[key]
            for key, of in (("depth", "distribution"), ("saliency", "saliency"))
            if of in settings.tied
        }

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        image, radar = see(_failing(batch, settings, rng))
        depth, saliency, own, mutable = trained(
            params, mutable, name, net, image, radar, explain="saliency" in settings.tied
        )
        truth = batch[f"{eye}/depth"]
        mask = (truth > settings.min_depth) & (truth < settings.max_depth)
        mask &= (jnp.arange(truth.shape[1]) % settings.label_lines == settings.label_lines // 2)[
            :, None, None
        ]
        terms = {"depth": depth_losses.absolute(depth, truth, mask)}
        if settings.smooth_weight:
            terms["smooth"] = photometric.smoothness(depth, image)
        if own:
            returns = model.max_depth * radar[..., :1]
            terms["coarse"] = depth_losses.absolute(model.max_depth * own["coarse"], truth, mask)
            terms["confidence"] = explainable.radar_confidence(
                own["confidence"], returns, jnp.where(mask, truth, 0.0), patch=settings.confidence_patch
            )
        if "distribution" in settings.tied:
            nearest = 0.0 if settings.spacing == "linear" else NEAREST
            centres = explainable.bin_centres(settings.bins, nearest, model.max_depth, settings.spacing)
            terms["distribution"] = explainable.depth_distribution(
                depth, targets["depth"], centres, temperature=settings.temperature, spacing=settings.spacing
            )
        if "saliency" in settings.tied:
            terms["saliency"] = explainable.saliency_distance(saliency, targets["saliency"])
        return terms, mutable

    def predict(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        return {"depth": labelling.applied(variables, name, net, *see(batch))}

    def explain(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        inputs = see(batch)
        found = {"radar": inputs[1][..., 0]}
        if settings.tied:
            found["teacher's saliency"] = explained(variables, "teacher", master, *inputs)[1]
        found[f"{name}'s saliency"] = explained(variables, name, net, *inputs)[1]
        return found

    weights = {"depth": 1.0} | settings.tied
    weights |= {"smooth": settings.smooth_weight} if settings.smooth_weight else {}
    weights |= {"coarse": COARSE_WEIGHT, "confidence": 1.0} if net.config.network == "cafnet" else {}
    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    sees = frozenset({f"{eye}/image", f"{eye}/K", "radar/valid", *(f"radar/{c}" for c in settings.columns)})
    return System(
        needs=sees | {f"{eye}/depth"},
        wants=frozenset({"thermal/valid"} if eye == "thermal" else {"rgb_from_thermal"}),
        offsets=(0,),
        init=init,
        updates=(Update(name="all", trainable=(rf"{name}/.*",), loss=loss, weights=weights, tx=optimizer),),
        predict=predict,
        camera=eye,
        sees=sees,
        teacher=teacher if settings.tied else None,
        explain=explain,
        inherits=(r"teacher/.*",) if settings.tied else (),
        pretrained={
            **pretrained.of_mobilenet("student/encoder/image", model.encoder_weights),
            **pretrained.of_mobilenet("student/encoder/radar", model.encoder_weights),
            **pretrained.of_resnet("teacher/encoder/image", model.teacher_image_weights),
            **pretrained.of_resnet("teacher/encoder/stage1/radar", model.teacher_radar_weights),
            **pretrained.of_resnet("teacher/encoder/stage2", model.teacher_radar_weights),
        },
        scale="metric",
    )


def _check_weights(model: Model, settings: Settings) -> None:
    """What is not trained starts from no import: a student's teacher comes from its run."""
    owner = {
        "encoder_weights": "student",
        "teacher_image_weights": "teacher",
        "teacher_radar_weights": "teacher",
    }
    for name, trained in owner.items():
        if getattr(model, name) and settings.trains != trained:
            raise UserError(
                f"model.{name} are what the {trained} starts from; with system.trains={settings.trains} leave them out"
            )
    if (model.teacher_image_weights or model.teacher_radar_weights) and model.teacher_network != "cafnet":
        raise UserError(
            "model.teacher_image_weights and teacher_radar_weights are ResNets, which teacher_network=cafnet alone has"
        )


def explained(
    variables: dict[str, Any], name: str, net: RadarCameraNet, image: Array, radar: Array
) -> tuple[Float[Array, "b h w 1"], Float[Array, "b u v"]]:
    """(depth, saliency of its mean) by the running statistics, in one pass forward and half of one backward."""
    own = {collection: tree[name] for collection, tree in variables.items()}
    size = image.shape[1:3]
    front: Any = net.apply(own, image, radar, method="front")
    feature, maps, _ = front

    def back(x: Array) -> Array:
        depth: Array = net.apply(own, x, maps, size, method="back")  # type: ignore[assignment]
        return depth

    depth, pull = jax.vjp(back, feature)
    (gradient,) = pull(jnp.full_like(depth, 1 / (size[0] * size[1])))
    return depth, explainable.grad_cam(feature, gradient)


def trained(
    params: Params,
    mutable: Params,
    name: str,
    net: RadarCameraNet,
    image: Array,
    radar: Array,
    *,
    explain: bool,
) -> tuple[Array, Array, dict[str, Array], Params]:
    """(depth, saliency of its mean or nothing, what radar alone says, mutable) of a network in training."""
    stats = mutable["batch_stats"]

    def applied(statistics: Any, method: str, *inputs: Any) -> Any:
        return net.apply(
            {"params": params[name], "batch_stats": statistics}, *inputs, train=True, mutable=["batch_stats"],
            method=method,
        )  # fmt: skip

    (feature, maps, own), new = applied(stats[name], "front", image, radar)
    size = image.shape[1:3]

    def back(x: Array) -> Any:
        depth, after = applied({**stats[name], **new["batch_stats"]}, "back", x, maps, size)
        return depth, after["batch_stats"]

    saliency = jnp.zeros(())
    if explain:
        depth, pull, after = jax.vjp(back, feature, has_aux=True)
        (gradient,) = pull(jnp.full_like(depth, 1 / (size[0] * size[1])))
        saliency = explainable.grad_cam(feature, gradient)
    else:
        depth, after = back(feature)
    return depth, saliency, own, {**mutable, "batch_stats": {**stats, name: {**new["batch_stats"], **after}}}


def _image(batch: Batch, settings: Settings) -> Float[Array, "b h w c"]:
    """The image that the network sees, about zero and of unit spread."""
    image = single(batch[f"{settings.camera}/image"])
    if settings.camera == "rgb":
        return (image.astype(jnp.float32) / 255 - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)
    valid = batch.get("thermal/valid")
    unit = normalize.normalize(
        image[:, None], method=settings.normalization, valid=None if valid is None else valid[:, None]
    )
    return normalize.standardize(unit)[:, 0]


def _failing(batch: Batch, settings: Settings, rng: Array) -> Batch:
    """The batch with the radar of some images taken away and that of some others wrong (`data.radar_faults`)."""
    z = batch["radar/z"]
    which, where = jax.random.split(rng)
    fate = jax.random.uniform(which, (len(z), 1))
    dropped = fate < settings.radar_dropout
    wrong = (fate >= settings.radar_dropout) & (fate < settings.radar_dropout + settings.radar_wrong)
    nearest, farthest = radar_faults.RANGE
    drawn = jax.random.uniform(where, z.shape, minval=nearest, maxval=farthest)
    factor = jnp.where(wrong, drawn / jnp.maximum(z, 1e-3), 1.0)
    moved = radar_faults.along_rays(batch, factor)
    return {**batch, **moved, "radar/valid": batch["radar/valid"] & ~dropped}


def _radar(
    batch: Batch, settings: Settings, size: tuple[int, int], max_depth: float
) -> Float[Array, "b h w k"]:
    """The returns as a picture of `radar_values`, scaled; zero where there is none."""
    column = {name: batch[f"radar/{name}"] for name in settings.columns}
    where = jnp.stack([column["x"], column["y"], column["z"]], axis=-1)
    # Of a data set with a thermal camera the points are in that one's axes.
    if settings.camera == "rgb" and "rgb_from_thermal" in batch:
        where = se3.transform(batch["rgb_from_thermal"], where[:, None])[:, 0]
        column["z"] = where[..., 2]
    scales = {"z": max_depth, **SCALES}
    values = jnp.stack([column[name] / scales[name] for name in settings.radar_values], axis=-1)
    return points.rasterise(where, values, batch["radar/valid"], batch[f"{settings.camera}/K"], size)
