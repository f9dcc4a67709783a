"""The network of HeatNet (Vertens et al., IROS 2020): PSPNet (Zhao et al. 2017) on dilated ResNets, RGB and thermal
images joined half way."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.errors import UserError, nearest
from tdepth_jax.models import convolution
from tdepth_jax.models.botnet import torch_kernel
from tdepth_jax.models.resize import bilinear, pooled
from tdepth_jax.models.resnet import VARIANTS, ResNetConfig, first, halved, stage

STRIDE = 8  # of the deepest map
POOLS = (1, 2, 3, 6)  # cells along an axis
VIEWS = ("thermal", "rgb")


@dataclasses.dataclass(frozen=True)
class PspConfig:
    """Defaults: HeatNet's, "pspnet" with late fusion."""

    encoder: str = "resnet50"  # resnet18 | resnet34 | resnet50 | resnet101 | resnet152
    width: int = 64  # channels of the first encoder map, from which the encoder's others follow
    decoder: tuple[int, ...] = (1024, 256, 64, 64)  # channels: of the pyramid, then after each doubling
    pyramid_dropout: float = 0.3  # of whole channels
    decoder_dropout: float = 0.15
    dtype: str = "auto"  # of the network's products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)

    def __post_init__(self) -> None:
        for field, known in (("encoder", tuple(VARIANTS)), ("dtype", ("auto", "float32", "bfloat16"))):
            value = getattr(self, field)
            if value not in known:
                raise UserError(f"model.{field}={value!r} is not known; {nearest(value, known)}")
        if len(self.decoder) != 4 or min(self.decoder) < 1 or self.width < 1:
            raise UserError(
                f"model.decoder={self.decoder} must be four numbers of channels, each at least 1, as model.width"
            )
        if not (0 <= self.pyramid_dropout < 1 and 0 <= self.decoder_dropout < 1):
            raise UserError("model.pyramid_dropout and model.decoder_dropout must be at least 0 and below 1")

    @property
    def resnet(self) -> ResNetConfig:
        return dataclasses.replace(VARIANTS[self.encoder], width=self.width)

    @property
    def compute_dtype(self) -> jnp.dtype:
        if self.dtype == "auto":
            return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
        return jnp.dtype(self.dtype)


class PspNet(nn.Module):
    """Images in [0, 1] of any size, thermal [b h w 1], RGB [b h w 3] or both as `views` says, to logits
    [b h w classes], float32.

    Each view has two stages of its own; the maps are concatenated and the rest is shared. `train` normalises by the
    batch, updates "batch_stats" and draws from "dropout". Sizes that are no multiple of 8 are padded with mid grey
    below and to the right, which is cut off again.
    """

    config: PspConfig
    classes: int
    views: tuple[str, ...]

    @nn.compact
    def __call__(
        self,
        thermal: Float[Array, "b h w 1"] | None,
        rgb: Float[Array, "b h w 3"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w classes"]:
        cfg, dtype = self.config, self.config.compute_dtype
        norm = partial(nn.BatchNorm, not train, momentum=0.9, epsilon=1e-5, dtype=dtype)
        given = dict(zip(VIEWS, (thermal, rgb), strict=True))
        seen = []
        for view in self.views:
            if (image := given[view]) is None:
                raise UserError(
                    f"this network sees {' and '.join(self.views)} images, and no {view} was given"
                )
            size = image.shape[1:3]
            seen.append(_Entrance(cfg.resnet, norm, dtype, name=view)(_padded(2 * image - 1)))
        x = jnp.concatenate(seen, axis=-1)
        x = stage(cfg.resnet, 3, x, norm, dtype, dilation=2)
        x = stage(cfg.resnet, 4, x, norm, dtype, dilation=4)
        pyramid, *widths = cfg.decoder
        x = nn.relu(_conv(pyramid, 1, dtype, "pyramid", bias=True)(self._pyramid(x)))
        drop = partial(nn.Dropout, broadcast_dims=(1, 2), deterministic=not train)
        x = drop(cfg.pyramid_dropout)(x)
        for i, width in enumerate(widths, start=1):
            x = bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=False)
            x = norm(name=f"up_{i}_bn")(_conv(width, 3, dtype, f"up_{i}", bias=True)(x))
            x = drop(cfg.decoder_dropout)(nn.PReLU(negative_slope_init=0.25, name=f"up_{i}_prelu")(x))
        x = _conv(self.classes, 1, dtype, "logits", bias=True)(x)
        return x[:, : size[0], : size[1]].astype(jnp.float32)

    def _pyramid(self, x: Array) -> Array:
        """The map beside itself averaged over coarse cells."""
        coarse = []
        for cells in POOLS:
            y = _conv(x.shape[-1], 1, x.dtype, f"pool_{cells}", bias=False)(pooled(x, (cells, cells)))
            coarse.append(bilinear(y, x.shape[1:3], align_corners=False))
        return jnp.concatenate([*coarse, x], axis=-1)


class _Entrance(nn.Module):
    """One view's own stages, to a map at stride 8."""

    config: ResNetConfig
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Array:
        x = halved(first(self.config, image, self.norm, self.dtype))
        x = stage(self.config, 1, x, self.norm, self.dtype)
        return stage(self.config, 2, x, self.norm, self.dtype)


class Critic(nn.Module):
    """Tells day from night by logits [b h w n], a number a pixel [b h w 1], float32: HeatNet's, of the CycleGAN line.

    Five 4x4 convolutions of stride 2 without normalisation, brought back to the size of the logits.
    """

    width: int = 64
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, logits: Float[Array, "b h w n"]) -> Float[Array, "b h w 1"]:
        x = logits.astype(self.dtype)
        conv: Any = partial(
            nn.Conv, kernel_size=(4, 4), strides=2, padding=1, dtype=self.dtype, kernel_init=torch_kernel
        )
        for i in range(4):
            x = nn.leaky_relu(conv(self.width * 2**i, name=f"conv_{i + 1}")(x), 0.2)
        x = conv(1, name="conv_5")(x)
        return bilinear(x, logits.shape[1:3], align_corners=False).astype(jnp.float32)


LEAST = 32  # pixels along an axis that a critic can look at


def _conv(width: int, size: int, dtype: jnp.dtype, name: str, *, bias: bool) -> nn.Conv:
    return nn.Conv(
        width,
        (size, size),
        padding=size // 2,
        use_bias=bias,
        dtype=dtype,
        kernel_init=torch_kernel,
        conv_general_dilated=convolution.conv,
        name=name,
    )


def _padded(image: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
    h, w = image.shape[1:3]
    if not (h % STRIDE or w % STRIDE):
        return image
    return jnp.pad(image, ((0, 0), (0, -h % STRIDE), (0, -w % STRIDE), (0, 0)))
