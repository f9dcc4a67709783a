"""Losses of labels and of the edges between them.

All return (sum, count). Pixels labelled 255 are ignored.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

IGNORE = 255
WIDTHS = ("one", "two")

Scalar = Float[Array, ""]


def cross_entropy(
    logits: Float[Array, "b h w n"],
    labels: Int[Array, "b h w"],
    weight: Float[Array, "b h w"] | None = None,
) -> tuple[Scalar, Scalar]:
    """-log of the labelled class's share, over the labelled pixels; a `weight` multiplies a pixel's loss and does not
    change what is divided by."""
    known = labels != IGNORE
    shares = jax.nn.log_softmax(logits.astype(jnp.float32))
    found = jnp.take_along_axis(shares, jnp.where(known, labels, 0)[..., None], axis=-1)[..., 0]
    found = found if weight is None else weight * found
    return -jnp.where(known, found, 0.0).sum(), known.sum().astype(jnp.float32)


def certainty(logits: Float[Array, "b h w n"], *, as_published: bool = False) -> Float[Array, "b h w"]:
    """The share of the most probable class, in [1/n, 1].

    HeatNet's code takes the softmax of a softmax, which of 13 classes gives nothing above 0.185: `as_published`.
    """
    shares = jax.nn.softmax(logits.astype(jnp.float32))
    return (jax.nn.softmax(shares) if as_published else shares).max(axis=-1)


def edge_labels(
    labels: Int[Array, "b h w"], size: tuple[int, int], *, width: str = "one"
) -> tuple[Float[Array, "b u v 1"], Float[Array, "b u v 1"]]:
    """(1 on the borders between classes, 1 where that is known), of masks brought to `size` first.

    The masks are reduced by nearest neighbour, then a pixel is an edge if its right or lower neighbour has another
    label (`width` "one": lines one pixel wide, as CEKD says of its edges, whose generator is not published), or any of
    its four neighbours ("two": both sides of the border, Hu et al.'s "regular" edges at radius 1). A pair with an
    ignored pixel is no border; pixels outside the image are nobody's neighbours.
    """
    h, w = labels.shape[1:]
    rows, columns = (((jnp.arange(n) + 0.5) * (m / n)).astype(int) for n, m in zip(size, (h, w), strict=True))
    small = labels[:, rows[:, None], columns]
    known = small != IGNORE
    down = (small[:, 1:] != small[:, :-1]) & known[:, 1:] & known[:, :-1]
    right = (small[:, :, 1:] != small[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    edge = jnp.pad(down, ((0, 0), (0, 1), (0, 0))) | jnp.pad(right, ((0, 0), (0, 0), (0, 1)))
    if width == "two":
        edge |= jnp.pad(down, ((0, 0), (1, 0), (0, 0))) | jnp.pad(right, ((0, 0), (0, 0), (1, 0)))
    return edge[..., None].astype(jnp.float32), known[..., None].astype(jnp.float32)


def edge_loss(
    logits: Float[Array, "b h w 1"],
    edges: Float[Array, "b h w 1"],
    known: Float[Array, "b h w 1"] | None = None,
    *,
    as_published: bool = False,
) -> tuple[Scalar, Scalar]:
    """Class-balanced cross-entropy of edges (CEKD eq. 3): -(1-β) e ln p - β (1-e) ln(1-p), β an image's share of edges.

    As published the map is made a probability twice, p = sigmoid(sigmoid(logits)), so that no p is below 0.5 or above
    0.73 and the loss never gets small.
    """
    logits = jax.nn.sigmoid(logits) if as_published else logits
    known = jnp.ones_like(edges) if known is None else known
    pixels = jnp.maximum(known.sum(axis=(1, 2, 3), keepdims=True), 1.0)
    share = (edges * known).sum(axis=(1, 2, 3), keepdims=True) / pixels
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    loss = -(1 - share) * edges * yes - share * (1 - edges) * no
    return (loss * known).sum(), known.sum()
