"""Pairs of views in self-supervision: a source, warped by depth and motion, should look like its target."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from tdepth_jax.geometry import camera, warp
from tdepth_jax.losses import photometric

# Ordered pairs (target, source) of a snippet (t-k, t, t+k), both directions: the lineage sums these four.
PAIRS = ((1, 0), (1, 2), (0, 1), (2, 1))


@dataclasses.dataclass(frozen=True)
class Views:
    """What the pairs see: the target image, the warped source, the unwarped one; how far their depths disagree."""

    target: Float[Array, "p b h w c"]
    warped: Float[Array, "p b h w c"]
    source: Float[Array, "p b h w c"]
    inconsistency: Float[Array, "p b h w 1"]
    valid: Bool[Array, "p b h w 1"]


def pair_views(
    images: Float[Array, "b t h w c"],
    depth: Float[Array, "b t h w 1"],
    source_from_target: Float[Array, "p b 4 4"],
    K: Float[Array, "b 3 3"],
    valid: Bool[Array, "b t h w 1"] | None = None,
    *,
    padding: str,
) -> Views:
    """Warps the source of every pair of `PAIRS` into its target, all pairs in one pass.

    `valid` marks the pixels of each frame that may be used; a warped pixel needs them at both ends. Pairs are folded
    into the batch behind its examples, never before: devices that share out the batch then keep what is theirs.
    """
    targets, sources = zip(*PAIRS, strict=True)
    p, b, channels = len(PAIRS), len(images), images.shape[-1]

    def pick(x: Array, which: tuple[int, ...]) -> Array:
        return rearrange(jnp.stack([x[:, i] for i in which], axis=1), "b p h w c -> (b p) h w c")

    K = jnp.repeat(K, p, axis=0)
    pixels, z = warp.reproject(pick(depth, targets), rearrange(source_from_target, "p b i j -> (b p) i j"), K)
    carried = [pick(images, sources), pick(depth, sources)]
    if valid is not None:
        usable = valid.astype(images.dtype)
        carried.append(pick(usable, sources))
    sampled, inside = warp.sample(jnp.concatenate(carried, axis=-1), pixels, padding=padding)
    mask = inside & (z > camera.MIN_DEPTH)
    if valid is not None:
        mask &= (pick(usable, targets) > 0.5) & (sampled[..., channels + 1 :] > 0.99)
    source_depth = sampled[..., channels : channels + 1]
    inconsistency = photometric.depth_inconsistency(jnp.maximum(z, camera.MIN_DEPTH), source_depth)
    views = (pick(images, targets), sampled[..., :channels], carried[0], inconsistency, mask)
    return Views(*(rearrange(v, "(b p) h w c -> p b h w c", b=b) for v in views))


def pair_terms(
    views: Views,
    *,
    alpha: float,
    auto_mask: str,
    detach_weight: bool,
    least_valid: float,
    minimum: bool,
) -> dict[str, tuple[Float[Array, " p"], Float[Array, " p"]]]:
    """Photometric and geometric terms (sum, count), one entry per pair: each pair is a mean of its own.

    Args:
      alpha: share of SSIM in the photometric distance.
      auto_mask: drops pixels that the unwarped source explains better, by "mix" (SSIM + L1), "l1" or "off".
      detach_weight: whether the weight 1 - inconsistency passes no gradient.
      least_valid: a pair with a smaller share of its pixels left is not used.
      minimum: whether pairs that share a target compete for each of its pixels, and the best explains it (Godard et
        al. 2019): what one source cannot see, the other may. Each such pair then carries the mean over all of them.
    """
    fold = lambda x: rearrange(x, "p b h w c -> (b p) h w c")  # noqa: E731
    unfold = lambda x: rearrange(x, "(b p) h w c -> p b h w c", p=len(PAIRS))  # noqa: E731
    target, warped, source = fold(views.target), fold(views.warped), fold(views.source)
    distance = photometric.photometric_distance(target, warped, alpha=alpha)
    weight = 1.0 - fold(views.inconsistency)
    weight = jax.lax.stop_gradient(weight) if detach_weight else weight
    value, valid, moves = unfold(distance * weight), views.valid, None
    if auto_mask != "off":
        mix = alpha if auto_mask == "mix" else 0.0
        moving = unfold(photometric.photometric_distance(target, warped, alpha=mix))
        still = unfold(photometric.photometric_distance(target, source, alpha=mix))
        if minimum:
            moving, still = _least(jnp.where(valid, moving, jnp.inf)), _least(still)
        moves = moving < still
    mask = valid if moves is None else valid & moves
    photometric_mask = mask
    if minimum:
        value, photometric_mask = _best(unfold(distance), value, valid)
        photometric_mask = photometric_mask if moves is None else photometric_mask & moves
    reduce = jax.vmap(lambda value, mask: photometric.masked_sum(value, mask, least=least_valid))
    share = photometric_mask.mean(axis=(1, 2, 3, 4))
    return {
        "photometric": reduce(value, photometric_mask),
        "geometry": reduce(views.inconsistency, mask),
        "valid_share": (share, jnp.full_like(share, len(PAIRS))),  # logged: how much of the image teaches
    }


def _rivals(pair: int) -> jnp.ndarray:
    """The pairs that share this pair's target, itself among them."""
    return jnp.array([i for i, (target, _) in enumerate(PAIRS) if target == PAIRS[pair][0]])


def _least(cost: Float[Array, "p b h w 1"]) -> Float[Array, "p b h w 1"]:
    """The least of a pair's and its rivals' costs, at each pixel."""
    return jnp.stack([cost[_rivals(pair)].min(axis=0) for pair in range(len(PAIRS))])


def _best(
    distance: Float[Array, "p b h w 1"], value: Float[Array, "p b h w 1"], valid: Bool[Array, "p b h w 1"]
) -> tuple[Float[Array, "p b h w 1"], Bool[Array, "p b h w 1"]]:
    """The value of whichever rival is at the least distance among those valid, and where there is one."""
    distance = jax.lax.stop_gradient(jnp.where(valid, distance, jnp.inf))
    values = []
    for pair in range(len(PAIRS)):
        rivals = _rivals(pair)
        winner = distance[rivals].argmin(axis=0)
        values.append(jnp.take_along_axis(value[rivals], winner[None], axis=0)[0])
    return jnp.stack(values), jnp.isfinite(_least(distance))
