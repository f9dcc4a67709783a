"""The teacher of CEKD (Feng et al., RA-L 2023): CENet labels RGB-thermal pairs and finds the edges between classes.

It is trained twice: without its edge detector, then, from those weights, with it. The thermal-only teacher that the
paper compares with is the same without RGB.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax.losses import segmentation as losses
from tdepth_jax.models.segmentation import SegConfig, SegNet
from tdepth_jax.systems import labelling, optimizers, pretrained
from tdepth_jax.systems.base import Batch, Params, System, Term, Update


@dataclasses.dataclass(frozen=True)
class Model(SegConfig):
    encoder_weights: str | None = None  # folder written by import_weights; None = random


@dataclasses.dataclass(frozen=True)
class Settings(labelling.Settings):
    name: str = "cekd_teacher"
    edge_weight: float = 1.0
    edge_width: str = "one"  # of the edges drawn from the masks, in pixels of the edge map: one | two


def make(config: ConfigDict) -> System:
    """The system that a config describes."""
    model, settings = Model(**config.model), Settings(**config.system)
    settings.check(configs.section(config, "data"))
    configs.check_choices("system", settings, edge_width=losses.WIDTHS)
    if settings.as_published:
        model = dataclasses.replace(model, relu_logits=True, enhancement_exponent="raw")
    net = SegNet(model, len(settings.classes))
    height, width = config.data.image_size

    def init(rng: Array) -> dict[str, Any]:
        rgb = (jnp.zeros((1, height, width, 3)),) if model.rgb else ()
        variables = net.init(rng, jnp.zeros((1, height, width, 1)), *rgb)
        return {collection: {"teacher": tree} for collection, tree in variables.items()}

    def loss(
        params: Params, mutable: Params, batch: Batch, targets: Any, rng: Array
    ) -> tuple[dict[str, Term], Params]:
        seen = labelling.images(batch, settings, rgb=model.rgb)
        found, mutable = labelling.updated(params, mutable, "teacher", net, *seen)
        terms = {"labels": losses.cross_entropy(found["logits"], batch["thermal/labels"])}
        if "edges" in found:
            size = found["edges"].shape[1:3]
            edges, known = losses.edge_labels(batch["thermal/labels"], size, width=settings.edge_width)
            terms["edges"] = losses.edge_loss(
                found["edges"], edges, known, as_published=settings.as_published
            )
        return terms, mutable

    def outputs(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        found: dict[str, Array] = labelling.applied(
            variables, "teacher", net, *labelling.images(batch, settings, rgb=model.rgb)
        )
        return found

    weights = {"labels": 1.0} | ({"edges": settings.edge_weight} if model.edge_inputs else {})
    optimizer = optimizers.make(configs.section(config, "optimizer"), steps=config.train.steps)
    sees = labelling.sees(settings, rgb=model.rgb)
    return System(
        needs=frozenset({"thermal/image", "thermal/labels"}) | sees,
        wants=frozenset({"thermal/valid"}),
        offsets=(0,),
        init=init,
        updates=(Update(name="all", trainable=(r"teacher/.*",), loss=loss, weights=weights, tx=optimizer),),
        predict=labelling.predict(outputs),
        sees=sees,
        classes=settings.classes,
        panels=labelling.panels(outputs, settings),
        pretrained=_pretrained(model),
    )


def _pretrained(model: Model) -> dict[str, pretrained.Pretrained]:
    encoders = ("teacher/thermal", "teacher/rgb") if model.rgb else ("teacher/thermal",)
    found: dict[str, pretrained.Pretrained] = {}
    for prefix in encoders:
        found |= pretrained.of_resnet(prefix, model.encoder_weights, attention=model.last == "attention")
    return found


def network(variables: dict[str, Any], net: SegNet, *seen: Array | None) -> dict[str, Array]:
    """What a frozen teacher says, by its running statistics; no gradient passes."""
    found: dict[str, Array] = jax.lax.stop_gradient(labelling.applied(variables, "teacher", net, *seen))
    return found
