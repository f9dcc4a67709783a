"""A depth network: ViT backbone, head, and what the head's output means."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.errors import UserError, nearest
from tdepth_jax.models.adapters import AdapterConfig
from tdepth_jax.models.bins import CENTRES, BinsConfig, MetricBins
from tdepth_jax.models.dpt import DPT, DPTConfig
from tdepth_jax.models.linear import LinearHead
from tdepth_jax.models.resize import bilinear, window
from tdepth_jax.models.vit import VARIANTS, ViT, ViTConfig

# Where four taps are read, by the number of blocks (0-based); a depth not listed is tapped at its quarters.
TAPS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}

# Reassembled channels and fusion features of Depth Anything V1 and V2, by backbone.
DEPTH_ANYTHING = {
    "vits": ((48, 96, 192, 384), 64),
    "vitb": ((96, 192, 384, 768), 128),
    "vitl": ((256, 512, 1024, 1024), 256),
    "vitg": ((1536, 1536, 1536, 1536), 384),
}
HEADS = ("depth_anything_v2", "depth_anything_v1", "dinov2", "dinov2_linear", "dinov2_linear4")
OUTPUTS = ("disparity_sigmoid", "metric_sigmoid", "relu_depth", "relu_disparity", "bins", "metric_bins")


@dataclasses.dataclass(frozen=True)
class DepthConfig:
    """Sizes and range. `backbone="custom"` takes the vit_* and dpt_* sizes given; a variant brings its own."""

    backbone: str = "vitb"  # vits | vitb | vitl | vitg | custom
    registers: int = 0  # 4 for the DINOv2 checkpoints "with registers"
    interpolation: str = "auto"  # of position embeddings: offset | size | antialias | auto (by registers)
    head: str = (
        "depth_anything_v2"  # depth_anything_v2 | depth_anything_v1 | dinov2 | dinov2_linear | dinov2_linear4
    )
    # disparity_sigmoid | metric_sigmoid | relu_depth | relu_disparity | bins | metric_bins
    output: str = "disparity_sigmoid"
    vit_dim: int = 192
    vit_depth: int = 6
    vit_heads: int = 3
    vit_patch: int = 14
    vit_pos_grid: int = 37
    dpt_channels: tuple[int, ...] = (48, 96, 192, 384)
    dpt_features: int = 64
    dpt_stride: int = 1
    min_depth: float = (
        1 / 10.01
    )  # metres, up to the unknown scale; with 100 m this is 1 / (10 sigmoid + 0.01)
    max_depth: float = 100.0
    lora_rank: int = 0  # low-rank updates of the backbone's kernels; 0 = none, 4 as published
    lora_on: tuple[str, ...] = ("q", "v")
    conv_adapter_width: int = 0  # convolutional adapter at the end of each block; 0 = none, 4 as published
    # Added to the head's output. A sigmoid starts at half of the largest disparity, which leaves near things a factor
    # of two; -2 leaves them eight, so that a quick start cannot run into the end of the range.
    output_offset: float = 0.0
    # Multiplies the head's output before that. By Flax's default initialisation a fresh head on DINOv2's features says
    # noise over decades of depth (by PyTorch's nearly nothing), from which self-supervision flees into one flat depth;
    # 0.15 starts smooth and learns fast.
    output_gain: float = 1.0
    # The metric_bins head; its defaults, with min_depth=0.001 and max_depth=80, are MonoTher-Depth's (see BinsConfig).
    n_bins: int = 64
    bin_embedding: int = 128
    bin_attractors: tuple[int, ...] = (16, 8, 4, 1)
    bin_strength: float = 300.0
    bin_centres: str = (
        "normed"  # normed (within the range) | softplus (unbounded; the depth is cut to the range)
    )
    bin_temperatures: tuple[float, float] = (0.0212, 50.0)
    dtype: str = "auto"  # of the networks' products: float32 | bfloat16 | auto (bfloat16 on GPU and TPU)
    remat: bool = False
    unroll: bool = False  # compile every block by itself; only to count operations

    def __post_init__(self) -> None:
        self._check("head", HEADS)
        self._check("output", OUTPUTS)
        self._check("dtype", ("auto", "float32", "bfloat16"))
        self._check("interpolation", ("auto", "offset", "size", "antialias"))
        self._check("bin_centres", CENTRES)
        self._check("backbone", (*VARIANTS, "custom"))
        if self.backbone == "custom" and self.vit_dim % self.vit_heads:
            raise UserError(
                f"model.vit_dim={self.vit_dim} must be a multiple of model.vit_heads={self.vit_heads}"
            )
        if self.backbone == "custom" and (len(self.dpt_channels) != 4 or self.vit_depth < 4):
            raise UserError("a DPT head needs four model.dpt_channels and model.vit_depth of at least 4")
        if self.head.startswith("dinov2_linear") != (self.output == "bins"):
            raise UserError("model.output=bins goes with the linear heads, and only with them")
        if self.output == "metric_bins":
            self._check_bins()
        if not 0 < self.min_depth < self.max_depth:
            raise UserError(
                f"model.min_depth={self.min_depth} must be above 0 and below model.max_depth={self.max_depth}"
            )

    def _check(self, field: str, known: tuple[str, ...]) -> None:
        value = getattr(self, field)
        if value not in known:
            raise UserError(f"model.{field}={value!r} is not known; {nearest(value, known)}")

    def _check_bins(self) -> None:
        if self.n_bins < 2 or self.bin_embedding < 1:
            raise UserError(
                "output=metric_bins needs model.n_bins of at least 2 and model.bin_embedding of at least 1"
            )
        if len(self.bin_attractors) != 4 or min(self.bin_attractors) < 1:
            raise UserError(
                f"model.bin_attractors={self.bin_attractors} must be four counts, one a level of the decoder, deep to "
                "shallow, each at least 1"
            )
        if len(self.bin_temperatures) != 2 or not 0 < self.bin_temperatures[0] < self.bin_temperatures[1]:
            raise UserError(
                f"model.bin_temperatures={self.bin_temperatures} must be two numbers, the smaller above 0 first"
            )
        if (self.output_gain, self.output_offset) != (1.0, 0.0):
            raise UserError(
                "output=metric_bins predicts depth itself: leave model.output_gain at 1 and model.output_offset at 0"
            )

    @property
    def compute_dtype(self) -> jnp.dtype:
        """The one place that chooses a precision."""
        if self.dtype == "auto":
            return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
        return jnp.dtype(self.dtype)

    @property
    def vit(self) -> ViTConfig:
        interpolation = self.interpolation
        if interpolation == "auto":
            interpolation = "antialias" if self.registers else "offset"
        if self.backbone == "custom":
            sizes = ViTConfig(
                self.vit_dim, self.vit_depth, self.vit_heads, self.vit_patch, pos_grid=self.vit_pos_grid
            )
        else:
            sizes = VARIANTS[self.backbone]
        adapters = AdapterConfig(self.lora_rank, self.lora_on, conv_width=self.conv_adapter_width)
        return dataclasses.replace(
            sizes, registers=self.registers, interpolation=interpolation, adapters=adapters
        )

    @property
    def taps(self) -> tuple[int, ...]:
        """The blocks that the head reads: spread over the backbone, or its last four (Depth Anything V1)."""
        depth = self.vit.depth
        if self.head == "dinov2_linear":
            return (depth - 1,)
        if self.head == "depth_anything_v1":
            return tuple(range(depth - 4, depth))
        return TAPS.get(depth) or tuple(depth * (i + 1) // 4 - 1 for i in range(4))

    @property
    def dpt(self) -> DPTConfig:
        if self.backbone == "custom":
            channels, features = self.dpt_channels, self.dpt_features
        elif self.head == "dinov2":
            channels, features = tuple(self.vit.dim // 2**i for i in (3, 2, 1, 0)), 256
        else:
            channels, features = DEPTH_ANYTHING[self.backbone]
        style = "dinov2" if self.head == "dinov2" else "depth_anything"
        return DPTConfig(channels, features, style, self.dpt_stride)

    @property
    def bins(self) -> BinsConfig:
        return BinsConfig(
            self.n_bins,
            self.bin_embedding,
            self.bin_attractors,
            self.bin_strength,
            self.bin_centres,
            self.bin_temperatures,
            self.min_depth,
            self.max_depth,
        )


class DepthNet(nn.Module):
    """Standardised images [b h w 1|3], any size, to z-depth [b h w 1] between min_depth and max_depth.

    What the head predicts is `output`: a "disparity_sigmoid" between 1/max_depth and 1/min_depth
    (depth = 1 / (10 sigmoid + 0.01) for the default range, as in the self-supervised lineage), a
    "metric_sigmoid" times max_depth (Depth Anything V2 metric), "relu_depth" above min_depth (DINOv2's DPT
    head), depth "bins" (its linear heads), a "relu_disparity" of unknown scale and shift (Depth Anything), or
    "metric_bins", ZoeDepth's head on top of that relative depth (MonoTher-Depth; the module `metric_bins`).

    One channel is repeated to three. An image that is no multiple of the patch is padded with zeros, centred as
    DINOv2's CenterPadding does, and the depth cropped back.

    With `features=True` it returns (depth, features), from one pass. The features are the decoder's last activation
    before its 1x1 output convolution, [b u v 32], ReLU'd; under metric_bins with the relative depth and the bins'
    embedding after it, [b u v 32 + 1 + bin_embedding], 161 channels as published. They come in the precision of the
    network's products and cover the image that the depth covers, corner pixel on corner pixel (for the dinov2 head
    border on border), at the decoder's own resolution: the image's for Depth Anything's heads with dpt_stride 1, about
    1/dpt_stride of it otherwise, about 16/14 of it for DINOv2's. The linear heads decode nothing and raise UserError.
    """

    config: DepthConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, features: bool = False
    ) -> Array | tuple[Array, Array]:
        cfg, vit, dtype = self.config, self.config.vit, self.config.compute_dtype
        if features and cfg.output == "bins":
            raise UserError(
                f"model.head={cfg.head} has no decoder, so no features to hand out; take a DPT head, for example "
                "model.head=depth_anything_v2"
            )
        h, w = images.shape[1:3]
        (top, bottom), (left, right) = (_padding(n, vit.patch) for n in (h, w))
        x = jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        size = x.shape[1:3]
        grid = (size[0] // vit.patch, size[1] // vit.patch)
        plain = cfg.head.startswith("dinov2")  # DINOv2's heads read the blocks as they are
        taps = ViT(
            vit, cfg.taps, norm_taps=not plain, dtype=dtype, remat=cfg.remat, unroll=cfg.unroll, name="vit"
        )(x)
        decoder_features = None
        if cfg.output == "bins":
            value = LinearHead(cfg.min_depth, cfg.max_depth, dtype, name="head")(taps, grid)
        else:
            raw, decoder_features, bottleneck, paths = DPT(cfg.dpt, dtype, name="head")(taps, grid, size)
            value = _activate(cfg.output_gain * raw + cfg.output_offset, cfg)
            if cfg.output == "metric_bins":
                value, decoder_features = MetricBins(cfg.bins, dtype, name="metric_bins")(
                    decoder_features, value, bottleneck, paths
                )
        value = bilinear(value, size, align_corners=not plain)
        depth = _to_depth(value[:, top : top + h, left : left + w], cfg)
        if not features or decoder_features is None:
            return depth
        return depth, window(decoder_features, size, (top, left), (h, w), align_corners=not plain)


def _activate(raw: Array, cfg: DepthConfig) -> Array:
    """The head's raw output as the quantity that `output` names; this is what is interpolated."""
    low, high = 1 / cfg.max_depth, 1 / cfg.min_depth
    if cfg.output == "disparity_sigmoid":
        return low + (high - low) * nn.sigmoid(raw)
    if cfg.output == "metric_sigmoid":
        return cfg.max_depth * nn.sigmoid(raw)
    if cfg.output == "relu_depth":
        return jnp.clip(nn.relu(raw) + cfg.min_depth, cfg.min_depth, cfg.max_depth)
    return nn.relu(raw)


def _to_depth(value: Array, cfg: DepthConfig) -> Array:
    if cfg.output == "disparity_sigmoid":
        return 1.0 / value
    if cfg.output == "relu_disparity":
        return 1.0 / jnp.maximum(value, 1 / cfg.max_depth)
    if cfg.output == "metric_bins":
        return jnp.clip(value, cfg.min_depth, cfg.max_depth)
    return jnp.maximum(value, cfg.min_depth)


def _padding(length: int, patch: int) -> tuple[int, int]:
    """Zeros before and after, the odd one after."""
    missing = -length % patch
    return missing // 2, missing - missing // 2
