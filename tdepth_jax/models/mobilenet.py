"""MobileNetV2 (Sandler et al., CVPR 2018) in torchvision's layout: the light encoder of images and of radar."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Expansion, channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST = 1280
TAPS = (0, 1, 2, 3)  # the stages whose outputs are the maps at strides 2 to 16; the last map is LAST's, at 32


def channels(width: float) -> tuple[int, ...]:
    """Of the five maps."""
    return (*(scaled(STAGES[i][1], width) for i in TAPS), scaled(LAST, width))


def scaled(count: int, width: float) -> int:
    """A number of channels under a width multiplier: a multiple of 8, and of small numbers at least 8."""
    return count if width == 1 else max(8, round(count * width / 8) * 8)


class MobileNetV2(nn.Module):
    """Images [b h w c] to five maps at strides 2, 4, 8, 16 and 32 with `channels(width)` channels.

    The maps at 1/2 to 1/16 are read after the stages of 16, 24, 32 and 64 channels (LiRCDepth's taps; the stage of 96
    at 1/16 is passed through), the last after the final 1x1 convolution. `norm` makes a batch normalisation.
    """

    norm: partial
    width: float = 1.0
    blocks: int = 4  # of a stage at most; 4 is all of them
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> tuple[Array, ...]:
        unit = partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        x = unit(scaled(32, self.width), 3, stride=2, name="stem")(images)
        maps = []
        for stage, (expansion, count, blocks, first) in enumerate(STAGES):
            for i in range(min(blocks, self.blocks)):
                x = InvertedResidual(
                    scaled(count, self.width), self.norm, expansion, first if i == 0 else 1, self.dtype,
                    name=f"stage{stage}_{i}",
                )(x)  # fmt: skip
            if stage in TAPS:
                maps.append(x)
        return (*maps, unit(scaled(LAST, self.width), 1, name="last")(x))


class InvertedResidual(nn.Module):
    """1x1 up to `expansion` times the channels, depthwise 3x3, 1x1 down; added to the input where the shapes agree."""

    width: int
    norm: partial
    expansion: int = 6
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b u v d"]:
        unit = partial(ConvNorm, norm=self.norm, dtype=self.dtype)
        y = x
        if self.expansion != 1:
            y = unit(self.expansion * x.shape[-1], 1, name="expand")(y)
        y = Depthwise(self.stride, dtype=self.dtype, name="depthwise")(y)
        y = nn.relu6(self.norm(name="depthwise_bn")(y))
        y = unit(self.width, 1, active=False, name="project")(y)
        return x + y if x.shape == y.shape else y


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, ReLU6."""

    width: int
    size: int
    norm: partial
    stride: int = 1
    active: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b u v d"]:
        x = nn.Conv(
            self.width, (self.size, self.size), self.stride, padding=self.size // 2, use_bias=False, dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"), name="conv",
        )(x)  # fmt: skip
        x = self.norm(name="bn")(x)
        return nn.relu6(x) if self.active else x


class Depthwise(nn.Module):
    """3x3 convolution of every channel by itself, padded to keep the size (divided by `stride`)."""

    stride: int = 1
    dilation: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
        # PyTorch's fan-out of a grouped convolution: nine taps.
        kernel = self.param("kernel", nn.initializers.normal((2 / 9) ** 0.5), (3, 3, 1, x.shape[-1]))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        if jax.default_backend() == "cpu":
            return shifted(x, kernel, stride=self.stride, dilation=self.dilation)
        return jax.lax.conv_general_dilated(
            x, kernel, (self.stride, self.stride), [(self.dilation, self.dilation)] * 2,
            rhs_dilation=(self.dilation, self.dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )  # fmt: skip


def shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 1 c"], *, stride: int, dilation: int
) -> Float[Array, "b u v c"]:
    """The depthwise convolution as a sum of nine shifted images, which fuses where grouped convolutions are slow."""
    h, w = x.shape[1:3]
    d = dilation
    padded = jnp.pad(x, ((0, 0), (d, d), (d, d), (0, 0)))
    taps = [
        padded[:, i * d : i * d + h : stride, j * d : j * d + w : stride] * kernel[i, j, 0]
        for i in range(3)
        for j in range(3)
    ]
    return sum(taps[1:], taps[0])
