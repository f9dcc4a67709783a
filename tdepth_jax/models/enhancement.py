"""The thermal-enhancement module of CEKD: the image to a learned power, handed to every stage of the decoder."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models.botnet import torch_kernel
from tdepth_jax.models.resize import bilinear

GRID = (8, 10)  # what the pooling leaves of 480 x 640 pixels
HIGHEST = 16.0  # of the exponents; x**16 is black but for the hottest pixels
EXPONENTS = ("safe", "raw")


class ThermalEnhancement(nn.Module):
    """Images [b h w 1] in [0, 1] to the enhanced image at 1/2, 1/4, … 1/32 of the size (nearest, rounded down).

    The exponent of an image is delta + `coefficient`, delta being what a small network says of the image. As
    published ("raw") nothing keeps it positive, and 0 to a negative power is infinite; "safe" keeps it within
    [min(1, coefficient), 16], passing the gradient on so that it can come back.
    """

    norm: partial
    coefficient: float = 2.0
    exponent: str = "safe"

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 1"]) -> tuple[Float[Array, "b u v 1"], ...]:
        image = image.astype(jnp.float32)
        exponent = self._delta(image)[:, :, None, None] + self.coefficient
        if self.exponent == "safe":
            kept = jnp.clip(exponent, min(1.0, self.coefficient), HIGHEST)
            exponent = exponent + jax.lax.stop_gradient(kept - exponent)
            # No gradient of x**p exists at x = 0: there the power is 0 whatever p.
            enhanced = jnp.where(
                image > 0, jnp.exp(exponent * jnp.log(jnp.where(image > 0, image, 1.0))), 0.0
            )
        else:
            enhanced = image**exponent
        return tuple(enhanced[:, ::s, ::s] for s in (2, 4, 8, 16, 32))

    def _delta(self, image: Array) -> Float[Array, "b 1"]:
        conv = partial(nn.Conv, 1, (3, 3), 2, padding=1, kernel_init=torch_kernel)
        x = nn.max_pool(image, (4, 4), (4, 4))
        x = nn.relu(self.norm(name="bn1")(conv(name="conv1")(x)))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(self.norm(name="bn2")(conv(name="conv2")(x)))
        x = nn.max_pool(x, (2, 2), (2, 2), ((1, 1), (0, 0)))
        x = rearrange(bilinear(x, GRID, align_corners=False), "b h w c -> b (h w c)")
        x = nn.Dense(20, kernel_init=torch_kernel, name="fc1")(x)
        x = nn.relu(self.norm(name="bn3")(x))
        return nn.Dense(1, kernel_init=torch_kernel, name="fc2")(x)
