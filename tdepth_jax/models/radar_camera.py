"""Depth from a camera and radar: one interface over the networks of different sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.errors import UserError, nearest
from tdepth_jax.models.daspp import RATES
from tdepth_jax.models.radar_large import LargeBack, LargeFront
from tdepth_jax.models.radar_light import LightBack, LightFront
from tdepth_jax.models.resize import bilinear

NETWORKS = ("xd", "lirc", "cafnet")
STRIDE = 32  # of the deepest map
# As published: the student's is LiRCDepth's less 29.7 % (abstract), the others' are of the public code.
PUBLISHED = {"xd": round(0.703 * 12_645_228), "lirc": 12_645_228, "cafnet": 62_248_686}


@dataclasses.dataclass(frozen=True)
class RadarCameraConfig:
    network: str = "xd"  # xd (the light student) | lirc (light, of LiRCDepth's size) | cafnet (large)
    width: float = 1.0  # multiplies all channels; 1 is the published size
    blocks: int = 6  # of an encoder's stage at most; 6 is all of them
    film: str = "channel"  # how radar modulates, of xd: channel | spatial
    rates: tuple[int, ...] = RATES  # of the dilated convolutions
    max_depth: float = 100.0  # metres, of the sigmoid
    dtype: str = "auto"  # of the networks' products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)

    def __post_init__(self) -> None:
        for field, known in (
            ("network", NETWORKS),
            ("film", ("channel", "spatial")),
            ("dtype", ("auto", "float32", "bfloat16")),
        ):
            value = getattr(self, field)
            if value not in known:
                raise UserError(f"model.{field}={value!r} is not known; {nearest(value, known)}")
        if self.blocks < 1:
            raise UserError(f"model.blocks={self.blocks} must be at least 1")
        if not self.width > 0 or not self.max_depth > 1e-3:
            raise UserError(f"model.width={self.width} and model.max_depth={self.max_depth} must be above 0")

    @property
    def compute_dtype(self) -> jnp.dtype:
        if self.dtype == "auto":
            return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
        return jnp.dtype(self.dtype)


class RadarCameraNet(nn.Module):
    """Images [b h w c] (standardised) and radar [b h w k] (zero where there is none, its depth first) to depth.

    `front` and `back` are the two halves; the feature between them, at 1/8 after the DASPP, is what saliency explains.
    Images whose size is no multiple of 32 are padded with zeros below and to the right, and depth is cut back.
    """

    config: RadarCameraConfig

    def setup(self) -> None:
        large = self.config.network == "cafnet"
        dtype = self.config.compute_dtype
        self.encoder = (LargeFront if large else LightFront)(self.config, dtype)
        self.decoder = (LargeBack if large else LightBack)(self.config, dtype)

    def front(
        self, image: Float[Array, "b h w c"], radar: Float[Array, "b h w k"], *, train: bool = False
    ) -> tuple[Array, Any, dict[str, Array]]:
        """(feature [b u v d], what `back` needs beside it, what radar alone was found to say: see `LargeFront`)."""
        found = self.encoder(padded(image), padded(radar), train=train)
        feature, maps, own = (*found, {})[:3]
        h, w = image.shape[1:3]
        return feature, maps, {name: x[:, :h, :w] for name, x in own.items()}

    def back(
        self, feature: Array, maps: Any, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "b h w 1"]:
        """Depth in metres at `size`, float32."""
        logits = self.decoder(feature, maps, train=train)
        full = tuple(-(-n // STRIDE) * STRIDE for n in size)
        logits = bilinear(logits.astype(jnp.float32), full, align_corners=False)[:, : size[0], : size[1]]
        # Not quite 0: metrics take logarithms.
        return jnp.maximum(self.config.max_depth * jax.nn.sigmoid(logits), 1e-3)

    def __call__(self, image: Array, radar: Array, *, train: bool = False) -> Float[Array, "b h w 1"]:
        feature, maps, _ = self.front(image, radar, train=train)
        h, w = image.shape[1:3]
        return self.back(feature, maps, (h, w), train=train)


def padded(x: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
    h, w = x.shape[1:3]
    return jnp.pad(x, ((0, 0), (0, -h % STRIDE), (0, -w % STRIDE), (0, 0))) if h % STRIDE or w % STRIDE else x


def parameters(config: RadarCameraConfig, *, channels: int = 3, radar: int = 4) -> int:
    """How many parameters a network has; allocates nothing."""
    net = RadarCameraNet(config)
    image, returns = (jax.ShapeDtypeStruct((1, STRIDE, STRIDE, c), jnp.float32) for c in (channels, radar))
    shapes = jax.eval_shape(net.init, jax.random.key(0), image, returns)["params"]
    return sum(x.size for x in jax.tree.leaves(shapes))
