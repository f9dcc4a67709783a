"""The DPT head (Ranftl et al. 2021) in the shapes in which DINOv2 and Depth Anything published it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models import convolution
from tdepth_jax.models.resize import bilinear
from tdepth_jax.models.vit import Tap


@dataclasses.dataclass(frozen=True)
class DPTConfig:
    """Sizes of a head, and the two published ways to build it.

    Attributes:
      channels: widths of the four taps after reassembly, shallow to deep.
      features: width of the fusion path.
      style: "depth_anything" ignores the class token and resizes every fused map to the next level's size.
        "dinov2" joins the class token to every patch token, doubles every fused map and brings the next level
        to it, has no biases in its residual units and one more convolution before the last ones.
      stride: how much coarser than the output the last convolutions of "depth_anything" run; 1 as published.
    """

    channels: tuple[int, ...]
    features: int
    style: str = "depth_anything"
    stride: int = 1


class Decoded(NamedTuple):
    """What the head made of the taps, each map at its own resolution.

    Attributes:
      raw: [b u v 1] the output before any activation, float32. Its natural size is `out` / stride for
        "depth_anything", 16 times the token grid (more for odd grids) for "dinov2".
      last: [b u v 32] the last activation, from which the 1x1 output convolution makes `raw`.
      bottleneck: [b . . features] the deepest tap as it enters the fusion path.
      paths: four [b . . features], the fusion path after each level, deep to shallow.
    """

    raw: Array
    last: Array
    bottleneck: Array
    paths: tuple[Array, ...]


class DPT(nn.Module):
    """Four taps of an h x w token grid, shallow to deep, to one channel and the maps on the way to it.

    The caller applies the activation, then resizes: that is the published order.
    """

    config: DPTConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, taps: tuple[Tap, ...], grid: tuple[int, int], out: tuple[int, ...]) -> Decoded:
        cfg = self.config
        doubles = cfg.style == "dinov2"
        levels = [
            _Reassemble(cfg, channels, scale, self.dtype, name=f"reassemble_{i}")(tap, grid)
            for i, (tap, channels, scale) in enumerate(zip(taps, cfg.channels, (4, 2, 1, 0.5), strict=True))
        ]
        last = tuple(-(-n // cfg.stride) for n in out)
        x = None
        paths = []
        for i in reversed(range(4)):
            here = levels[i] if x is None else x
            size = tuple(2 * n for n in here.shape[1:3])
            if not doubles:
                size = levels[i - 1].shape[1:3] if i else tuple(map(min, size, last))
            x = _Fuse(cfg, self.dtype, name=f"fuse_{i}")(x, levels[i], size)
            paths.append(x)
        if doubles:
            x = nn.relu(_conv(cfg.features, self.dtype, "project")(x))
        x = _conv(cfg.features // 2, self.dtype, "out_1")(x)
        x = bilinear(x, (2 * x.shape[1], 2 * x.shape[2]) if doubles else last)
        x = nn.relu(_conv(32, self.dtype, "out_2")(x))
        raw = nn.Dense(1, dtype=self.dtype, name="out_3")(x).astype(jnp.float32)
        return Decoded(raw, x, levels[3], tuple(paths))


class _Reassemble(nn.Module):
    """Tokens to an image of `features` channels at `scale` times the token grid."""

    config: DPTConfig
    channels: int
    scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tap: Tap, grid: tuple[int, int]) -> Array:
        tokens, cls = tap
        if self.config.style == "dinov2":
            joined = jnp.concatenate([tokens, jnp.broadcast_to(cls[:, None], tokens.shape)], axis=-1)
            tokens = nn.Dense(tokens.shape[-1], dtype=self.dtype, name="readout")(joined)
            tokens = nn.gelu(tokens, approximate=False)
        x = rearrange(tokens, "b (h w) c -> b h w c", h=grid[0])
        x = nn.Dense(self.channels, dtype=self.dtype, name="project")(x)
        if self.scale > 1:
            k = int(self.scale)
            x = Upscale(self.channels, k, self.dtype, name="resize")(x)
        elif self.scale < 1:
            x = _conv(self.channels, self.dtype, "resize", stride=2)(x)
        return _conv(self.config.features, self.dtype, "to_features", bias=False)(x)


class Upscale(nn.Module):
    """A transposed convolution whose stride is its size: a matrix product and a shuffle.

    The kernel is [c k l o]: output pixel (i k + p, j l + q) is the input pixel (i, j) times kernel[:, p, q].
    """

    channels: int
    factor: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b kh kw o"]:
        k = self.factor
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], k, k, self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        x = x.astype(self.dtype) @ kernel.astype(self.dtype).reshape(x.shape[-1], -1)
        x = rearrange(x, "b h w (k l c) -> b (h k) (w l) c", k=k, l=k)
        return x + bias.astype(self.dtype)


class _Fuse(nn.Module):
    """The coarser path (None at the coarsest level) plus this level, refined and brought to `size`."""

    config: DPTConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array | None, level: Array, size: tuple[int, ...]) -> Array:
        if x is None:
            x = level
        else:
            level = bilinear(level, x.shape[1:3], align_corners=False)
            x = x + _Residual(self.config, self.dtype, name="skip")(level)
        x = _Residual(self.config, self.dtype, name="refine")(x)
        # A 1x1 convolution and a resize commute; convolving first works on a quarter of the pixels.
        return bilinear(nn.Dense(self.config.features, dtype=self.dtype, name="project")(x), size)


class _Residual(nn.Module):
    config: DPTConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        bias = self.config.style != "dinov2"
        y = _conv(self.config.features, self.dtype, "conv_1", bias=bias)(nn.relu(x))
        return x + _conv(self.config.features, self.dtype, "conv_2", bias=bias)(nn.relu(y))


def _conv(width: int, dtype: jnp.dtype, name: str, *, stride: int = 1, bias: bool = True) -> nn.Conv:
    """A 3x3 convolution with one pixel of zeros around."""
    return nn.Conv(
        width, (3, 3), stride, padding=1, use_bias=bias, dtype=dtype, name=name,
        conv_general_dilated=convolution.conv,
    )  # fmt: skip
