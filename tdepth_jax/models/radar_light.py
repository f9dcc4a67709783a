"""The light radar-camera networks: XD-RCDepth's student and, for comparison, one of LiRCDepth's size.

Each is two halves, so that the feature between them can be explained: `LightFront` makes it, `LightBack` makes depth of
it. Published of the student (Sun et al., arXiv 2510.13565, of which our sources are the abstract and summaries):
MobileNetV2 for images and for radar, five scales, FiLM at every scale with 1x1 convolutions and scale and shift of one
value a channel, a decoder with a point-wise DASPP, 8.89 M parameters or less. Chosen here, because it is not stated:

- the maps that are read (LiRCDepth's), and radar's 3x3 convolution to three channels before its encoder (LiRCDepth's);
- FiLM's pooling: radar's map is averaged over pixels first, then convolved; both convolutions start at zero, so that a
  fresh network is the camera's. `film="spatial"` leaves the pooling out;
- the decoder: what else would be 3x3 convolutions are depthwise-separable ones; DASPP at 1/8; the head at 1/2, and its
  logits brought to the full size bilinearly (a full-size head would cost as much as both encoders).

LiRCDepth's decoder (arXiv 2412.16380) is known by its widths and kinds of blocks, not layer by layer: "lirc" has its
encoders, additive fusion of projected maps and inverted residual blocks, and is of its size (a test gives the count
beside the published 12,645,228).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models import mobilenet
from tdepth_jax.models.daspp import DASPP
from tdepth_jax.models.mobilenet import ConvNorm, Depthwise, InvertedResidual, MobileNetV2
from tdepth_jax.models.resize import bilinear

IMAGE_WIDTHS, RADAR_WIDTHS = (64, 64, 128, 256, 512), (64, 128, 128, 512, 512)  # LiRCDepth's projections
DECODER = (512, 128, 128, 64, 32)  # and its decoder


class LightFront(nn.Module):
    """(image [b h w c], radar [b h w k]) to the feature at 1/8 and the fused maps at 1/4 and 1/2."""

    config: Any
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: Array, radar: Array, *, train: bool) -> tuple[Array, tuple[Array, ...]]:
        cfg = self.config
        norm = batch_norm(train, self.dtype)
        encoder = partial(MobileNetV2, norm, cfg.width, cfg.blocks, self.dtype)
        ours = encoder(name="image")(image)
        three = nn.Conv(3, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="radar_in")(radar)
        theirs = encoder(name="radar")(nn.relu(three))
        if cfg.network == "lirc":
            return self._added(ours, theirs, norm)
        film = [FiLM(cfg.film, self.dtype, name=f"film_{i}") for i in range(len(ours))]
        fused = [one(a, b) for one, a, b in zip(film, ours, theirs, strict=True)]
        wide = partial(mobilenet.scaled, width=cfg.width)
        x = ConvNorm(wide(128), 1, norm, dtype=self.dtype, name="bottom")(fused[4])
        for i, width in ((3, 96), (2, 64)):
            x = Separable(wide(width), norm, self.dtype, name=f"up_{i}")(beside(x, fused[i]))
        daspp = DASPP(
            wide(32), wide(64), norm, pointwise=True, rates=cfg.rates, dtype=self.dtype, name="daspp"
        )
        return daspp(x), (fused[1], fused[0])

    def _added(self, ours: tuple[Array, ...], theirs: tuple[Array, ...], norm: partial) -> Any:
        wide = partial(mobilenet.scaled, width=self.config.width)
        unit = partial(ConvNorm, size=1, norm=norm, dtype=self.dtype)
        fused = []
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            b = unit(wide(RADAR_WIDTHS[i]), name=f"radar_{i}")(b)
            b = unit(wide(IMAGE_WIDTHS[i]), name=f"join_{i}")(b)
            fused.append(unit(wide(IMAGE_WIDTHS[i]), name=f"image_{i}")(a) + b)
        x = fused[4]
        for i, width in ((3, DECODER[0]), (2, DECODER[1])):
            x = bilinear(x, fused[i].shape[1:3], align_corners=False)
            x = InvertedResidual(wide(width), norm, dtype=self.dtype, name=f"up_{i}")(x)
            x = x + unit(wide(width), name=f"skip_{i}")(fused[i])
        return InvertedResidual(wide(DECODER[2]), norm, dtype=self.dtype, name="feature")(x), (
            fused[1],
            fused[0],
        )


class LightBack(nn.Module):
    """The feature at 1/8 and the maps at 1/4 and 1/2 to logits of depth [b h w 1] at 1/2."""

    config: Any
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, feature: Array, maps: tuple[Array, ...], *, train: bool) -> Float[Array, "b u v 1"]:
        cfg = self.config
        norm = batch_norm(train, self.dtype)
        wide = partial(mobilenet.scaled, width=cfg.width)
        x = feature
        widths = (48, 32) if cfg.network == "xd" else DECODER[3:]
        for i, (width, skip) in enumerate(zip(widths, maps, strict=True)):
            block: Any = Separable if cfg.network == "xd" else InvertedResidual
            x = block(wide(width), norm, dtype=self.dtype, name=f"up_{1 - i}")(beside(x, skip))
        return head(x)


class FiLM(nn.Module):
    """Feature-wise linear modulation (Perez et al. 2018) of a camera's map by radar's: (1 + γ) x + β."""

    kind: str  # channel: γ and β are a value a channel | spatial: one a pixel and channel
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], radar: Float[Array, "b h w d"]) -> Float[Array, "b h w c"]:
        if self.kind == "channel":
            radar = radar.mean(axis=(1, 2), keepdims=True)
        still = partial(nn.Conv, x.shape[-1], (1, 1), dtype=self.dtype, kernel_init=nn.initializers.zeros)
        return (1 + still(name="scale")(radar)) * x + still(name="shift")(radar)


class Separable(nn.Module):
    """Depthwise 3x3, then 1x1 to `width`; each with batch normalisation and ReLU6."""

    width: int
    norm: partial
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        x = nn.relu6(self.norm(name="depthwise_bn")(Depthwise(dtype=self.dtype, name="depthwise")(x)))
        return ConvNorm(self.width, 1, self.norm, dtype=self.dtype, name="point")(x)


def beside(x: Array, skip: Array) -> Array:
    """`x` at the size of `skip`, and `skip`, as one map."""
    return jnp.concatenate([bilinear(x, skip.shape[1:3], align_corners=False), skip], axis=-1)


def head(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Logits of depth. The bias starts them at about an eighth of the range: 12 m of 100, where roads are."""
    low = nn.initializers.constant(-2.0)
    return nn.Conv(1, (3, 3), padding=1, bias_init=low, name="head")(x.astype(jnp.float32))


def batch_norm(train: bool, dtype: jnp.dtype) -> partial:
    return partial(nn.BatchNorm, not train, momentum=0.9, epsilon=1e-5, dtype=dtype)
