"""Thermal depth from labels: the plain supervised network that the other methods are measured against."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from einops import rearrange
from jax import Array
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.errors import UserError
from tdepth_jax.losses import depth as depth_losses
from tdepth_jax.models import depth as depth_models
from tdepth_jax.systems import optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update
from tdepth_jax.thermal import normalize


@dataclasses.dataclass(frozen=True)
class Model(depth_models.DepthConfig):
    backbone_weights: str | None = None  # folder written by import_weights; None = random


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str = "supervised"
    train_backbone: bool = True
    normalization: str = "frame"  # of counts to about [0, 1]: full_scale | frame
    scale_share: float = 0.85  # of SILog's forgiveness of scale: 0 = metric, 1 = depth up to scale
    min_depth: float = 1e-3  # metres; labels outside are not used
    max_depth: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.scale_share <= 1:
            raise UserError(f"system.scale_share={self.scale_share} must be between 0 and 1")


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    configs.check_choices("system", settings, normalization=("full_scale", "frame"))
    net = depth_models.DepthNet(model)
    height, width = config.data.image_size

    def init(rng: Array) -> dict[str, Any]:
        return {"params": {"depth": net.init(rng, jnp.zeros((1, height, width, 1)))["params"]}}

    def depth_of(params: Params, counts: Array, valid: Array | None) -> Array:
        """Depth [b h w 1] of counts [b h w 1]."""
        unit = normalize.normalize(
            counts[:, None],
            method=settings.normalization,
            valid=None if valid is None else valid[:, None],
        )
        depth: Array = net.apply({"params": params["depth"]}, normalize.standardize(unit)[:, 0])  # type: ignore[assignment]
        return depth

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        counts = rearrange(batch["thermal/image"], "b 1 h w c -> b h w c")
        truth = batch["thermal/depth"]
        mask = (truth > settings.min_depth) & (truth < settings.max_depth)
        depth = depth_of(params, counts, batch.get("thermal/valid"))
        return {"silog": depth_losses.silog(depth, truth, mask, share=settings.scale_share)}, mutable

    def predict(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        return {"depth": depth_of(variables["params"], batch["thermal/image"], batch.get("thermal/valid"))}

    trainable = (r"depth/(head|metric_bins)/.*", *([r"depth/vit/.*"] if settings.train_backbone else []))
    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    return System(
        needs=frozenset({"thermal/image", "thermal/depth"}),
        wants=frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=(Update(name="all", trainable=trainable, loss=loss, weights={"silog": 1.0}, tx=optimizer),),
        predict=predict,
        pretrained=pretrained.of_depth_net("depth", model.backbone_weights, output=model.output),
        scale="metric" if settings.scale_share < 1 else "relative",
    )
