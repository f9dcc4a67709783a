"""3x3 convolutions in the forms that XLA's CPU compiler is quick at, gradients and all; as matrix products.

For `nn.Conv`'s `conv_general_dilated`. Other backends get the convolution as it is.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LARGE = 2**22  # bytes of a float32 image from which its kernel's gradient is better taken strip by strip
STRIP = 2**22  # bytes of the nine shifted images of a strip: they should stay in a core's cache

Image = Float[Array, "b h w c"]
Kernel = Float[Array, "3 3 c d"]


def conv(x: Image, kernel: Kernel, strides: Any, padding: Any, **more: Any) -> Image:
    """Stride 1 and one pixel of zeros around; of anything else it is `jax.lax.conv_general_dilated`.

    With no more pixels than output channels the kernel is what is read, and a product of it with the nine neighbours of
    every pixel leaves it as it lies. The kernel's gradient of a large image is a sum over strips of rows.
    """
    same = (kernel.shape[:2], tuple(strides), tuple(padding)) == ((3, 3), (1, 1), ((1, 1), (1, 1)))
    dense = more["lhs_dilation"] == more["rhs_dilation"] == (1, 1) and more["feature_group_count"] == 1
    if same and dense and x[..., 0].size <= kernel.shape[-1]:
        return jax.lax.platform_dependent(x, kernel, cpu=_by_neighbours, default=_plain)
    if same and dense and 4 * x.size >= LARGE:
        return _large(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **more)


def narrow(x: Image, kernel: Kernel, *_: Any, **__: Any) -> Image:
    """Stride 1 and one pixel of zeros around, many channels to a few or a few to many: one product, and nine shifts of
    the narrower side. XLA's CPU compiler runs such convolutions inside a scan hundreds of times slower."""
    return jax.lax.platform_dependent(x, kernel, cpu=_narrow, default=_plain)


def _plain(x: Image, kernel: Kernel) -> Image:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _narrow(x: Image, kernel: Kernel) -> Image:
    c, d = kernel.shape[2:]
    if c < d:
        return _by_neighbours(x, kernel)
    parts = x @ jnp.moveaxis(kernel, 2, 0).reshape(c, 9 * d)
    h, w = x.shape[1:3]
    parts = jnp.pad(parts, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        parts[:, i : i + h, j : j + w, (3 * i + j) * d : (3 * i + j + 1) * d]
        for i in range(3)
        for j in range(3)
    )  # type: ignore[return-value]


def _by_neighbours(x: Image, kernel: Kernel) -> Image:
    h, w, c = x.shape[1:]
    taps = _taps(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), h, w)
    return taps @ kernel.reshape(9 * c, -1)


def _taps(padded: Image, h: int, w: int) -> Float[Array, "b h w 9*c"]:
    """The nine neighbours of every pixel, beside each other, of an image with one more pixel all around."""
    return jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)


@jax.custom_vjp
def _large(x: Image, kernel: Kernel) -> Image:
    return _plain(x, kernel)


def _forward(x: Image, kernel: Kernel) -> tuple[Image, tuple[Image, Kernel]]:
    return _plain(x, kernel), (x, kernel)


def _backward(saved: tuple[Image, Kernel], gradient: Image) -> tuple[Image, Kernel]:
    x, kernel = saved
    (of_input,) = jax.linear_transpose(lambda x: _plain(x, kernel), x)(gradient)
    of_kernel = jax.lax.platform_dependent(x, gradient, cpu=_by_strips, default=_at_once)
    return of_input, of_kernel.astype(kernel.dtype)


_large.defvjp(_forward, _backward)


def _at_once(x: Image, gradient: Image) -> Kernel:
    like = jnp.zeros((3, 3, x.shape[-1], gradient.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel), like)(gradient)[0].astype(jnp.float32)


def _by_strips(x: Image, gradient: Image) -> Kernel:
    b, h, w, c = x.shape
    rows = min(h, max(1, STRIP // (4 * 9 * b * w * c)))
    count = -(-h // rows)
    x = jnp.pad(x, ((0, 0), (1, 1 + count * rows - h), (1, 1), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (0, count * rows - h), (0, 0), (0, 0)))

    def one(i: Array, total: Array) -> Array:
        strip = jax.lax.dynamic_slice_in_dim(x, i * rows, rows + 2, axis=1)
        pull = jax.lax.dynamic_slice_in_dim(gradient, i * rows, rows, axis=1)
        taps = _taps(strip, rows, w)
        return total + jnp.einsum("bhwd,bhwk->dk", pull, taps, preferred_element_type=jnp.float32)

    total = jnp.zeros((gradient.shape[-1], 9 * c), jnp.float32)
    return jax.lax.fori_loop(0, count, one, total).T.reshape(3, 3, c, -1)
