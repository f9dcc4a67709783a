"""What ties a student to a teacher: logits, features, and how features look alike.

All return (sum, count) and are minimal where student and teacher agree. The teacher's side passes no gradient as long
as it is handed over as a target.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.models.resize import pooled

Scalar = Float[Array, ""]


def soft_cross_entropy(
    student: Float[Array, "b h w n"], teacher: Float[Array, "b h w n"], *, temperature: float
) -> tuple[Scalar, Scalar]:
    """-Σ softmax(teacher/T) ln softmax(student/T), over pixels (CEKD's L_kdce, without a factor T²).

    A cross-entropy: where both agree it is the teacher's entropy, not 0.
    """
    wanted = jax.nn.softmax(teacher / temperature)
    loss = -(wanted * jax.nn.log_softmax(student / temperature)).sum(axis=-1)
    return loss.sum(), jnp.float32(loss.size)


def pairwise_similarity(
    student: Float[Array, "b h w c"], teacher: Float[Array, "b h w d"]
) -> tuple[Scalar, Scalar]:
    """Squared distance between the two maps' matrices of cosines between all pairs of pixels, over pairs and images.

    CEKD eq. (4) with the sign that is meant; the structure loss of Liu et al. (CVPR 2019). Lengths pass no gradient, as
    in the public code. The channels of the two may differ in number, their sizes not.
    """
    distance = (_cosines(teacher) - _cosines(student)) ** 2
    return distance.sum(), jnp.float32(distance.size)


def _cosines(x: Array) -> Float[Array, "b p p"]:
    x = x.astype(jnp.float32)
    length = jnp.sqrt((x**2).sum(axis=-1, keepdims=True)) + 1e-8
    unit = (x / jax.lax.stop_gradient(length)).reshape(len(x), -1, x.shape[-1])
    return jnp.einsum("bpc,bqc->bpq", unit, unit)


def feature_distance(
    student: Float[Array, "b h w c"], teacher: Float[Array, "b h w c"], *, per_pixel: bool = False
) -> tuple[Scalar, Scalar]:
    """Squared distance of two features over all their values, as CEKD's code, or, as its eq. (5), over pixels alone."""
    distance = (student - teacher).astype(jnp.float32) ** 2
    count = distance.size // (distance.shape[-1] if per_pixel else 1)
    return distance.sum(), jnp.float32(count)


def uncertain_distance(
    student: Float[Array, "b h w c"], teacher: Float[Array, "b h w c"], log_variance: Float[Array, "b c"]
) -> tuple[Scalar, Scalar]:
    """Prime-aware adaptive distillation (PAD, Zhang et al., ECCV 2020): what the student finds hard weighs less.

    d² / σ² + ln σ² over all values, ln σ² being what the student expects of each channel of an image; may be negative.
    PAD was published for one vector an image: of a map, all pixels share their channel's σ.
    """
    distance = (student - teacher).astype(jnp.float32) ** 2
    spread = log_variance[:, None, None].astype(jnp.float32)
    loss = distance / (jnp.exp(spread) + 1e-6) + spread
    return loss.sum(), jnp.float32(loss.size)


def attended_distance(
    student: list[Float[Array, "b h w c"]],
    teacher: list[Float[Array, "b u v d"]],
    shares: Float[Array, "b t s"],
) -> tuple[Scalar, Scalar]:
    """Attention-based feature distillation (AFD, Ji et al., AAAI 2021): every teacher map is matched with all the
    student's, by `shares`, which sum to 1 over the student's maps.

    A map is compared as the length-1 vector of its pixels' mean squares over channels, the student's pooled to the
    teacher's size before it gets its length; a pair's distance is the mean square over pixels, and the teacher's maps
    are summed, not averaged, as in the authors' code.
    """
    total = jnp.zeros(())
    for i, theirs in enumerate(teacher):
        size = theirs.shape[1:3]
        goal = _energy(theirs, size)
        for j, ours in enumerate(student):
            distance = ((_energy(ours, size) - goal) ** 2).mean(axis=-1)
            total += (shares[:, i, j] * distance).sum()
    return total, jnp.float32(len(shares))


def _energy(x: Array, size: tuple[int, ...]) -> Float[Array, "b p"]:
    flat = (x.astype(jnp.float32) ** 2).mean(axis=-1)
    flat = pooled(flat[..., None], size).reshape(len(x), -1)
    return flat / jnp.maximum(jnp.linalg.norm(flat, axis=-1, keepdims=True), 1e-12)
