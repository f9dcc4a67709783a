"""How far a depth can be trusted: a teacher's by comparing two views, a student's by its own features."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models import convolution
from tdepth_jax.models.resize import bilinear

WIDTHS = (64, 128, 256, 512, 512)  # as published
CUES = 8


class ConfidenceNet(nn.Module):
    """Cues [b h w 8] to the confidence [b h w 1] in (0, 1) of the depth in the same view (MonoTher-Depth).

    A U-Net of two 3x3 convolutions with batch normalisation at each of five levels, halved by maxima, doubled by
    bilinear resizing. Any size: a level is brought to the size of the one it joins (the public code pads by zeros,
    which differs where a size is odd). As published, the gradient into the last layer is kept within `gradient_limit`
    of 0 and a NaN in it is 0.
    """

    widths: tuple[int, ...] = WIDTHS
    gradient_limit: float = 0.01
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, cues: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w 1"]:
        levels = [_Double(self.widths[0], self.dtype, name="in")(cues, train=train)]
        for i, width in enumerate(self.widths[1:], 1):
            halved = nn.max_pool(levels[-1], (2, 2), (2, 2))
            levels.append(_Double(width, self.dtype, name=f"down_{i}")(halved, train=train))
        x = levels.pop()
        # Widths on the way up: of the level above the one that is joined; the topmost keeps its own.
        for i, level in enumerate(reversed(levels)):
            joined = jnp.concatenate([level, bilinear(x, level.shape[1:3])], axis=-1)
            width = self.widths[max(len(levels) - 2 - i, 0)]
            x = _Double(width, self.dtype, name=f"up_{i + 1}")(joined, train=train)
        raw = nn.Dense(1, dtype=self.dtype, name="out")(x).astype(jnp.float32)
        return nn.sigmoid(limit_gradient(raw, self.gradient_limit))


class _Double(nn.Module):
    """Twice a 3x3 convolution, batch normalisation with PyTorch's momentum, and ReLU."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for i in (1, 2):
            x = nn.Conv(
                self.width, (3, 3), padding=1, dtype=self.dtype, conv_general_dilated=convolution.conv,
                name=f"conv_{i}",
            )(x)  # fmt: skip
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"norm_{i}"
            )(x)
            x = nn.relu(x)
        return x


@jax.custom_vjp
def limit_gradient(x: Array, limit: float) -> Array:
    """x; its gradient is clipped to [-limit, limit], NaN in it to 0."""
    return x


def _forward(x: Array, limit: float) -> tuple[Array, float]:
    return x, limit


def _backward(limit: float, gradient: Array) -> tuple[Array, None]:
    return jnp.clip(jnp.nan_to_num(gradient, nan=0.0), -limit, limit), None


limit_gradient.defvjp(_forward, _backward)


class SpreadHead(nn.Module):
    """Decoder features [b h w c] to the scale b [b h w 1] of a Laplace distribution of ln depth around the prediction.

    Two convolutions on features that pass no gradient: it watches the depth network and does not change it. It starts
    at `start` everywhere and stays within 1/100 and 10 times that.
    """

    width: int = 32
    start: float = 0.3

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
        x = jax.lax.stop_gradient(features).astype(jnp.float32)
        x = x / (jnp.sqrt((x**2).mean(axis=-1, keepdims=True)) + 1e-6)
        x = nn.relu(nn.Conv(self.width, (3, 3), padding=1, name="conv")(x))
        raw = nn.Dense(1, kernel_init=nn.initializers.zeros, name="out")(x)
        return self.start * jnp.exp(jnp.clip(raw, jnp.log(0.01), jnp.log(10.0)))
