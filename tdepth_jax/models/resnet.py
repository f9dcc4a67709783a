"""ResNets (He et al. 2015) in torchvision's layout: the encoders of pose, fusion and segmentation networks."""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.botnet import AttentionConfig, AttentionStage


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    width: int = 64  # channels of the first stage
    attention: AttentionConfig | None = None  # the last stage attends, as BoTNet's, instead of convolving

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the five maps."""
        return self.width, *(self.width * 2**stage * (4 if self.bottleneck else 1) for stage in range(4))


VARIANTS = {
    "resnet18": ResNetConfig((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetConfig((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetConfig((3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetConfig((3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNetConfig((3, 8, 36, 3), bottleneck=True),
}


class ResNet(nn.Module):
    """Images [b h w c], any size and number of channels, to five maps at strides 2, 4, 8, 16 and 32.

    `train` normalises by the batch and updates "batch_stats" (torchvision's momentum: 0.1 of the new value);
    otherwise the stored statistics are used. `fused` are the five maps of another encoder: each is added to this
    one's as soon as it exists, so that later stages see the sum (RTFNet), and the sums are returned.
    """

    config: ResNetConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"],
        *,
        train: bool = False,
        fused: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:
        norm = partial(nn.BatchNorm, not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        x = _conv(self.config.width, 7, 2, self.dtype, "conv1")(images)
        x = nn.relu(norm(name="bn1")(x))
        maps = [x + fused[0] if fused else x]
        # Padding with minus infinity is padding with nothing: every window has a real pixel.
        x = nn.max_pool(maps[0], (3, 3), (2, 2), ((1, 1), (1, 1)))
        block = _Bottleneck if self.config.bottleneck else _Basic
        for stage, count in enumerate(self.config.blocks):
            if stage == 3 and self.config.attention:
                width = self.config.channels[-1]
                x = AttentionStage(self.config.attention, width, count, norm, self.dtype, name="layer4")(x)
            else:
                for i in range(count):
                    stride = 2 if stage and not i else 1
                    name = f"layer{stage + 1}_{i}"
                    x = block(self.config.width * 2**stage, stride, norm, self.dtype, name=name)(x)
            x = x + fused[stage + 1] if fused else x
            maps.append(x)
        return tuple(maps)


class _Basic(nn.Module):
    width: int
    stride: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = _conv(self.width, 3, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.norm(name="bn2")(_conv(self.width, 3, 1, self.dtype, "conv2")(y))
        return nn.relu(y + _shortcut(x, y, self.stride, self.norm, self.dtype))


class _Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride, as torchvision has it), 1x1 to four times the width."""

    width: int
    stride: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(self.norm(name="bn1")(_conv(self.width, 1, 1, self.dtype, "conv1")(x)))
        y = nn.relu(self.norm(name="bn2")(_conv(self.width, 3, self.stride, self.dtype, "conv2")(y)))
        y = self.norm(name="bn3")(_conv(4 * self.width, 1, 1, self.dtype, "conv3")(y))
        return nn.relu(y + _shortcut(x, y, self.stride, self.norm, self.dtype))


def _shortcut(x: Array, y: Array, stride: int, norm: partial, dtype: jnp.dtype) -> Array:
    """The input itself, or projected where its size or width changes."""
    if x.shape == y.shape:
        return x
    return norm(name="downsample_bn")(_conv(y.shape[-1], 1, stride, dtype, "downsample_conv")(x))


def _conv(width: int, size: int, stride: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    return nn.Conv(
        width, (size, size), stride, padding=size // 2, use_bias=False, dtype=dtype, name=name,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    )  # fmt: skip


def first_kernel(rgb: Float[Array, "7 7 3 o"], channels: int) -> Float[Array, "7 7 c o"]:
    """A first kernel for other inputs, from an RGB one (Monodepth2). k stacked RGB images get k copies divided by k;
    k stacked one-channel images (`channels` no multiple of 3) get k copies of the channels' mean divided by k. Equal
    images then give what one image gave."""
    if channels % 3 == 0:
        return jnp.tile(rgb, (1, 1, channels // 3, 1)) * (3 / channels)
    return jnp.tile(rgb.mean(axis=2, keepdims=True), (1, 1, channels, 1)) / channels
