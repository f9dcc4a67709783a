"""How far a result would move with other frames and other drives: bootstrap intervals for video.

Frames of one video are alike, so drawing single frames anew makes intervals far too narrow: a hundred frames at
ten a second say little more than one. What varies from test to test is the sequence, and inside it the stretch of
road. Hence two stages (Davison and Hinkley, 1997, §3.8): whole sequences are drawn with replacement, and inside
every drawn sequence blocks of consecutive frames (circular block bootstrap, Politis and Romano, 1992). With one
sequence only the blocks are left, and the interval speaks of that drive alone; with many, the sequences decide. Two
or three sequences cannot tell how a fourth would be: the interval then hardly reaches beyond the sequences' own
figures, and is too narrow.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tdepth_jax.metrics.depth import METRICS, SUMS, from_sums, of_images
from tdepth_jax.metrics.protocols import AVERAGINGS, choice


def intervals(
    sums: Float[np.ndarray, "n *ranges sums"],
    averaging: str,
    sequences: np.ndarray | None = None,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of every metric, over sequences and blocks of frames within them.

    Args:
      sums: as for `depth.finish`, the images of a sequence in their order of time.
      averaging: one of `protocols.AVERAGINGS`.
      sequences: which sequence each image is of; None: all of one.
      samples: how many sets are drawn.
      level: share of the draws inside the interval.

    Returns:
      metric -> (low, high); nothing for fewer than two images with scored pixels.
    """
    choice(averaging, AVERAGINGS, "averaging")
    known = sums[..., 0].reshape(len(sums), -1).sum(1) > 0
    sums = sums[known]
    n = len(sums)
    if n < 2:
        return {}
    pooled = averaging == "pooled"
    rows = sums.reshape(n, -1, len(SUMS)).sum(1) if pooled else of_images(sums, averaging)
    names = np.zeros(n, int) if sequences is None else np.unique(sequences[known], return_inverse=True)[1]
    groups = [rows[names == name] for name in range(names.max() + 1)]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=samples)
    totals = np.zeros((samples, rows.shape[1]))
    weights = np.zeros((samples, 1))
    for group, often in zip(groups, times.T, strict=True):
        drawn, frames = _blocks(group, often, rng)
        if averaging == "per_sequence":  # a sequence weighs one, however many frames it has
            share = often / np.maximum(frames, 1)
            totals += drawn * share[:, None]
            weights += often[:, None]
        else:
            totals += drawn
            weights += frames[:, None]
    values = from_sums(totals) if pooled else totals / weights
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail], axis=0)
    return {m: (float(a), float(b)) for m, a, b in zip(METRICS, low, high, strict=True)}


def _blocks(
    rows: Float[np.ndarray, "n k"], often: np.ndarray, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "samples k"], np.ndarray]:
    """(sum of the rows drawn, how many) when the sequence is drawn `often` times in each sample.

    Blocks are √n frames long: their length and their number grow together.
    """
    n = len(rows)
    length = max(1, round(n**0.5))
    count = -(-n // length)
    wrapped = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(np.concatenate([rows, rows]), axis=0)])
    blocks = wrapped[length : length + n] - wrapped[:n]  # the sum of the block that starts at each frame
    sample = np.repeat(np.arange(len(often)), often * count)  # which each block drawn goes to
    starts = rng.integers(n, size=len(sample))
    columns = [np.bincount(sample, weights=column[starts], minlength=len(often)) for column in blocks.T]
    drawn = np.stack(columns, axis=1)
    return drawn, often * count * length
