"""The large radar-camera network: a teacher of CaFNet's kind and size (Sun et al., IROS 2024, arXiv 2407.00697).

As published: a ResNet-34 for images; radar in two stages, first through sparse convolutions (7, 5, 3, 3) and a
ResNet-18 to a coarse depth and a confidence, then the depth that is trusted (confidence above 0.4) with the raw picture
through another ResNet-18; at all five scales radar is gated in, weighed by the confidence; BTS's decoder with a DASPP
at 1/8.
Not as published: the decoder of the first stage, whose layers are not in our sources, and BTS's local planar guidance,
which is left out. The count stands beside the published 62.2 M in tests.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.daspp import DASPP
from tdepth_jax.models.radar_light import batch_norm, head
from tdepth_jax.models.resize import bilinear
from tdepth_jax.models.resnet import VARIANTS, ResNet, ResNetConfig

TRUSTED = 0.4  # confidence above which a coarse depth is used
SPARSE = ((7, 16), (5, 16), (3, 16), (3, 3))  # size and channels of the sparse convolutions


class LargeFront(nn.Module):
    """(image [b h w c], radar [b h w k], depth first, as a share of the range) to the feature at 1/8, what the other
    half needs, and radar's own findings.

    "coarse" Float[b h w 1], depth as a share of the range, and "confidence" Float[b h w 1], logits, are at full size.
    """

    config: Any
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: Array, radar: Array, *, train: bool) -> tuple[Array, Any, dict[str, Array]]:
        cfg = self.config
        norm = batch_norm(train, self.dtype)
        wide = max(2, round(64 * cfg.width))

        def encoder(variant: str, name: str, x: Array) -> tuple[Array, ...]:
            a, b, c, d = (min(count, cfg.blocks) for count in VARIANTS[variant].blocks)
            config = ResNetConfig((a, b, c, d), bottleneck=False, width=wide)
            return ResNet(config, self.dtype, name=name)(x, train=train)

        own = _Stage1(cfg, norm, self.dtype, wide, name="stage1")(radar, encoder)
        trusted = own["coarse"] * (jax.nn.sigmoid(own["confidence"]) > TRUSTED)
        second = nn.Conv(3, (3, 3), padding=1, dtype=self.dtype, name="stage2_in")(
            jnp.concatenate([jax.lax.stop_gradient(trusted), radar], axis=-1)
        )
        theirs = encoder("resnet18", "stage2", second)
        maps = list(encoder("resnet34", "image", image))
        confidence = jax.nn.sigmoid(own["confidence"])
        for i, (x, r) in enumerate(zip(maps, theirs, strict=True)):
            unit = partial(nn.Conv, x.shape[-1], (1, 1), dtype=self.dtype)
            gate = jax.nn.sigmoid(unit(name=f"gate_{i}")(r)) * nn.relu(unit(name=f"value_{i}")(r))
            maps[i] = x + gate * pooled(confidence, x.shape[1:3]).astype(self.dtype)
        features = 8 * wide
        up = partial(UpConv, norm=norm, dtype=self.dtype)
        x = up(features, name="up_3")(maps[4], maps[3])
        x = up(features // 2, name="up_2")(x, maps[2])
        daspp = DASPP(
            features // 4,
            features // 4,
            norm,
            pointwise=False,
            rates=cfg.rates,
            dtype=self.dtype,
            name="daspp",
        )
        return daspp(x), (maps[1], maps[0]), own


class _Stage1(nn.Module):
    """Radar by itself: a coarse depth and how far it can be trusted."""

    config: Any
    norm: partial
    dtype: jnp.dtype
    wide: int

    @nn.compact
    def __call__(self, radar: Array, encoder: Any) -> dict[str, Array]:
        x, seen = radar, (radar[..., :1] > 0).astype(radar.dtype)
        for i, (size, width) in enumerate(SPARSE):
            x, seen = SparseConv(width, size, self.dtype, name=f"sparse_{i}")(x, seen)
        maps = encoder("resnet18", "radar", x)
        x = maps[4]
        for i, width in ((3, 4), (2, 2), (1, 1), (0, 1)):
            x = UpConv(width * self.wide, self.norm, self.dtype, name=f"up_{i}")(x, maps[i])
        x = bilinear(x, radar.shape[1:3], align_corners=False).astype(jnp.float32)
        return {
            "coarse": jax.nn.sigmoid(nn.Conv(1, (3, 3), padding=1, name="coarse")(x)),
            "confidence": nn.Conv(1, (3, 3), padding=1, name="confidence")(x),
        }


class LargeBack(nn.Module):
    """The feature at 1/8 and the maps at 1/4 and 1/2 to logits of depth [b h w 1] at full size."""

    config: Any
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, feature: Array, maps: tuple[Array, ...], *, train: bool) -> Float[Array, "b h w 1"]:
        norm = batch_norm(train, self.dtype)
        wide = feature.shape[-1] // 2
        up = partial(UpConv, norm=norm, dtype=self.dtype)
        x = up(2 * wide, name="up_1")(feature, maps[0])
        x = up(wide, name="up_0")(x, maps[1])
        size = tuple(2 * n for n in x.shape[1:3])
        x = up(max(2, wide // 2), name="up_full")(bilinear(x, size, align_corners=False), None)
        return head(x)


class UpConv(nn.Module):
    """BTS's step: doubled, a 3x3 convolution, the skip beside it, another; ELU."""

    width: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, skip: Array | None) -> Array:
        conv = partial(nn.Conv, self.width, (3, 3), padding=1, use_bias=False, dtype=self.dtype)
        if skip is not None:
            x = bilinear(x, skip.shape[1:3], align_corners=False)
        x = self.norm(name="bn_1")(nn.elu(conv(name="conv_1")(x)))
        if skip is None:
            return x
        return nn.elu(conv(name="conv_2")(jnp.concatenate([x, skip], axis=-1)))


class SparseConv(nn.Module):
    """A convolution of what is there alone, divided by how much of its window is (Uhrig et al. 2017); then ELU."""

    width: int
    size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, seen: Float[Array, "b h w 1"]) -> tuple[Array, Array]:
        window = (self.size, self.size)
        conv = nn.Conv(
            self.width, window, padding=self.size // 2, use_bias=False, dtype=self.dtype, name="conv"
        )
        count = nn.avg_pool(seen, window, (1, 1), "SAME") * self.size**2
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        y = conv(x * seen) / jnp.maximum(count, 1.0) + bias
        return nn.elu(y), nn.max_pool(seen, window, (1, 1), "SAME")


def pooled(x: Float[Array, "b h w c"], size: tuple[int, ...]) -> Float[Array, "b u v c"]:
    """Means over equal windows; the size divides."""
    b, h, w, c = x.shape
    u, v = size
    return x.reshape(b, u, h // u, v, w // v, c).mean(axis=(2, 4))
