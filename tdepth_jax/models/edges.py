"""The edge-detection module of CEKD: dilated convolutions and spatial attention from PiDiNet (Su et al. 2021)."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.botnet import torch_kernel

DILATIONS = (5, 7, 9, 11)


class EdgeDetector(nn.Module):
    """Features [b h w c] to edge logits [b h w 1] at their own size.

    A sigmoid makes them the edge map; the loss wants the logits (the public code puts a sigmoid on both sides).
    """

    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
        width = x.shape[-1]
        conv = partial(nn.Conv, dtype=self.dtype, kernel_init=torch_kernel)
        x = nn.relu(self.norm(name="bn")(conv(width, (1, 1), name="conv")(x)))
        # Compact dilation convolution module.
        x = conv(width, (1, 1), name="dilated_in")(x)
        wide = (
            conv(width, (3, 3), padding=d, kernel_dilation=d, use_bias=False, name=f"dilated_{d}")(x)
            for d in DILATIONS
        )
        x = sum(wide, jnp.zeros((), x.dtype))
        # Compact spatial attention module.
        gate = conv(4, (1, 1), name="gate_in")(nn.relu(x))
        gate = conv(1, (3, 3), padding=1, use_bias=False, name="gate")(gate)
        x = x * jax.nn.sigmoid(gate)
        return conv(1, (1, 1), name="edge")(x)
