"""Adapters: identity at the start, the published counts, exact merging, nothing of the backbone touched."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_golden import compiled

from tdepth_jax.errors import UserError
from tdepth_jax.models.adapters import AdapterConfig, merge_lora
from tdepth_jax.models.vit import VARIANTS, ViT, ViTConfig

pytestmark = pytest.mark.usefixtures("quick")

TINY = ViTConfig(dim=24, depth=2, heads=2, patch=4, registers=2, pos_grid=3)
BOTH = AdapterConfig(lora_rank=3, lora_on=("q", "v", "fc1", "proj"), conv_width=4)
IMAGE = np.random.default_rng(0).standard_normal((2, 12, 20, 3)).astype(np.float32)


def leaves(tree) -> dict[str, jax.Array]:
    return {"/".join(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def net(adapters: AdapterConfig | None = None) -> ViT:
    return ViT(dataclasses.replace(TINY, adapters=adapters or AdapterConfig()), taps=(0, 1))


def fresh(adapters: AdapterConfig | None, seed: int):
    return compiled(net(adapters).init)(jax.random.key(seed), IMAGE)["params"]


def taps(adapters: AdapterConfig | None, params):
    return compiled(net(adapters).apply)({"params": params}, IMAGE)


def test_counts_are_those_of_the_paper():
    config = dataclasses.replace(VARIANTS["vitb"], adapters=AdapterConfig(lora_rank=4, conv_width=4))
    shapes = jax.eval_shape(ViT(config, (11,)).init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    count = lambda pattern: sum(x.size for path, x in leaves(shapes).items() if re.search(pattern, path))  # noqa: E731
    assert count("/lora_") == 12 * 2 * 2 * 768 * 4 == 147_456
    assert count("/conv_adapter/") == 12 * (2 * 9 * 768 * 4 + 768 + 4) == 672_816


def test_a_new_adapter_changes_nothing():
    params = fresh(BOTH, 1)
    plain = {
        path: {k: v for k, v in value.items() if not k.startswith(("lora_", "conv_adapter"))}
        if path == "blocks"
        else value
        for path, value in params.items()
    }
    assert set(leaves(plain)) == set(leaves(fresh(None, 1)))
    for ours, theirs in zip(taps(BOTH, params), taps(None, plain), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_merging_is_exact_to_rounding():
    only_lora = AdapterConfig(lora_rank=3, lora_on=("q", "k", "v", "proj", "fc1", "fc2"))
    params = fresh(only_lora, 2)
    keys = iter(jax.random.split(jax.random.key(3), 99))
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 0.3 * jax.random.normal(next(keys), x.shape) if path[-1].key == "b" else x, params
    )
    adapted = taps(only_lora, params)
    merged = taps(None, merge_lora(params))
    unmerged = taps(None, fresh(None, 2))
    for a, m, u in zip(adapted, merged, unmerged, strict=True):
        assert np.abs(a[0] - u[0]).max() > 0.1
        np.testing.assert_allclose(a[0], m[0], atol=2e-5)
        np.testing.assert_allclose(a[1], m[1], atol=2e-5)


def test_conv_adapter_sees_patches_only():
    params = fresh(BOTH, 4)
    up = params["blocks"]["conv_adapter"]["up"]
    up["kernel"] = 0.1 * jax.random.normal(jax.random.key(5), up["kernel"].shape)
    before = taps(dataclasses.replace(BOTH, conv_width=0), params)[0]
    after = taps(BOTH, params)[0]
    np.testing.assert_array_equal(before[1], after[1])  # the class token of the first block
    assert np.abs(before[0] - after[0]).min(axis=(0, 2)).max() > 0


def test_an_unknown_projection_is_named():
    with pytest.raises(UserError, match="'query'"):
        AdapterConfig(lora_rank=4, lora_on=("query",))
