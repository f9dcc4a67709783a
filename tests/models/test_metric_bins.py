"""The metric-bins head: against MonoTher-Depth's code (tests/parity/make_metric_bins.py), and part by part."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest
from safetensors.numpy import save_file

from tdepth_jax.errors import UserError
from tdepth_jax.import_weights import import_weights
from tdepth_jax.models.bins import attracted, binomial
from tdepth_jax.models.convert import convert, model_settings
from tdepth_jax.models.depth import DepthConfig, DepthNet
from tdepth_jax.systems.pretrained import of_depth_net

TINY = DepthConfig(
    backbone="custom", vit_dim=16, vit_depth=4, vit_heads=2, vit_patch=8, vit_pos_grid=4,
    dpt_channels=(8, 8, 8, 8), dpt_features=8, output="metric_bins", min_depth=0.5, max_depth=40.0, bin_embedding=16,
    dtype="float32",
)  # fmt: skip
IMAGE = np.random.default_rng(0).standard_normal((2, 27, 43, 1)).astype(np.float32)
FEATURE_STEP = 17  # of the feature pixels stored


def published(centres: str) -> tuple[dict[str, np.ndarray], dict, dict[str, np.ndarray]]:
    """(a file's arrays, what it is of, the stored outputs)"""
    stored = dict(np.load(golden.FOLDER / f"metric_bins_{centres}.npz"))
    spec, meta = (json.loads(bytes(stored.pop(key))) for key in ("spec", "meta"))
    others = {
        "conditional_log_binomial.log_binomial_transform.k_idx": np.arange(64).reshape(1, 64, 1, 1),
        "conf_net.inc.double_conv.0.weight": np.zeros((64, 8, 3, 3)),
    }
    return golden.weights(spec) | others, meta, stored


def kept(size: tuple[int, int], step: int, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, columns, values) of the stored pixels of a padded image that lie in the image."""
    first = [-n % golden.PATCH // 2 for n in size]
    rows, columns = (np.flatnonzero((np.arange(n) + f) % step == 0) for n, f in zip(size, first, strict=True))
    top, left = (-(-f // step) for f in first)
    return rows, columns, stored[top : top + len(rows), left : left + len(columns)]


def nearly(ours: np.ndarray, theirs: np.ndarray) -> bool:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-2 * np.abs(theirs).mean()
    return np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("centres", "branch"), [("normed", "thermal"), ("normed", "rgb"), ("softplus", "thermal")]
)
def test_depth_and_features_of_the_publication(centres, branch):
    state, meta, stored = published(centres)
    imported = convert(state, branch=branch)
    settings = model_settings(imported.facts)
    assert (settings["head"], settings["output"]) == ("depth_anything_v1", "metric_bins")
    assert (settings["min_depth"], settings["max_depth"]) == (0.001, meta["max_depth"])
    # The tiny network has heads of width 12; published ones have 64, which is what the import assumes.
    net = DepthNet(DepthConfig(**settings | {"vit_heads": golden.HEADS, "dtype": "float32"}))
    apply = golden.compiled(lambda x: net.apply({"params": imported.params}, x, features=True))
    for size in golden.SIZES[-2:] if branch == "thermal" else golden.SIZES[-1:]:
        # The code was shown the picture in one branch and its negative in the other.
        sign = 1 if branch == "thermal" else -1
        depth, features = (np.asarray(x)[0] for x in apply(sign * golden.image(size)))
        assert depth.shape == (*size, 1)
        assert features.shape == (*size, 161)
        rows, columns, theirs = kept(size, golden.PIXEL_STEP, stored[f"{branch}_{size[0]}_{size[1]}"])
        assert nearly(depth[np.ix_(rows, columns)][..., 0], theirs), size
        if branch == "thermal":
            rows, columns, theirs = kept(size, FEATURE_STEP, stored[f"features_{size[0]}_{size[1]}"])
            assert nearly(features[np.ix_(rows, columns)], theirs), size


def test_every_array_of_a_file_has_a_place_and_a_reason():
    state, _, _ = published("normed")
    imported = convert(state)  # the thermal branch
    assert len(imported.mapped) + len(imported.ignored) == len(state)
    assert all("_extra" not in name for name, _, _ in imported.mapped)
    reasons = dict(imported.ignored)
    assert reasons["conv2_extra.weight"] == "of the rgb branch (--branch=rgb takes it)"
    assert "confidence network" in reasons["conf_net.inc.double_conv.0.weight"]
    # Of two outputs for every attractor the published code uses the first.
    ours = imported.params["metric_bins"]["attract_1"]["out"]["kernel"]
    np.testing.assert_array_equal(ours, state["attractors.1._net.2.weight"][::2, :, 0, 0].T)
    assert ("attractors.1._net.2.weight", "metric_bins/attract_1/out/kernel", (128, 8)) in imported.mapped


def test_the_door_writes_the_parts_a_network_starts_from(tmp_path):
    state, _, _ = published("normed")
    save_file({name: np.asarray(value, np.float32) for name, value in state.items()}, tmp_path / "file")
    report = import_weights(tmp_path / "file", output=tmp_path / "rgb", branch="rgb")
    assert "head, metric_bins, vit, import.json" in report
    assert "conv2.weight: ignored, of the thermal branch (--branch=thermal takes it)" in report
    wanted = of_depth_net("depth", str(tmp_path / "rgb"), output="metric_bins")
    assert {prefix.split("/")[1] for prefix in wanted} == {"vit", "head", "metric_bins"}
    assert all((tmp_path / "rgb" / prefix.split("/")[1]).is_dir() for prefix in wanted)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {k: v for k, v in s.items() if "_extra" not in k}, "the file holds one network"),
        (lambda s: {k: v for k, v in s.items() if "depth_head" not in k}, "no decoder that it stands on"),
        (lambda s: {k: v for k, v in s.items() if "projectors_extra.2" not in k}, "partial: embed_2/hidden/bias"),
        (lambda s: s | {"conv2_extra.bias": np.zeros(3)}, r"bottleneck/bias is \(3,\)"),
        (lambda s: s | {"attractors_extra.4._net.0.bias": np.zeros(3)}, "attract_4/hidden/bias has no place"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_told_why(change, sentence):
    with pytest.raises(UserError, match=sentence):
        convert(change(published("normed")[0]), branch="rgb")


def test_attraction_by_hand():
    """Two points at distances 0.1 and -0.2: (0.1 / (1 + 300 0.01) + -0.2 / (1 + 300 0.04)) / 2."""
    moved = attracted(jnp.array([0.5]), jnp.array([0.6, 0.3]), 300.0)
    np.testing.assert_allclose(moved, 0.5 + (0.1 / 4 - 0.2 / 13) / 2, rtol=1e-6)


def test_attraction_keeps_the_order_of_centres():
    rng = np.random.default_rng(1)
    centres = np.sort(rng.random((200, 64)), axis=-1).astype(np.float32)
    for count in (1, 16):
        moved = np.asarray(
            attracted(jnp.asarray(centres), jnp.asarray(rng.random((200, count)) * 1.2), 300.0)
        )
        assert np.abs(moved - centres).max() > 1e-2
        assert (np.diff(moved, axis=-1) > -2e-7).all()  # but for rounding


def test_sixteen_attractors_need_no_more_memory_than_one():
    """Nothing of bins x attractors is kept for the gradient."""

    def needed(count: int) -> int:
        loss = lambda c, p: attracted(c, p, 300.0).sum()  # noqa: E731
        shapes = (jax.ShapeDtypeStruct((32, 48, n), np.float32) for n in (64, count))
        return (
            jax.jit(jax.grad(loss, argnums=(0, 1)))
            .lower(*shapes)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    assert needed(16) < 3 * 32 * 48 * 64 * 4


def test_the_binomial_by_the_formula():
    """In float64, at the edges of the clipping, too; at a share of one half the mean bin is the middle one."""
    share, temperature = np.array([0.0, 0.02, 0.5, 1.0])[:, None], np.array([1.0, 0.0212, 3.0, 50.0])[:, None]
    k, most = np.arange(64), 63
    with np.errstate(divide="ignore", invalid="ignore"):
        coefficient = (
            most * np.log(most) - np.nan_to_num(k * np.log(k)) - np.nan_to_num((most - k) * np.log(most - k))
        )
    yes, no = np.log(np.clip(share, 1e-4, 1)), np.log(np.clip(1 - share, 1e-4, 1))
    logits = (coefficient + k * yes + (most - k) * no) / temperature
    theirs = np.exp(logits - logits.max(-1, keepdims=True))
    theirs /= theirs.sum(-1, keepdims=True)
    ours = np.asarray(binomial(*(jnp.asarray(x, jnp.float32) for x in (share, temperature)), 64))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(ours[2] @ k, 31.5, rtol=1e-4)


def drawn(net: DepthNet) -> dict:
    """Random parameters, which takes less time than compiling their initialisation."""
    rng = np.random.default_rng(2)

    def draw(path, like):
        fan_in = np.prod(like.shape[:-1]) if path[-1].key == "kernel" else 10.0
        return jnp.asarray(rng.standard_normal(like.shape) / np.sqrt(fan_in), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(net.init, jax.random.key(0), IMAGE))


@pytest.mark.parametrize(
    ("fields", "channels"),
    [
        ({"dpt_stride": 2, "n_bins": 5, "bin_attractors": (3, 2, 2, 1)}, 49),
        ({"head": "dinov2", "bin_embedding": 8}, 41),
        ({"bin_centres": "softplus", "max_depth": 0.7}, 49),
    ],
)  # fmt: skip
def test_depth_lies_in_the_range_whatever_the_sizes(fields, channels):
    net = DepthNet(dataclasses.replace(TINY, **fields))
    apply = golden.compiled(lambda p, x: net.apply(p, x, features=True))
    depth, features = apply(drawn(net), 3 * IMAGE)
    assert depth.shape == IMAGE.shape
    assert features.shape[-1] == channels
    assert net.config.min_depth <= depth.min() < depth.max() <= net.config.max_depth


def test_every_parameter_learns_and_bfloat16_stays_near():
    nets = [DepthNet(dataclasses.replace(TINY, dtype=dtype)) for dtype in ("float32", "bfloat16")]
    params = drawn(nets[0])

    def spread(params):
        depth = nets[0].apply(params, IMAGE)
        return jnp.log(depth).var(), depth

    gradients, full = golden.compiled(jax.grad(spread, has_aux=True))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients["params"]["metric_bins"]):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    half = golden.compiled(nets[1].apply)(params, IMAGE)
    assert half.dtype == np.float32
    assert np.abs(np.asarray(half) / np.asarray(full) - 1).max() < 3e-2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bin_centres": "hybrid"}, "model.bin_centres='hybrid' is not known"),
        ({"n_bins": 1}, "model.n_bins of at least 2"),
        ({"bin_attractors": (4, 2)}, "must be four counts"),
        ({"bin_temperatures": (5.0, 1.0)}, "the smaller above 0 first"),
        ({"output_gain": 0.15}, "leave model.output_gain at 1"),
        ({"head": "dinov2_linear"}, "goes with the linear heads"),
    ],
)
def test_wrong_configs_are_told_why(change, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(TINY, **change)
