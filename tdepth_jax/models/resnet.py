"""ResNets (He et al. 2015) in torchvision's layout: the encoders of pose, fusion and segmentation networks."""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models import convolution
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
        x = first(self.config, images, norm, self.dtype)
        maps = [x + fused[0] if fused else x]
        x = halved(maps[0])
        for number, count in enumerate(self.config.blocks, start=1):
            if number == 4 and self.config.attention:
                width = self.config.channels[-1]
                x = AttentionStage(self.config.attention, width, count, norm, self.dtype, name="layer4")(x)
            else:
                x = stage(self.config, number, x, norm, self.dtype)
            x = x + fused[number] if fused else x
            maps.append(x)
        return tuple(maps)


# The parts of a ResNet, for networks that join or dilate them: inside a compact module they make its submodules, under
# torchvision's names.


def first(config: ResNetConfig, images: Array, norm: partial, dtype: jnp.dtype) -> Array:
    """The map at stride 2."""
    x = _conv(config.width, 7, 2, dtype, "conv1")(images)
    return nn.relu(norm(name="bn1")(x))


def halved(x: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
    """Maxima of 3x3 pixels at every second pixel. Of equal ones XLA's own passes the gradient to the first, the CPU's
    form to all in equal parts: after a ReLU that is the same."""
    return jax.lax.platform_dependent(x, cpu=_halved_by_axes, default=_halved)


def _halved(x: Array) -> Array:
    # Padding with minus infinity is padding with nothing: every window has a real pixel.
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def _halved_by_axes(x: Array) -> Array:
    """Backwards a quarter of the time of windows' on a CPU, which XLA searches once more for each maximum's place."""
    for axis in (1, 2):
        n = x.shape[axis]
        around = [(0, 0)] * x.ndim
        around[axis] = (1, n % 2)
        padded = jnp.pad(x, around, constant_values=-jnp.inf)
        a, b, c = (jax.lax.slice_in_dim(padded, i, i + n + n % 2 - 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(a, b), c)
    return x


def stage(
    config: ResNetConfig, number: int, x: Array, norm: partial, dtype: jnp.dtype, *, dilation: int = 0
) -> Array:
    """Stage `number`, 1 to 4, of convolutions. With a `dilation` it keeps the size instead of halving it: blocks after
    the first look so many times as far, and the first always projects its input."""
    block = _Bottleneck if config.bottleneck else _Basic
    for i in range(config.blocks[number - 1]):
        own = partial(block, config.width * 2 ** (number - 1), 2 if number > 1 and not (i or dilation) else 1)
        own = partial(own, norm, dtype, dilation if dilation and i else 1, bool(dilation) and not i)
        x = own(name=f"layer{number}_{i}")(x)
    return x


class _Basic(nn.Module):
    width: int
    stride: int
    norm: partial
    dtype: jnp.dtype
    dilation: int = 1
    project: bool = False  # the shortcut, also where input and output have one shape

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = _conv(self.width, 3, self.stride, self.dtype, "conv1", self.dilation)(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.norm(name="bn2")(_conv(self.width, 3, 1, self.dtype, "conv2", self.dilation)(y))
        return nn.relu(y + _shortcut(x, y, self.stride, self.norm, self.dtype, self.project))


class _Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride, as torchvision has it), 1x1 to four times the width."""

    width: int
    stride: int
    norm: partial
    dtype: jnp.dtype
    dilation: int = 1
    project: bool = False  # the shortcut, also where input and output have one shape

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(self.norm(name="bn1")(_conv(self.width, 1, 1, self.dtype, "conv1")(x)))
        y = _conv(self.width, 3, self.stride, self.dtype, "conv2", self.dilation)(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.norm(name="bn3")(_conv(4 * self.width, 1, 1, self.dtype, "conv3")(y))
        return nn.relu(y + _shortcut(x, y, self.stride, self.norm, self.dtype, self.project))


def _shortcut(x: Array, y: Array, stride: int, norm: partial, dtype: jnp.dtype, project: bool) -> Array:
    """The input itself, or projected where its size or width changes."""
    if x.shape == y.shape and not project:
        return x
    return norm(name="downsample_bn")(_conv(y.shape[-1], 1, stride, dtype, "downsample_conv")(x))


def _conv(width: int, size: int, stride: int, dtype: jnp.dtype, name: str, dilation: int = 1) -> nn.Conv:
    return nn.Conv(
        width, (size, size), stride, padding=dilation * (size // 2), kernel_dilation=dilation, use_bias=False,
        dtype=dtype, name=name,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        conv_general_dilated=convolution.conv,
    )  # fmt: skip


def first_kernel(rgb: Float[Array, "h w 3 o"], channels: int) -> Float[Array, "h w c o"]:
    """A first kernel for other inputs, from an RGB one (Monodepth2). k stacked RGB images get k copies divided by k;
    k stacked one-channel images (`channels` no multiple of 3) get k copies of the channels' mean divided by k. Equal
    images then give what one image gave."""
    if channels % 3 == 0:
        return jnp.tile(rgb, (1, 1, channels // 3, 1)) * (3 / channels)
    return jnp.tile(rgb.mean(axis=2, keepdims=True), (1, 1, channels, 1)) / channels
