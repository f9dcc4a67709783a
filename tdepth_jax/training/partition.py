"""Parameters by name: flat dictionaries, first-match patterns, and the split into trainable and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tdepth_jax.errors import UserError, nearest

Flat = dict[str, Any]  # "depth/vit/blocks/attn/qkv/kernel" -> array


def flatten(tree: Mapping[str, Any]) -> Flat:
    return {
        "/".join(str(k.key) for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def split(flat: Mapping[str, Any], patterns: Sequence[str]) -> tuple[Flat, Flat]:
    """The entries whose whole path matches one of the patterns, and the rest.

    Raises:
      UserError: a pattern that matches nothing, which is always a mistake.
    """
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in flat):
            words = {"/".join(path.split("/")[: pattern.count("/") + 1]) for path in flat}
            raise UserError(f"the pattern {pattern!r} matches no parameter; {nearest(pattern, words)}")
    chosen = {path for path in flat if any(re.fullmatch(pattern, path) for pattern in patterns)}
    return (
        {path: leaf for path, leaf in flat.items() if path in chosen},
        {path: leaf for path, leaf in flat.items() if path not in chosen},
    )


def count(flat: Mapping[str, Any]) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in flat.values())


def summary(trainable: Mapping[str, Any], frozen: Mapping[str, Any]) -> str:
    """A table with one line per module (two levels deep): parameters, how many of them are trained."""
    rows: dict[str, list[int]] = {}
    for part, flat in enumerate((trainable, frozen)):
        for path, leaf in flat.items():
            row = rows.setdefault("/".join(path.split("/")[:-1][:2]), [0, 0])
            row[part] += int(np.prod(leaf.shape))
    rows["total"] = [sum(r[0] for r in rows.values()), sum(r[1] for r in rows.values())]
    width = max(map(len, rows))
    lines = [f"{'parameters':<{width}}  {'trained':>12}  {'frozen':>12}"]
    return "\n".join(lines + [f"{name:<{width}}  {t:>12,}  {f:>12,}" for name, (t, f) in rows.items()])
