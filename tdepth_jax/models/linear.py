"""DINOv2's linear depth heads: a distribution over depth bins from the tokens themselves."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models.resize import bilinear
from tdepth_jax.models.vit import Tap


class LinearHead(nn.Module):
    """One or four taps to depth in metres at four times the token grid.

    Every patch token is joined by the class token of its tap; one linear map gives 256 bin weights; the depth is
    their expectation, with weights ReLU + 0.1 normalised to one (DINOv2, hub/depth/decode_heads.py: BNHead).
    """

    min_depth: float
    max_depth: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, taps: tuple[Tap, ...], grid: tuple[int, int]) -> Float[Array, "b u v 1"]:
        joined = [x for tokens, cls in taps for x in (tokens, jnp.broadcast_to(cls[:, None], tokens.shape))]
        x = rearrange(jnp.concatenate(joined, axis=-1), "b (h w) c -> b h w c", h=grid[0])
        # The linear map and the resize commute; mapping first works on a sixteenth of the pixels.
        x = nn.Dense(256, dtype=self.dtype, name="bins")(x).astype(jnp.float32)
        x = nn.relu(bilinear(x, (4 * grid[0], 4 * grid[1]), align_corners=False)) + 0.1
        centres = jnp.linspace(self.min_depth, self.max_depth, 256)
        return (x @ centres / x.sum(axis=-1))[..., None]
