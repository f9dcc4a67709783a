"""Backbones and heads against the reference PyTorch code (tests/parity/make_golden.py made the outputs)."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.models.convert import convert
from tdepth_jax.models.depth import DepthConfig, DepthNet
from tdepth_jax.models.mobilenet import MobileNetV2
from tdepth_jax.models.radar_light import batch_norm
from tdepth_jax.models.resize import bicubic_weights
from tdepth_jax.models.resnet import VARIANTS, ResNet, first_kernel
from tdepth_jax.models.vit import ViT, ViTConfig

BACKBONES = (
    *("dinov2", "dinov2_registers", "dinov2_swiglu", "dinov2_chunked"),
    *("hf_dinov2", "hf_swiglu", "hf_registers"),
)


# Five sizes for every code path; what differs by names or by the last activation alone gets two.
ALL_SIZES = ("dinov2", "dinov2_registers", "depth_anything_v2", "dinov2_dpt")


def sizes_of(name: str) -> tuple[tuple[int, int], ...]:
    return golden.SIZES if name in ALL_SIZES else golden.SIZES[-2:]


def load(name: str):
    """(parameters imported from the published names, what the file says of itself, the stored outputs)"""
    stored = dict(np.load(golden.FOLDER / f"{name}.npz"))
    spec, meta = (json.loads(bytes(stored.pop(key))) for key in ("spec", "meta"))
    return convert(golden.weights(spec)), meta, stored


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", BACKBONES)
def test_every_tap_of_every_backbone(name):
    imported, meta, stored = load(name)
    depth = meta["depth"]
    facts = imported.facts["vit"]
    said = {key: facts[key] for key in ("ffn", "registers", "pos_grid", "interpolation")}
    config = ViTConfig(golden.DIM, depth, golden.HEADS, golden.PATCH, **said)
    assert (facts["dim"], facts["depth"], facts["patch"]) == (golden.DIM, depth, golden.PATCH)
    params = {"params": imported.params["vit"]}

    @golden.compiled
    def tokens(x: jax.Array) -> jax.Array:
        """Every block's tokens, class token first, then the last block's normed: as stored."""
        raw = ViT(config, tuple(range(depth)), norm_taps=False).apply(params, x)
        (last,) = ViT(config, (depth - 1,), norm_taps=True).apply(params, x)
        return jnp.stack([jnp.concatenate([cls[:, None], patches], 1)[0] for patches, cls in (*raw, last)])

    for size in sizes_of(name):
        ours = np.asarray(tokens(jnp.asarray(golden.center_padded(golden.image(size)))))
        theirs = stored[f"tokens_{size[0]}_{size[1]}"]
        assert relative_error(ours, theirs) < 1e-5, size


@pytest.mark.parametrize("name", ["dinov2", "dinov2_registers", "dinov2_swiglu"])
def test_bfloat16_features_stay_near(name):
    """Per tap, the largest difference over the largest value: at most 2e-2."""
    imported, meta, _ = load(name)
    said = {key: imported.facts["vit"][key] for key in ("ffn", "registers", "pos_grid", "interpolation")}
    config = ViTConfig(golden.DIM, meta["depth"], golden.HEADS, golden.PATCH, **said)
    image = jnp.asarray(golden.image((70, 98)))
    for norm_taps in (False, True):
        full, half = (
            golden.compiled(ViT(config, tuple(range(meta["depth"])), norm_taps, jnp.dtype(dtype)).apply)(
                {"params": imported.params["vit"]}, image
            )
            for dtype in ("float32", "bfloat16")
        )
        for ours, theirs in zip(half, full, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert 0 < relative_error(np.asarray(a, np.float32), np.asarray(b)) < 2e-2


HEADS = {
    # name: (head, output, min, max) of the published model
    "depth_anything_v1": ("depth_anything_v1", "relu_disparity", 1e-6, 1e6),
    "depth_anything_v2": ("depth_anything_v2", "relu_disparity", 1e-6, 1e6),
    "depth_anything_v2_metric": ("depth_anything_v2", "metric_sigmoid", 1e-6, 20.0),
    "hf_depth_anything": ("depth_anything_v2", "relu_disparity", 1e-6, 1e6),
    "dinov2_dpt": ("dinov2", "relu_depth", 0.001, 10.0),
    "hf_dpt_dinov2": ("dinov2", "relu_depth", 0.001, 10.0),
    "dinov2_linear": ("dinov2_linear", "bins", 0.001, 10.0),
    "dinov2_linear4": ("dinov2_linear4", "bins", 0.001, 10.0),
}


@pytest.mark.parametrize("name", HEADS)
def test_depth_of_every_head(name):
    imported, meta, stored = load(name)
    head, output, low, high = HEADS[name]
    config = DepthConfig(
        backbone="custom", vit_dim=golden.DIM, vit_depth=meta["depth"], vit_heads=golden.HEADS,
        vit_pos_grid=golden.POS_GRID,
        interpolation=imported.facts["vit"]["interpolation"], head=head, output=output, dpt_channels=golden.CHANNELS,
        dpt_features=golden.FEATURES, min_depth=low, max_depth=high, dtype="float32",
    )  # fmt: skip
    apply = golden.compiled(DepthNet(config).apply)
    for size in sizes_of(name):
        ours = np.asarray(apply({"params": imported.params}, golden.image(size)))[0, :, :, 0]
        assert ours.shape == size
        ours = 1 / ours if output == "relu_disparity" else ours
        # The published models return the padded image's depth; every third pixel of it is stored.
        (top, left) = (-size[0] % golden.PATCH // 2, -size[1] % golden.PATCH // 2)
        kept = [
            (np.arange(n), np.arange(first, n + first)) for n, first in zip(size, (top, left), strict=True)
        ]
        rows, columns = (own[at % golden.PIXEL_STEP == 0] for own, at in kept)
        step = golden.PIXEL_STEP
        theirs = stored[f"depth_{size[0]}_{size[1]}"]
        theirs = theirs[-(-top // step) :, -(-left // step) :][: len(rows), : len(columns)]
        assert theirs.std() > 1e-3 * theirs.mean()
        assert relative_error(ours[np.ix_(rows, columns)], theirs) < 1e-4, size


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_every_map_of_a_resnet(name):
    imported, _, stored = load(name)
    assert imported.facts["resnet"]["variant"] == name
    variables = {"params": imported.params["resnet"], "batch_stats": imported.params["resnet_statistics"]}
    maps = jax.jit(ResNet(VARIANTS[name]).apply)(variables, golden.image((45, 67)))
    for i, ours in enumerate(maps):
        ours = np.asarray(ours[0, :, :, :: ours.shape[-1] // 8])
        assert relative_error(ours, stored[f"map_{i}"]) < 1e-5, i


def test_every_map_of_a_mobilenet():
    imported, _, stored = load("mobilenet_v2")
    assert [name for name, _ in imported.ignored] == ["classifier.1.weight", "classifier.1.bias"]
    net = MobileNetV2(batch_norm(False, jnp.float32))  # the student's
    variables = {
        "params": imported.params["mobilenet"],
        "batch_stats": imported.params["mobilenet_statistics"],
    }
    maps = jax.jit(net.apply)(variables, golden.image((45, 67)))
    for i, ours in enumerate(maps):
        ours = np.asarray(ours[0, :, :, :: ours.shape[-1] // 8])
        assert stored[f"map_{i}"].std() > 0.1
        assert relative_error(ours, stored[f"map_{i}"]) < 1e-5, i


def test_first_kernels_for_other_inputs():
    rgb = np.random.default_rng(0).standard_normal((7, 7, 3, 4)).astype(np.float32)
    gray, grays, pair = (np.asarray(first_kernel(jnp.asarray(rgb), c)) for c in (1, 2, 6))
    np.testing.assert_allclose(gray[:, :, 0], rgb.mean(2), rtol=1e-6)
    np.testing.assert_allclose(grays, np.repeat(gray, 2, axis=2) / 2, rtol=1e-6)
    np.testing.assert_allclose(pair[:, :, :3] + pair[:, :, 3:], rgb, rtol=1e-6)


def test_positions_are_resampled_as_pytorch_does():
    stored = load_positions()
    grid = np.random.RandomState(0).standard_normal((1, 2, 37, 37)).astype(np.float32)[0]
    for key, theirs in stored.items():
        convention, h, w = key.split("_")
        rows, columns = (bicubic_weights(int(n), 37, convention) for n in (h, w))
        ours = np.einsum("hi,cij,wj->chw", rows, grid, columns)
        assert np.abs(ours - theirs).max() < 1e-6 * np.abs(theirs).max(), key


def load_positions() -> dict[str, np.ndarray]:
    stored = dict(np.load(golden.FOLDER / "positions.npz"))
    return {key: value for key, value in stored.items() if key not in ("spec", "meta")}
