"""What the methods that label pixels share: images as their networks see them, predictions, pictures for the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, UInt8

from tdepth_jax import config as configs
from tdepth_jax.config import Data
from tdepth_jax.data import classes
from tdepth_jax.errors import UserError
from tdepth_jax.geometry import camera, se3, warp
from tdepth_jax.systems.base import Batch, Params, single
from tdepth_jax.thermal import normalize

MFNET = (
    "unlabeled", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump",
)  # fmt: skip
FAR = 1e3  # metres; where depth is not known the two cameras are taken to see the same far point


@dataclasses.dataclass(frozen=True)
class Settings:
    """The part of a method's settings that says what is labelled and what is seen."""

    name: str = ""
    classes: tuple[str, ...] = MFNET  # by the data set's label names; "unlabeled" takes all others
    normalization: str = (
        "eight_bit"  # of counts to [0, 1]: eight_bit (MFNet's images) | full_scale | frame | fixed
    )
    limits: tuple[float, ...] = ()  # of "fixed": the counts that become 0 and 1
    # Whether RGB images lie on the thermal ones (none), or are brought there by the depth that the data has (depth):
    # a teacher may look at what the student will not have.
    alignment: str = "none"
    # As published, against what is right: edges pass two sigmoids on the way to their loss, no logit is negative, and
    # nothing bounds the exponent of the thermal enhancement.
    as_published: bool = False

    def check(self, data: Data) -> None:
        configs.check_choices(
            "system",
            self,
            normalization=("eight_bit", "full_scale", "frame", "fixed"),
            alignment=("none", "depth"),
        )
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise UserError(f"system.classes={self.classes} must be two or more different names")
        if self.normalization == "fixed" and (len(self.limits) != 2 or self.limits[0] >= self.limits[1]):
            raise UserError(f"system.limits={self.limits} must be two counts, the lower first")
        if self.alignment == "none" and data.scale_crop > 1:
            raise UserError(
                "data.scale_crop would crop RGB and thermal images apart; set --config.data.scale_crop=1"
            )


def sees(settings: Settings, *, rgb: bool) -> frozenset[str]:
    """The batch keys that `images` reads beside the thermal image."""
    if not rgb:
        return frozenset()
    aligned = {"thermal/K", "thermal/depth", "rgb/K", "rgb_from_thermal"}
    return frozenset({"rgb/image"} | (aligned if settings.alignment == "depth" else set()))


def images(
    batch: Batch, settings: Settings, *, rgb: bool
) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w 3"] | None]:
    """(thermal, RGB on the thermal pixels or None), in [0, 1], of a training or an evaluation batch."""
    counts = single(batch["thermal/image"])
    valid = batch.get("thermal/valid")
    thermal = normalize.normalize(
        counts[:, None],
        method=settings.normalization,
        valid=None if valid is None else valid[:, None],
        limits=settings.limits or None,  # type: ignore[arg-type]
    )[:, 0]
    if not rgb:
        return thermal, None
    colour = single(batch["rgb/image"]).astype(jnp.float32) / 255
    if settings.alignment == "depth":
        depth = nearest(batch["thermal/depth"], thermal.shape[1:3])
        depth = jnp.where(depth > 0, depth, FAR)
        points = se3.transform(batch["rgb_from_thermal"], camera.backproject(depth, batch["thermal/K"]))
        pixels, z = camera.project(points, batch["rgb/K"])
        colour, inside = warp.sample(colour, pixels, padding="zeros")
        colour = jnp.where(inside & (z > camera.MIN_DEPTH), colour, 0.0)
    elif colour.shape[1:3] != thermal.shape[1:3]:
        raise UserError(f"RGB images are {colour.shape[1:3]} and thermal ones {thermal.shape[1:3]}")
    return thermal, colour


def nearest(x: Array, size: tuple[int, ...]) -> Array:
    """[b h w …] at another size, values taken from the pixel that holds the new one's centre."""
    rows, columns = (
        ((jnp.arange(n) + 0.5) * (m / n)).astype(int) for n, m in zip(size, x.shape[1:3], strict=True)
    )
    return x[:, rows[:, None], columns]


def predict(
    outputs: Callable[[dict[str, Any], Batch], dict[str, Array]],
) -> Callable[[dict[str, Any], Batch], dict[str, Array]]:
    """A System's `predict` from (variables, batch) -> what the network says."""

    def labelled(variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        found = outputs(variables, batch)
        said = {"labels": jnp.argmax(found["logits"], axis=-1)}
        if "edges" in found:
            said["edges"] = jnp.clip(1 / (1 + jnp.exp(-found["edges"])), 0.0, 1.0)
        return said

    return labelled


def panels(
    outputs: Callable[[dict[str, Any], Batch], dict[str, Array]], settings: Settings
) -> Callable[[dict[str, Any], Batch], dict[str, Array]]:
    """Pictures for the log: thermal, predicted and, where they are there, true labels side by side."""
    palette = classes.colours(settings.classes)

    def pictures(variables: dict[str, Any], batch: Batch) -> dict[str, UInt8[Array, "n h w 3"]]:
        some = {k: v[:1] for k, v in batch.items()}
        thermal, _ = images(some, settings, rgb=False)
        shown = [jnp.repeat((thermal * 255).astype(jnp.uint8), 3, axis=-1)]
        shown.append(_painted(jnp.argmax(outputs(variables, some)["logits"], axis=-1), palette))
        if "thermal/labels" in some:
            shown.append(_painted(some["thermal/labels"], palette))
        return {"thermal_predicted_true": jnp.concatenate(shown, axis=2)}

    return pictures


def _painted(labels: Int[Array, "b h w"], palette: Any) -> UInt8[Array, "b h w 3"]:
    known = labels[..., None] < len(palette)
    return jnp.where(known, jnp.asarray(palette)[jnp.minimum(labels, len(palette) - 1)], jnp.uint8(255))


def updated(
    params: Params, mutable: Params, name: str, net: Any, *inputs: Any, rng: Array | None = None
) -> tuple[Any, Params]:
    """(outputs, mutable) of a network in training, whose batch statistics move; `rng` is for its dropout."""
    stats = mutable["batch_stats"]
    found, new = net.apply(
        {"params": params[name], "batch_stats": stats[name]},
        *inputs,
        train=True,
        mutable=["batch_stats"],
        rngs=None if rng is None else {"dropout": rng},
    )
    return found, {**mutable, "batch_stats": {**stats, name: new["batch_stats"]}}


def applied(variables: dict[str, Any], name: str, net: Any, *inputs: Any) -> Any:
    """Outputs of a network by its running statistics."""
    own = {collection: tree[name] for collection, tree in variables.items() if name in tree}
    return net.apply(own, *inputs)
