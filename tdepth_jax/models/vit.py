"""The DINOv2 vision transformer (Oquab et al. 2023), as a stack of scanned blocks with taps by index."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

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
    Parameters are float32; `dtype` is the type of the matrix products. `remat` recomputes each block's
    activations in the backward pass.
    """

    config: ViTConfig
    taps: tuple[int, ...]
    norm_taps: bool = True
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> tuple[Tap, ...]:
        cfg, dim = self.config, self.config.dim
        h, w = images.shape[1] // cfg.patch, images.shape[2] // cfg.patch
        patches = rearrange(images, "b (h p) (w q) c -> b (h w) (p q c)", p=cfg.patch, q=cfg.patch)
        x = nn.Dense(dim, dtype=self.dtype, kernel_init=_init, name="patch_embed")(patches)
        cls = self.param("cls_token", _init, (1, 1, dim))
        pos = self.param("pos_embed", _init, (1, 1 + cfg.pos_grid**2, dim))
        x = jnp.concatenate([jnp.broadcast_to(cls, (len(x), 1, dim)).astype(x.dtype), x], axis=1)
        x = x + _positions(pos, h, w, cfg).astype(x.dtype)
        if cfg.registers:
            registers = self.param("register_tokens", _init, (1, cfg.registers, dim))
            registers = jnp.broadcast_to(registers, (len(x), cfg.registers, dim)).astype(x.dtype)
            x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        blocks = nn.scan(
            block, variable_axes={"params": 0}, split_rngs={"params": True}, length=cfg.depth
        )(cfg, self.dtype, name="blocks")  # fmt: skip
        _, every = blocks(x, None)
        norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=jnp.float32, name="norm")
        outputs = []
        for index in self.taps:
            tokens = norm(every[index]).astype(self.dtype) if self.norm_taps else every[index]
            outputs.append((tokens[:, 1 + cfg.registers :], tokens[:, 0]))
        return tuple(outputs)


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each through a LayerScale."""

    config: ViTConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], _: None) -> tuple[Array, Array]:
        cfg = self.config
        y = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=jnp.float32, name="norm1")(x).astype(
            self.dtype
        )
        qkv = nn.Dense(3 * cfg.dim, dtype=self.dtype, kernel_init=_init, name="qkv")(y)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b n h d", three=3, h=cfg.heads)
        y = rearrange(attention(q, k, v), "b n h d -> b n (h d)")
        y = nn.Dense(cfg.dim, dtype=self.dtype, kernel_init=_init, name="proj")(y)
        x = x + y * self.param("ls1", nn.initializers.constant(cfg.layer_scale), (cfg.dim,)).astype(x.dtype)
        y = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=jnp.float32, name="norm2")(x).astype(
            self.dtype
        )
        if cfg.ffn == "swiglu":
            y = nn.Dense(2 * cfg.hidden, dtype=self.dtype, kernel_init=_init, name="w12")(y)
            gate, y = jnp.split(y, 2, axis=-1)
            y = nn.Dense(cfg.dim, dtype=self.dtype, kernel_init=_init, name="w3")(nn.silu(gate) * y)
        else:
            y = nn.Dense(cfg.hidden, dtype=self.dtype, kernel_init=_init, name="fc1")(y)
            y = nn.Dense(cfg.dim, dtype=self.dtype, kernel_init=_init, name="fc2")(
                nn.gelu(y, approximate=False)
            )
        x = x + y * self.param("ls2", nn.initializers.constant(cfg.layer_scale), (cfg.dim,)).astype(x.dtype)
        return x, x


_init = nn.initializers.truncated_normal(0.02)


def _positions(pos: Float[Array, "1 n c"], h: int, w: int, cfg: ViTConfig) -> Float[Array, "1 m c"]:
    """Position embeddings for an h x w grid, the class token's first."""
    if (h, w) == (cfg.pos_grid, cfg.pos_grid):  # the references skip the resize here, and only here
        return pos
    rows, columns = (bicubic_weights(n, cfg.pos_grid, cfg.interpolation) for n in (h, w))
    grid = rearrange(pos[:, 1:], "1 (i j) c -> i j c", i=cfg.pos_grid)
    grid = rearrange(jnp.einsum("hi,ijc,wj->hwc", rows, grid, columns), "h w c -> 1 (h w) c")
    return jnp.concatenate([pos[:, :1], grid], axis=1)
