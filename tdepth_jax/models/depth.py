"""A depth network: ViT backbone, DPT head, and what the head's output means."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.config import nearest
from tdepth_jax.errors import UserError
from tdepth_jax.models.dpt import DPT
from tdepth_jax.models.vit import VARIANTS, ViT, ViTConfig

# DPT widths of Depth Anything V2 per backbone: reassembled channels, fusion features, tapped blocks.
HEADS = {
    "vits": ((48, 96, 192, 384), 64, (2, 5, 8, 11)),
    "vitb": ((96, 192, 384, 768), 128, (2, 5, 8, 11)),
    "vitl": ((256, 512, 1024, 1024), 256, (4, 11, 17, 23)),
    "vitg": ((1536, 1536, 1536, 1536), 384, (9, 19, 29, 39)),
}


@dataclasses.dataclass(frozen=True)
class DepthConfig:
    """Sizes and range. `backbone="custom"` takes the vit_* and dpt_* sizes given; a variant brings its own."""

    backbone: str = "vitb"  # vits | vitb | vitl | vitg | custom
    vit_dim: int = 192
    vit_depth: int = 6
    vit_heads: int = 3
    vit_patch: int = 14
    vit_pos_grid: int = 37
    dpt_channels: tuple[int, ...] = (48, 96, 192, 384)
    dpt_features: int = 64
    dpt_stride: int = 1
    min_depth: float = 0.1  # metres, up to the unknown scale
    max_depth: float = 100.0
    dtype: str = "auto"  # of the networks' products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)
    remat: bool = False

    @property
    def compute_dtype(self) -> jnp.dtype:
        """The one place that chooses a precision."""
        if self.dtype not in ("auto", "float32", "bfloat16"):
            hint = nearest(self.dtype, ("auto", "float32", "bfloat16"))
            raise UserError(f"model.dtype={self.dtype!r} is not known; {hint}")
        name = self.dtype
        if name == "auto":
            name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        return jnp.dtype(name)

    @property
    def vit(self) -> ViTConfig:
        if self.backbone in VARIANTS:
            return VARIANTS[self.backbone]
        if self.backbone != "custom":
            raise UserError(f"model.backbone={self.backbone!r} is not known; {nearest(self.backbone, [*VARIANTS, 'custom'])}")
        if self.vit_dim % self.vit_heads:
            raise UserError(f"model.vit_dim={self.vit_dim} must be a multiple of model.vit_heads={self.vit_heads}")
        return ViTConfig(
            self.vit_dim, self.vit_depth, self.vit_heads, self.vit_patch, pos_grid=self.vit_pos_grid
        )

    @property
    def head(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """(channels, features, taps); a custom backbone is tapped at its four quarters."""
        if self.backbone in HEADS:
            return HEADS[self.backbone]
        if len(self.dpt_channels) != 4 or self.vit_depth < 4:
            raise UserError("a DPT head needs four model.dpt_channels and model.vit_depth of at least 4")
        taps = tuple(self.vit_depth * (i + 1) // 4 - 1 for i in range(4))
        return self.dpt_channels, self.dpt_features, taps


class DepthNet(nn.Module):
    """Standardised images [b h w 1|3], any size, to z-depth [b h w 1] in (min_depth, max_depth).

    Depth is 1 / (a sigmoid + b) with a and b from the range: 1 / (10 sigmoid + 0.01) for the default, as in the
    self-supervised lineage. One channel is repeated to three. An image that is no multiple of the patch is
    padded with zeros, centred as DINOv2's CenterPadding does, and the depth cropped back.
    """

    config: DepthConfig

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
        vit, (channels, features, taps) = self.config.vit, self.config.head
        dtype = self.config.compute_dtype
        h, w = images.shape[1:3]
        (top, bottom), (left, right) = (_padding(n, vit.patch) for n in (h, w))
        x = jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        size = x.shape[1:3]
        grid = (size[0] // vit.patch, size[1] // vit.patch)
        tokens = ViT(vit, taps, dtype=dtype, remat=self.config.remat, name="vit")(x)
        head = DPT(channels, features, self.config.dpt_stride, dtype, name="head")
        raw = head(tokens, grid, size)[:, top : top + h, left : left + w]
        low, high = 1 / self.config.max_depth, 1 / self.config.min_depth
        return 1.0 / (low + (high - low) * nn.sigmoid(raw))


def _padding(length: int, patch: int) -> tuple[int, int]:
    """Zeros before and after, the odd one after."""
    missing = -length % patch
    return missing // 2, missing - missing // 2
