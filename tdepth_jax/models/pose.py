"""Pose networks: two frames to the motion between them."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.resnet import VARIANTS, ResNet

KERNELS = (7, 5, 3)  # of the first convolutions; 3 from there on


class PoseNet(nn.Module):
    """Stride-2 convolutions on the pair, then the mean of six maps (Monodepth2's light pose CNN).

    Standardised images [b h w c] of a target and a source to (tx, ty, tz, rx, ry, rz) of the motion
    source_from_target, scaled by `scale`, so that training starts near the identity.

    `view` is what the first convolution sees: "pair", the two images; or "gradients", their mean, its spatial
    gradient, their difference, and the products of these, the terms of the brightness-constancy equations
    (Lucas and Kanade 1981): small motions are nearly linear in them, so that a short training finds them.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 256, 256)
    scale: float = 0.01
    view: str = "pair"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, target: Float[Array, "b h w c"], source: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b 6"]:
        x = (
            _gradients(target, source)
            if self.view == "gradients"
            else jnp.concatenate([target, source], axis=-1)
        )
        for i, width in enumerate(self.widths):
            k = KERNELS[min(i, len(KERNELS) - 1)]
            x = nn.Conv(width, (k, k), (2, 2), padding=k // 2, dtype=self.dtype, name=f"conv_{i}")(x)
            x = nn.relu(x)
        x = nn.Dense(6, dtype=self.dtype, name="pose")(x)
        return self.scale * x.astype(jnp.float32).mean(axis=(1, 2))


class PoseResNet(nn.Module):
    """A ResNet on the stacked pair, then Monodepth2's pose decoder: the pose network of SC-SfMLearner and Shin et al.

    Inputs and output as of `PoseNet`. `train` normalises by the batch and updates "batch_stats".
    """

    variant: str = "resnet18"
    scale: float = 0.01
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, target: Float[Array, "b h w c"], source: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b 6"]:
        pair = jnp.concatenate([target, source], axis=-1)
        x = ResNet(VARIANTS[self.variant], self.dtype, name="encoder")(pair, train=train)[-1]
        for name, size in (("squeeze", 1), ("conv_0", 3), ("conv_1", 3)):
            x = nn.relu(nn.Conv(256, (size, size), padding=size // 2, dtype=self.dtype, name=name)(x))
        x = nn.Dense(6, dtype=self.dtype, name="pose")(x)
        return self.scale * x.astype(jnp.float32).mean(axis=(1, 2))


def _gradients(target: Float[Array, "b h w c"], source: Float[Array, "b h w c"]) -> Float[Array, "b h w 9*c"]:
    mean, change = (target + source) / 2, source - target
    padded = jnp.pad(mean, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return jnp.concatenate(
        [mean, change, dx, dy, change * dx, change * dy, dx * dx, dy * dy, dx * dy], axis=-1
    )
