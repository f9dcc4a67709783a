"""The DINOv2 vision transformer (Oquab et al. 2023), as a stack of scanned blocks with taps by index."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models.adapters import AdapterConfig, ConvAdapter, LoRA
from tdepth_jax.models.attention import attention
from tdepth_jax.models.resize import bicubic_weights


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    dim: int
    depth: int
    heads: int
    patch: int = 14
    ffn: str = "mlp"  # mlp (GELU, 4x) | swiglu
    registers: int = 0
    pos_grid: int = 37  # side of the grid that the position embeddings were trained on
    interpolation: str = "offset"  # of the position embeddings: offset | size | antialias
    layer_scale: float = 1.0  # initial value
    adapters: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)

    @property
    def hidden(self) -> int:
        """Width inside the feed-forward layer; SwiGLU's is two thirds of 4x, rounded up to a multiple of 8."""
        return 4 * self.dim if self.ffn == "mlp" else (int(4 * self.dim * 2 / 3) + 7) // 8 * 8


VARIANTS = {
    "vits": ViTConfig(dim=384, depth=12, heads=6),
    "vitb": ViTConfig(dim=768, depth=12, heads=12),
    "vitl": ViTConfig(dim=1024, depth=24, heads=16),
    "vitg": ViTConfig(dim=1536, depth=40, heads=24, ffn="swiglu"),
}

Tap = tuple[Float[Array, "b n c"], Float[Array, "b c"]]  # patch tokens, class token


class ViT(nn.Module):
    """Images [b h w 3], h and w multiples of the patch, to the tokens after the blocks in `taps` (0-based).

    `norm_taps` applies the final LayerNorm to every tap, as DINOv2's get_intermediate_layers does by default.
    Parameters, norms, the softmax and the sum that runs through the blocks are float32, and so is the result;
    `dtype` is the type of the blocks' matrix products. `remat` recomputes each block's activations in the backward
    pass; `unroll` compiles every block by itself, not one for all: minutes instead of seconds, but a program whose
    own count of operations is whole.
    """

    config: ViTConfig
    taps: tuple[int, ...]
    norm_taps: bool = True
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    unroll: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> tuple[Tap, ...]:
        cfg, dim = self.config, self.config.dim
        h, w = images.shape[1] // cfg.patch, images.shape[2] // cfg.patch
        patches = rearrange(images, "b (h p) (w q) c -> b (h w) (p q c)", p=cfg.patch, q=cfg.patch)
        # Half a percent of ViT-B's work; in bfloat16 it alone costs as much accuracy as all the blocks.
        x = nn.Dense(dim, precision="high", name="patch_embed")(patches.astype(jnp.float32))
        cls = self.param("cls_token", _init, (1, 1, dim))
        pos = self.param("pos_embed", _waves, (1, 1 + cfg.pos_grid**2, dim))
        x = jnp.concatenate([jnp.broadcast_to(cls, (len(x), 1, dim)), x], axis=1)
        x = x + _positions(pos, h, w, cfg)
        if cfg.registers:
            registers = self.param("register_tokens", _init, (1, cfg.registers, dim))
            registers = jnp.broadcast_to(registers, (len(x), cfg.registers, dim))
            x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        blocks = nn.scan(
            block, variable_axes={"params": 0}, split_rngs={"params": True}, length=cfg.depth,
            unroll=cfg.depth if self.unroll else 1,
        )(cfg, (h, w), self.dtype, name="blocks")  # fmt: skip
        _, every = blocks(x, None)
        norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=jnp.float32, name="norm")
        outputs = []
        for index in self.taps:
            tokens = norm(every[index]) if self.norm_taps else every[index]
            outputs.append((tokens[:, 1 + cfg.registers :], tokens[:, 0]))
        return tuple(outputs)


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each through a LayerScale; adapters, where asked for, beside them."""

    config: ViTConfig
    grid: tuple[int, int]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], _: None) -> tuple[Array, Array]:
        cfg = self.config
        y = self._norm("norm1", x)
        qkv = nn.Dense(3 * cfg.dim, dtype=self.dtype, name="qkv")(y)
        q, k, v = (
            rearrange(self._adapt(name, y, part), "b n (h d) -> b n h d", h=cfg.heads)
            for name, part in zip("qkv", jnp.split(qkv, 3, axis=-1), strict=True)
        )
        y = rearrange(attention(q, k, v), "b n h d -> b n (h d)")
        x = x + self._scale("ls1", self._dense("proj", y, cfg.dim))
        y = self._norm("norm2", x)
        if cfg.ffn == "swiglu":
            gate, y = jnp.split(self._dense("w12", y, 2 * cfg.hidden), 2, axis=-1)
            y = self._dense("w3", nn.silu(gate) * y, cfg.dim)
        else:
            y = nn.gelu(self._dense("fc1", y, cfg.hidden), approximate=False)
            y = self._dense("fc2", y, cfg.dim)
        x = x + self._scale("ls2", y)
        if cfg.adapters.conv_width:
            x = ConvAdapter(cfg.adapters.conv_width, self.dtype, name="conv_adapter")(x, self.grid)
        return x, x

    def _norm(self, name: str, x: Array) -> Array:
        norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=jnp.float32, name=name)
        return norm(x).astype(self.dtype)

    def _dense(self, name: str, x: Array, width: int) -> Array:
        return self._adapt(name, x, nn.Dense(width, dtype=self.dtype, name=name)(x))

    def _adapt(self, name: str, x: Array, y: Array) -> Array:
        """The projection `name` of x, which is y, with its low-rank update."""
        adapters = self.config.adapters
        if not adapters.lora_rank or name not in adapters.lora_on:
            return y
        update = LoRA(y.shape[-1], adapters.lora_rank, adapters.lora_scale, self.dtype, name=f"lora_{name}")
        return y + update(x)

    def _scale(self, name: str, x: Array) -> Array:
        gamma = self.param(name, nn.initializers.constant(self.config.layer_scale), (self.config.dim,))
        return x.astype(jnp.float32) * gamma


_init = nn.initializers.truncated_normal(0.02)


def _waves(_: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Float[Array, "1 n c"]:
    """Sines and cosines of row and column, and zeros for the class token: where a patch is counts from the start
    (Beyer et al. 2022, "Better plain ViT baselines"), which a training without imported weights needs."""
    side, quarter = math.isqrt(shape[1] - 1), shape[2] // 4
    rates = 10_000.0 ** -(jnp.arange(quarter) / max(quarter - 1, 1))
    angle = jnp.arange(side)[:, None] * rates
    wave = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)
    grid = jnp.concatenate(
        [jnp.repeat(wave, side, axis=0), jnp.tile(wave, (side, 1))], axis=1
    )  # [row-major patches, 4 * quarter]
    grid = jnp.pad(grid, ((1, 0), (0, shape[2] - grid.shape[1])))
    return grid[None].astype(dtype)


def _positions(pos: Float[Array, "1 n c"], h: int, w: int, cfg: ViTConfig) -> Float[Array, "1 m c"]:
    """Position embeddings for an h x w grid, the class token's first."""
    if (h, w) == (cfg.pos_grid, cfg.pos_grid):  # the references skip the resize here, and only here
        return pos
    rows, columns = (bicubic_weights(n, cfg.pos_grid, cfg.interpolation) for n in (h, w))
    grid = rearrange(pos[:, 1:], "1 (i j) c -> i j c", i=cfg.pos_grid)
    grid = rearrange(jnp.einsum("hi,ijc,wj->hwc", rows, grid, columns), "h w c -> 1 (h w) c")
    return jnp.concatenate([pos[:, :1], grid], axis=1)
