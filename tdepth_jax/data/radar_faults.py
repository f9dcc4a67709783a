"""Radar that fails, to see what a network does without it: batches whose returns are gone, or all wrong."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

KINDS = ("given", "missing", "wrong")
RANGE = (2.0, 80.0)  # metres, of wrong returns


def degrade(batch: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The batch ("radar/<column>" [b, n], "radar/valid" [b, n]) with its radar "missing", or "wrong".

    Wrong returns are seen where the true ones are, each at a random distance along its own ray: nothing that they say
    of depth is true. What is drawn depends on the returns alone, so that it is the same in every evaluation.
    """
    batch = dict(batch)
    if kind == "given" or "radar/valid" not in batch:
        return batch
    if kind == "missing":
        return batch | {"radar/valid": np.zeros_like(batch["radar/valid"])}
    z = np.asarray(batch["radar/z"])
    drawn = np.stack(
        [np.random.default_rng(zlib.crc32(row.tobytes())).uniform(*RANGE, row.shape) for row in z]
    )
    factor = (drawn / np.maximum(z, 1e-3)).astype(np.float32)
    return batch | along_rays(batch, factor)


def along_rays(batch: Mapping[str, Any], factor: Any) -> dict[str, Any]:
    """The positions of the returns, times `factor` [b, n]."""
    return {key: batch[key] * factor for key in ("radar/x", "radar/y", "radar/z") if key in batch}
