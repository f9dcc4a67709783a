"""What ties a light radar-camera network to a large one: where they look, and how their depths are distributed.

XD-RCDepth (Sun et al., arXiv 2510.13565) names two losses, of which our sources hold no formula beyond what stands
here: "explainability-aligned" (saliency by Grad-CAM of teacher and student agree) and "depth-distribution" (regression
as soft classification over bins). Target, layer, normalisation and distance of the first and spacing, number and
temperature of the second are not stated: they are chosen here and in `systems/xdrc.py`. All losses are (sum, count).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""]
SPACINGS = ("linear", "log")

_LEAST = 1e-12  # length of a saliency map below which it says nothing


def grad_cam(feature: Float[Array, "b h w c"], gradient: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
    """Where a feature raises a scalar, from the scalar's gradient w.r.t. it: ReLU(Σ_c α_c A_c), α the gradient's mean
    over pixels (Grad-CAM, Selvaraju et al., ICCV 2017)."""
    feature, gradient = feature.astype(jnp.float32), gradient.astype(jnp.float32)
    share = gradient.mean(axis=(1, 2))
    return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", feature, share))


def unit(saliency: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Every map divided by its length, so that only where it is bright counts; a map of zeros stays one."""
    square = (saliency**2).sum(axis=(1, 2), keepdims=True)
    known = square > _LEAST**2
    return jnp.where(known, saliency / jnp.sqrt(jnp.where(known, square, 1.0)), 0.0)


def saliency_distance(
    student: Float[Array, "b h w"], teacher: Float[Array, "b h w"]
) -> tuple[Scalar, Scalar]:
    """1 - the cosine between the two maps, over images; in [0, 1], for no saliency is negative.

    The student's is resized (bilinear) to the teacher's where the sizes differ. Images in which the teacher's map is
    zero do not count.
    """
    if student.shape != teacher.shape:
        student = jax.image.resize(student, teacher.shape, "linear")
    known = ((teacher**2).sum(axis=(1, 2)) > _LEAST**2).astype(jnp.float32)
    cosine = (unit(student) * unit(teacher)).sum(axis=(1, 2))
    return ((1 - cosine) * known).sum(), known.sum()


def bin_centres(count: int, nearest: float, farthest: float, spacing: str) -> Float[Array, " k"]:
    """Centres of depth bins in metres, evenly in depth ("linear") or in its logarithm ("log")."""
    space = jnp.linspace if spacing == "linear" else jnp.geomspace
    return space(nearest, farthest, count)


def depth_distribution(
    student: Float[Array, "b h w 1"],
    teacher: Float[Array, "b h w 1"],
    centres: Float[Array, " k"],
    *,
    temperature: float,
    spacing: str,
) -> tuple[Scalar, Scalar]:
    """KL divergence of the student's distribution over bins from the teacher's, over pixels.

    A depth d is softmax_k(-|d - c_k| / temperature), distances in metres ("linear" spacing) or in logarithms of metres
    ("log"). With dense bins of the first this is nearly |Δ|/τ + exp(-|Δ|/τ) - 1: quadratic for small differences Δ,
    linear for large ones. Beyond the outermost centres it has no slope, so the centres must span what is predicted.
    """
    position = (lambda x: x) if spacing == "linear" else jnp.log

    def shares(depth: Array) -> Array:
        return jax.nn.log_softmax(-jnp.abs(position(depth) - position(centres)) / temperature)

    wanted, found = shares(teacher), shares(student)
    loss = (jnp.exp(wanted) * (wanted - found)).sum(axis=-1)
    return loss.sum(), jnp.float32(loss.size)


def radar_confidence(
    logits: Float[Array, "b h w 1"],
    radar: Float[Array, "b h w 1"],
    truth: Float[Array, "b h w 1"],
    *,
    patch: tuple[int, int],
    within: float = 0.4,
) -> tuple[Scalar, Scalar]:
    """Cross-entropy of a radar return's trustworthiness round it (CaFNet), over the pixels where it can be told.

    Those have true depth, and a return within `patch` (rows, columns) of them; they are right if the nearest such
    return is `within` metres of the truth. Depths are in metres, 0 = none.
    """
    far = jnp.where(radar > 0, radar, jnp.inf)
    window = (1, 2 * patch[0] + 1, 2 * patch[1] + 1, 1)
    near = jax.lax.reduce_window(far, jnp.inf, jax.lax.min, window, (1, 1, 1, 1), "SAME")
    known = (truth > 0) & jnp.isfinite(near)
    right = jnp.abs(jnp.where(known, near, 0.0) - truth) < within
    loss = -jnp.where(right, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
    return jnp.where(known, loss, 0.0).sum(), known.sum().astype(jnp.float32)
