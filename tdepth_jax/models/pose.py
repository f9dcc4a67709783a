"""The pose network: two frames to the motion between them."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

KERNELS = (7, 5, 3)  # of the first convolutions; 3 from there on


class PoseNet(nn.Module):
    """Stride-2 convolutions on the concatenated pair, then the mean of six maps (Monodepth2's light pose CNN).

    Standardised images [b h w c] of a target and a source to (tx, ty, tz, rx, ry, rz) of the motion
    source_from_target, scaled by `scale`, so that training starts near the identity.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 256, 256)
    scale: float = 0.01
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, target: Float[Array, "b h w c"], source: Float[Array, "b h w c"]
    ) -> Float[Array, "b 6"]:
        x = jnp.concatenate([target, source], axis=-1)
        for i, width in enumerate(self.widths):
            k = KERNELS[min(i, len(KERNELS) - 1)]
            x = nn.Conv(width, (k, k), (2, 2), padding=k // 2, dtype=self.dtype, name=f"conv_{i}")(x)
            x = nn.relu(x)
        x = nn.Dense(6, dtype=self.dtype, name="pose")(x)
        return self.scale * x.astype(jnp.float32).mean(axis=(1, 2))
