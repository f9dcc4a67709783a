"""Networks of the RTFNet line that label pixels: one or two ResNets, a decoder of five stages, edges, enhancement.

RTFNet (Sun et al. 2019), CENet and EKNet (Feng et al., CEKD, RA-L 2023) are three settings of one network.
"""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.errors import UserError, nearest
from tdepth_jax.models import convolution
from tdepth_jax.models.botnet import AttentionConfig, torch_kernel
from tdepth_jax.models.edges import EdgeDetector
from tdepth_jax.models.enhancement import EXPONENTS, ThermalEnhancement
from tdepth_jax.models.resize import bilinear
from tdepth_jax.models.resnet import VARIANTS, ResNet, ResNetConfig

STRIDE = 32  # of the deepest map
# What the edge detector sees and where its map is added, in the paper's names (Table I): the encoders' fused maps
# E1-E4, the decoder's maps (a stage's output and its skip) D4-D2. Stage n is 1/2^n of the image, D3 1/4, D2 1/2.
EDGES = re.compile(r"(E[1-4]+|D[2-4]+)(D[23])")


@dataclasses.dataclass(frozen=True)
class SegConfig:
    """Which of the line's networks. Defaults: CENet. EKNet has no `rgb`, no edges, and `enhancement`."""

    encoder: str = "resnet50"  # resnet18 | resnet34 | resnet50 | resnet101 | resnet152
    width: int = 64  # channels of the first encoder map, from which all others follow
    rgb: bool = True  # an RGB encoder too, fed with the thermal one's maps
    last: str = "attention"  # the encoders' last stage: attention (BoTNet) | conv (RTFNet)
    attention_heads: int = 4
    attention_width: int = 512  # of one head
    position_size: tuple[int, int] = (480, 640)  # image size of the position tables; others resample them
    skips: bool = True  # encoder maps are added in the decoder (RTFNet has none)
    # The edge detector: what it sees and where its map is added, which makes the feature that teaches: D3D3, D2D2,
    # E2D3, E1D2, E123D3, E123D2, D234D2 and the like; none.
    edges: str = "D3D3"
    enhancement: bool = False  # the thermal-enhancement module
    enhancement_coefficient: float = 2.0
    enhancement_exponent: str = "safe"  # safe | raw (as published: unbounded)
    relu_logits: bool = False  # as published: no logit is negative
    dtype: str = "auto"  # of the networks' products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)

    def __post_init__(self) -> None:
        for field, known in (
            ("encoder", tuple(VARIANTS)),
            ("last", ("attention", "conv")),
            ("enhancement_exponent", EXPONENTS),
            ("dtype", ("auto", "float32", "bfloat16")),
        ):
            value = getattr(self, field)
            if value not in known:
                raise UserError(f"model.{field}={value!r} is not known; {nearest(value, known)}")
        if self.edges != "none" and not EDGES.fullmatch(self.edges):
            raise UserError(
                f"model.edges={self.edges!r} is not known: say what the detector sees and where its map goes, as D3D3, "
                "E123D2 or D234D2, or none"
            )
        if any("D" in place and place < self.edge_output for place in self.edge_inputs):
            raise UserError(
                f"model.edges={self.edges} would add edges before the decoder has what they come from"
            )
        if self.width < 2 or self.width % 2:
            raise UserError(f"model.width={self.width} must be even: the decoder halves it")

    @property
    def edge_inputs(self) -> tuple[str, ...]:
        """Places that the edge detector sees: ("E1", "E2", "E3") of E123D3."""
        found = EDGES.fullmatch(self.edges)
        return tuple(found[1][0] + digit for digit in found[1][1:]) if found else ()

    @property
    def edge_output(self) -> str:
        """The place of the edge map, "D3" or "D2", and of the teaching feature; without edges that is D3."""
        found = EDGES.fullmatch(self.edges)
        return found[2] if found else "D3"

    @property
    def resnet(self) -> ResNetConfig:
        attention = None
        if self.last == "attention":
            h, w = (-(-n // STRIDE) * 2 for n in self.position_size)
            attention = AttentionConfig(self.attention_heads, self.attention_width, (h, w))
        return dataclasses.replace(VARIANTS[self.encoder], width=self.width, attention=attention)

    @property
    def compute_dtype(self) -> jnp.dtype:
        if self.dtype == "auto":
            return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
        return jnp.dtype(self.dtype)


class SegNet(nn.Module):
    """Thermal [b h w 1] and, with `config.rgb`, RGB [b h w 3], both in [0, 1], any size, to

    "logits" [b h w classes], "maps", the five fused encoder maps at 1/2 … 1/32, "hint", the decoder's map that
    teaches, and, with an edge detector, "edges", logits at 1/4 (D3) or 1/2 (D2) of the size. All are float32. Images
    whose size is no multiple of 32 are padded with zeros below and to the right; what belongs to the padding is cut
    off, but of "maps".
    """

    config: SegConfig
    classes: int
    hint: str = ""  # the place of "hint", D3 or D2, where the network has no edges of its own to say it

    @nn.compact
    def __call__(
        self,
        thermal: Float[Array, "b h w 1"],
        rgb: Float[Array, "b h w 3"] | None = None,
        *,
        train: bool = False,
    ) -> dict[str, Any]:
        cfg, dtype = self.config, self.config.compute_dtype
        size = thermal.shape[1:3]
        norm = partial(nn.BatchNorm, not train, momentum=0.9, epsilon=1e-5, dtype=dtype)
        thermal = _padded(thermal)
        maps = ResNet(cfg.resnet, dtype, name="thermal")(thermal, train=train)
        if cfg.rgb:
            if rgb is None:
                raise UserError("this network sees RGB too, and none was given")
            maps = ResNet(cfg.resnet, dtype, name="rgb")(_padded(rgb), train=train, fused=maps)
        boosts: tuple[Array | float, ...] = (0.0,) * 5
        if cfg.enhancement:
            # The statistics of one image alone are no statistics.
            own = partial(nn.BatchNorm, not train or len(thermal) == 1, momentum=0.9, epsilon=1e-5)
            boosts = ThermalEnhancement(
                own, cfg.enhancement_coefficient, cfg.enhancement_exponent, name="enhancement"
            )(thermal)
            boosts = tuple(x.astype(dtype) for x in boosts)
        found = _Decoder(cfg, self.classes, self.hint or cfg.edge_output, norm, dtype, name="decoder")(
            maps, boosts
        )
        for name in found.keys() - {"maps"}:
            share = thermal.shape[1] // found[name].shape[1]
            found[name] = found[name][:, : -(-size[0] // share), : -(-size[1] // share)]
        return jax.tree.map(lambda x: x.astype(jnp.float32), found)


class _Decoder(nn.Module):
    """Five stages, deepest first; `boosts` are the enhanced image at 1/2 … 1/32, or zeros."""

    config: SegConfig
    classes: int
    hint: str
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, maps: tuple[Array, ...], boosts: tuple[Array | float, ...]) -> dict[str, Any]:
        cfg = self.config
        channels = maps[-1].shape[-1]
        stage = partial(_Stage, norm=self.norm, dtype=self.dtype)
        found: dict[str, Any] = {"maps": maps}
        seen = {f"E{n}": x for n, x in enumerate(maps, start=1)}
        x = maps[4] + boosts[4]
        for n, width in zip((5, 4, 3, 2), (channels // 2**i for i in (1, 2, 3, 4)), strict=True):
            x = stage(width, name=f"stage_{n}")(x)
            if cfg.skips:
                x = x + self._skip(maps[n - 2], width)
            seen[f"D{n}"] = x
            if cfg.edge_inputs and cfg.edge_output == f"D{n}":
                found["edges"] = self._edges([seen[place] for place in cfg.edge_inputs], x)
                x = x + jax.nn.sigmoid(found["edges"])
            if self.hint == f"D{n}":
                found["hint"] = x
            x = x + boosts[n - 2]
        found["logits"] = stage(self.classes, relu=cfg.relu_logits, name="stage_1")(x)
        return found

    def _skip(self, x: Array, width: int) -> Array:
        """The encoder's map; only the first, which has another number of channels, passes a convolution."""
        if x.shape[-1] == width:
            return x
        return nn.Conv(width, (3, 3), padding=1, dtype=self.dtype, kernel_init=torch_kernel, name="skip_1")(x)

    def _edges(self, seen: list[Array], like: Array) -> Array:
        """Edge logits at the size of `like`; of several maps each has its detector, and a 1x1 convolution weighs them
        (PiDiNet; how CEKD joins them is not published)."""
        sides = []
        for i, x in enumerate(seen):
            side = EdgeDetector(self.norm, self.dtype, name=f"edges_{i}" if i else "edges")(x)
            sides.append(bilinear(side, like.shape[1:3], align_corners=False))
        if len(sides) == 1:
            return sides[0]
        even = nn.initializers.constant(1 / len(sides))
        join = nn.Conv(1, (1, 1), dtype=self.dtype, kernel_init=even, name="edges_joined")
        return join(jnp.concatenate(sides, axis=-1))


class _Stage(nn.Module):
    """Two residual blocks of RTFNet's decoder (TransBottleneck): one at the size, one that doubles it."""

    width: int
    norm: partial
    dtype: jnp.dtype
    relu: bool = True  # after the sum; without it the last stage's logits may be negative

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b u v d"]:
        x = self._block("same", x, x.shape[-1], double=False)
        y = self._block("double", x, self.width, double=True)
        return nn.relu(y) if self.relu else y

    def _block(self, name: str, x: Array, width: int, *, double: bool) -> Array:
        conv: Any = partial(
            nn.Conv, width, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.glorot_uniform(),
            conv_general_dilated=convolution.conv,
        )  # fmt: skip
        up = partial(_Double, width, self.dtype)
        y = nn.relu(self.norm(name=f"{name}_bn1")(conv((1, 1), name=f"{name}_conv1")(x)))
        y = nn.relu(self.norm(name=f"{name}_bn2")(conv((3, 3), padding=1, name=f"{name}_conv2")(y)))
        third = up(name=f"{name}_conv3") if double else conv((3, 3), padding=1, name=f"{name}_conv3")
        y = self.norm(name=f"{name}_bn3")(third(y))
        if not double:
            return nn.relu(y + x)
        return y + self.norm(name=f"{name}_shortcut_bn")(up(name=f"{name}_shortcut")(x))


class _Double(nn.Module):
    """A transposed 2x2 convolution of stride 2: every pixel becomes 2x2 of its own, which is a product by pixel."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w d"]:
        # Xavier's bound as PyTorch takes it for such a kernel: four taps on either side.
        bound = (6 / (4 * (x.shape[-1] + self.width))) ** 0.5
        kernel = self.param("kernel", _uniform(bound), (2, 2, x.shape[-1], self.width))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        y = jnp.einsum("bhwc,ijcd->bhiwjd", x, kernel)
        return rearrange(y, "b h i w j d -> b (h i) (w j) d")


def _uniform(bound: float) -> Any:
    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _padded(image: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
    h, w = image.shape[1:3]
    if not (h % STRIDE or w % STRIDE):
        return image
    return jnp.pad(image, ((0, 0), (0, -h % STRIDE), (0, -w % STRIDE), (0, 0)))
