"""Resizing by explicit weight matrices, in the conventions of the reference code (PyTorch's, not jax.image's)."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bilinear(
    x: Float[Array, "b h w c"],
    size: tuple[int, ...],
    *,
    align_corners: bool = True,
    precision: str | None = None,
) -> Float[Array, "b u v c"]:
    """Bilinear resize to `size`; `align_corners` keeps the corner pixels' centres in place, as DPT heads do.

    `precision` is of the products on accelerators, which otherwise round float32: "highest" for what must not be.

    Two small products with constant matrices: on every backend the backward pass is as quick as the forward
    one, which a gather's is not (measured on CPU: half the time of gathering, forward and backward together).
    """
    if x.shape[1:3] == tuple(size):
        return x
    rows, columns = (
        jnp.asarray(linear_weights(n, m, align_corners), x.dtype)
        for n, m in zip(size, x.shape[1:3], strict=True)
    )
    return jnp.einsum("uh,bhwc,vw->buvc", rows, x, columns, optimize="optimal", precision=precision)


def pooled(x: Float[Array, "b h w c"], size: tuple[int, ...]) -> Float[Array, "b u v c"]:
    """Adaptive average pooling, PyTorch's: cell i is the mean of all values that [i, i + 1) · h/u touches."""
    rows, columns = (
        jnp.asarray(_pooling_weights(n, m), x.dtype) for n, m in zip(size, x.shape[1:3], strict=True)
    )
    return jnp.einsum("uh,bhwc,vw->buvc", rows, x, columns, optimize="optimal")


def _pooling_weights(to: int, of: int) -> Float[np.ndarray, "to of"]:
    i, j = np.arange(to)[:, None], np.arange(of)
    inside = (j >= i * of // to) & (j < -(-(i + 1) * of // to))
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def window(
    x: Float[Array, "b h w c"],
    of: tuple[int, ...],
    start: tuple[int, ...],
    length: tuple[int, ...],
    *,
    align_corners: bool = True,
) -> Float[Array, "b u v c"]:
    """The part of a map that covers a window of the image which the whole map covers, about as finely sampled.

    `of` is the size of that image in pixels; the window begins at pixel `start` and is `length` pixels long. Resizing
    the result to `length` by `bilinear` gives what resizing `x` to `of` and cropping does, but for one more
    interpolation where the window's corners fall between samples of `x`.
    """
    if of == length:
        return x
    if x.shape[1:3] == tuple(of):
        (top, left), (height, width) = start, length
        return x[:, top : top + height, left : left + width]
    rows, columns = (
        jnp.asarray(_window_weights(n, *axis, align_corners), x.dtype)
        for n, *axis in zip(x.shape[1:3], of, start, length, strict=True)
    )
    return jnp.einsum("uh,bhwc,vw->buvc", rows, x, columns, optimize="optimal")


@functools.cache
def _window_weights(
    source: int, of: int, start: int, length: int, align_corners: bool
) -> Float[np.ndarray, "out source"]:
    out = max(1, round(source * length / of))
    if align_corners:
        pixel = start + np.arange(out) * (length - 1) / max(out - 1, 1)
        return _weights_at(pixel * (source - 1) / max(of - 1, 1), source)
    pixel = start + (np.arange(out) + 0.5) * length / out
    return _weights_at(pixel * source / of - 0.5, source)


@functools.cache
def linear_weights(out: int, source: int, align_corners: bool) -> Float[np.ndarray, "out source"]:
    """Linear weights of `out` samples along an axis of `source` samples, the border samples repeated outside."""
    if align_corners:
        return _weights_at(np.linspace(0.0, source - 1.0, out) if out > 1 else np.zeros(1), source)
    return _weights_at((np.arange(out) + 0.5) * source / out - 0.5, source)


def _weights_at(position: Float[np.ndarray, " out"], source: int) -> Float[np.ndarray, "out source"]:
    position = np.clip(position, 0.0, source - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(source))).astype(np.float32)


@functools.cache
def bicubic_weights(out: int, source: int, convention: str) -> Float[np.ndarray, "out source"]:
    """Cubic weights along one axis, in one of the three conventions that DINOv2 checkpoints assume.

    "offset": a = -0.75, no antialiasing, the scale (out + 0.1) / source passed explicitly (plain DINOv2).
    "size": the same kernel with the scale out / source (Hugging Face).
    "antialias": a = -0.5, the kernel widened when shrinking, weights renormalised (DINOv2 with registers).
    """
    # PyTorch keeps the step and the sample positions in float32; so does this, to agree in the last digit.
    step = float(np.float32(1 / ((out + 0.1) / source) if convention == "offset" else source / out))
    centre = (np.arange(out) + 0.5) * step
    if convention == "antialias":
        centre = centre.astype(np.float32).astype(np.float64) - 0.5
        stretch = max(step, 1.0)
        weights = _cubic((np.arange(source) - centre[:, None]) / stretch, a=-0.5)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    centre = (centre - 0.5).astype(np.float32).astype(np.float64)
    weights = np.zeros((out, source))
    for row, middle in enumerate(centre):
        for tap in range(math.floor(middle) - 1, math.floor(middle) + 3):
            weights[row, min(max(tap, 0), source - 1)] += _cubic(np.asarray(tap - middle), a=-0.75)
    return weights.astype(np.float32)


def _cubic(x: np.ndarray, *, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
