"""Small trainable parts beside a frozen backbone: low-rank updates and a convolution at the end of each block."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.errors import UserError
from tdepth_jax.models import convolution

PROJECTIONS = ("q", "k", "v", "proj", "fc1", "fc2", "w12", "w3")


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What is put beside the backbone's own parameters, which keep their paths and values.

    Attributes:
      lora_rank: rank of the updates a b of the named kernels; 0 = none. Fan et al. use 4, on q and v.
      lora_on: the projections updated, of q, k, v, proj, fc1, fc2 (w12, w3 in ViT-g).
      lora_scale: factor of the update.
      conv_width: channels between the two 3x3 convolutions at the end of each block; 0 = none. Fan et al.: 4.
    """

    lora_rank: int = 0
    lora_on: tuple[str, ...] = ("q", "v")
    lora_scale: float = 1.0
    conv_width: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.lora_on if name not in PROJECTIONS]
        if unknown:
            raise UserError(f"model.lora_on names {unknown[0]!r}; known are {', '.join(PROJECTIONS)}")


class LoRA(nn.Module):
    """scale * x a b: a low-rank update of a kernel (Hu et al. 2021); zero at initialisation because b is."""

    out: int
    rank: int
    scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n o"]:
        a = self.param("a", nn.initializers.he_uniform(), (x.shape[-1], self.rank))
        b = self.param("b", nn.initializers.zeros, (self.rank, self.out))
        return (x @ a.astype(self.dtype)) @ b.astype(self.dtype) * self.scale


class ConvAdapter(nn.Module):
    """x + conv(gelu(conv(x))) on the image of patch tokens, 3x3 with `width` channels between (Fan et al.).

    The tokens before the patches (class, registers) pass unchanged. The identity at initialisation, because the
    last convolution is zero.
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], grid: tuple[int, int]) -> Float[Array, "b n c"]:
        first = x.shape[1] - grid[0] * grid[1]
        y = rearrange(x[:, first:], "b (h w) c -> b h w c", h=grid[0]).astype(self.dtype)
        conv = partial(
            nn.Conv, kernel_size=(3, 3), padding=1, dtype=self.dtype, conv_general_dilated=convolution.narrow
        )
        y = conv(self.width, name="down")(y)
        up = conv(x.shape[-1], kernel_init=nn.initializers.zeros, name="up")
        y = rearrange(up(nn.gelu(y, approximate=False)), "b h w c -> b (h w) c")
        return x.at[:, first:].add(y.astype(x.dtype))


def merge_lora(vit: Mapping[str, Any], scale: float = 1.0) -> dict[str, Any]:
    """The backbone's parameters with every low-rank update folded into its kernel, and none left beside it."""
    blocks = {path: value for path, value in vit["blocks"].items() if not path.startswith("lora_")}
    for name in PROJECTIONS:
        update = vit["blocks"].get(f"lora_{name}")
        if update is None:
            continue
        delta = scale * jnp.einsum("lcr,lro->lco", update["a"], update["b"], precision="highest")
        whole = "qkv" if name in ("q", "k", "v") else name
        kernel = blocks[whole]["kernel"]
        if whole == "qkv":
            dim = delta.shape[-1]
            start = "qkv".index(name) * dim
            kernel = kernel.at[:, :, start : start + dim].add(delta)
        else:
            kernel = kernel + delta
        blocks[whole] = {**blocks[whole], "kernel": kernel}
    return {**vit, "blocks": blocks}
