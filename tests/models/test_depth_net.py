"""What the golden outputs do not say: ranges, sizes, precision, gradients, and what a wrong config is told."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_golden import compiled

from tdepth_jax.errors import UserError
from tdepth_jax.models.attention import attention
from tdepth_jax.models.depth import DepthConfig, DepthNet
from tdepth_jax.models.pose import PoseNet
from tdepth_jax.models.resize import bilinear, window
from tdepth_jax.models.vit import ViT

TINY = DepthConfig(
    backbone="custom", vit_dim=16, vit_depth=4, vit_heads=2, vit_patch=8, vit_pos_grid=4,
    dpt_channels=(8, 8, 8, 8), dpt_features=8, dpt_stride=2, dtype="float32",
)  # fmt: skip
IMAGE = np.random.default_rng(0).standard_normal((2, 27, 43, 1)).astype(np.float32)


def apply(config: DepthConfig, params, image=IMAGE) -> np.ndarray:
    return np.asarray(compiled(DepthNet(config).apply)(params, image))


@pytest.fixture(scope="module")
def params():
    return compiled(DepthNet(TINY).init)(jax.random.key(0), IMAGE)


def test_depth_has_the_image_size_and_lies_in_the_range(params):
    near = dataclasses.replace(TINY, min_depth=2.0, max_depth=5.0)
    depth = apply(near, params)
    assert depth.shape == IMAGE.shape
    assert 2.0 <= depth.min() < depth.max() <= 5.0
    np.testing.assert_array_equal(depth, apply(near, params, np.repeat(IMAGE, 3, axis=-1)))


def test_the_default_depth_is_that_of_the_lineage(params):
    params = jax.tree.map(lambda x: x, params)
    params["params"]["head"]["out_3"] = {"kernel": jnp.zeros((32, 1)), "bias": jnp.array([0.7])}
    np.testing.assert_allclose(apply(TINY, params), 1 / (10 / (1 + np.exp(-0.7)) + 0.01), rtol=1e-6)


def test_a_gain_scales_the_output_about_its_offset(params):
    """At the pixels of the head's own grid, where nothing is interpolated after the sigmoid."""

    def logit(**fields) -> np.ndarray:
        config = dataclasses.replace(TINY, dpt_stride=1, **fields)
        share = (1 / apply(config, params, IMAGE[:, :24, :40]) - 0.01) / 10
        return np.log(share / (1 - share))

    plain, scaled = logit(), logit(output_gain=0.15, output_offset=-2.0)
    np.testing.assert_allclose(scaled, 0.15 * plain - 2.0, atol=2e-5)


def test_padding_is_centred_zeros(params):
    padded = np.pad(IMAGE, ((0, 0), (2, 3), (2, 3), (0, 0)))
    np.testing.assert_allclose(apply(TINY, params), apply(TINY, params, padded)[:, 2:-3, 2:-3], rtol=1e-5)


def features_of(config: DepthConfig, params) -> tuple[np.ndarray, np.ndarray]:
    """(depth, what the head's last 1x1 convolution and a sigmoid of disparity make of the features)"""
    net = DepthNet(config)
    depth, features = compiled(lambda p, x: net.apply(p, x, features=True))(params, IMAGE)
    last = params["params"]["head"]["out_3"]
    sigmoid = 1 / (1 + np.exp(-(np.asarray(features) @ last["kernel"] + last["bias"])))
    return np.asarray(depth), 1 / (10 * sigmoid + 0.01)


def test_features_are_what_the_depth_is_made_of(params):
    """The image is padded on all four sides: the features cover what the depth covers, pixel on pixel."""
    config = dataclasses.replace(TINY, dpt_stride=1)
    depth, ours = features_of(config, params)
    np.testing.assert_array_equal(depth, apply(config, params))
    np.testing.assert_allclose(ours, depth, rtol=1e-5)


def test_coarser_features_keep_the_corners(params):
    depth, ours = features_of(TINY, params)
    assert ours.shape == (2, 14, 22, 1)  # half of 27 x 43
    corners = np.ix_(range(2), (0, -1), (0, -1))
    np.testing.assert_allclose(ours[corners], depth[corners], rtol=2e-2)
    np.testing.assert_allclose(bilinear(jnp.asarray(ours), (27, 43)), depth, rtol=0.2)


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_window_of_a_ramp_is_the_ramp_there(align_corners):
    """Whatever its resolution: a map whose values are pixel columns gives the columns of the window."""
    for width in (9, 16, 31, 64):
        column = np.linspace(0, 31, width) if align_corners else (np.arange(width) + 0.5) * 32 / width - 0.5
        ramp = jnp.asarray(np.broadcast_to(column[None, None, :, None], (1, 8, width, 1)), jnp.float32)
        part = window(ramp, (8, 32), (1, 10), (6, 13), align_corners=align_corners)
        assert part.shape == (1, 6, round(width * 13 / 32), 1)
        columns = bilinear(part, (6, 13), align_corners=align_corners)[0, 0, 2:-2, 0]  # no repeated border
        np.testing.assert_allclose(columns, np.arange(12, 21), atol=1e-4)


def test_a_linear_head_has_no_features():
    config = dataclasses.replace(TINY, head="dinov2_linear", output="bins")
    with pytest.raises(UserError, match="has no decoder"):
        DepthNet(config).init(jax.random.key(0), IMAGE, features=True)


def test_remat_changes_no_gradient():
    x = jnp.asarray(np.repeat(IMAGE[:1, :16, :24], 3, axis=-1))
    params = compiled(ViT(TINY.vit, (3,)).init)(jax.random.key(0), x)
    mean = lambda remat: lambda p: ViT(TINY.vit, (3,), remat=remat).apply(p, x)[0][0].mean()  # noqa: E731
    grads = [compiled(jax.grad(mean(remat)))(params) for remat in (False, True)]
    for a, b in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_bfloat16_stays_near(params):
    full, half = (apply(dataclasses.replace(TINY, dtype=d), params) for d in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert np.abs(half / full - 1).max() < 2e-2


def test_attention_and_its_gradient_equal_the_formula():
    q, k, v, g = (
        jnp.asarray(x) for x in np.random.default_rng(1).standard_normal((4, 2, 7, 3, 5)).astype(np.float32)
    )

    def formula(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(5), axis=-1)
        return jnp.einsum("bhnm,bmhd->bnhd", weights, v)

    ours, back = jax.vjp(attention, q, k, v)
    theirs, their_back = jax.vjp(formula, q, k, v)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for a, b in zip(back(g), their_back(g), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_bilinear_by_hand():
    ramp = jnp.arange(3.0)[None, :, None, None] * jnp.ones((1, 1, 2, 1))
    rows = bilinear(ramp, (5, 2))[0, :, 0, 0]  # corners stay: 0 and 2, evenly between
    np.testing.assert_allclose(rows, [0, 0.5, 1, 1.5, 2])
    rows = bilinear(ramp, (6, 2), align_corners=False)[0, :, 0, 0]
    np.testing.assert_allclose(rows, [0, 0.25, 0.75, 1.25, 1.75, 2])


def test_pose_starts_near_identity_and_sees_the_order():
    net = PoseNet(widths=(4, 8, 8))
    target, source = np.random.default_rng(2).standard_normal((2, 3, 32, 40, 1)).astype(np.float32)
    pose, params = compiled(net.init_with_output)(jax.random.key(0), target, source)
    assert pose.shape == (3, 6)
    assert 0 < np.abs(pose).max() < 0.05
    assert np.abs(pose - net.apply(params, source, target)).max() > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"backbone": "vitx"}, "model.backbone='vitx' is not known"),
        ({"head": "dpt"}, "model.head='dpt' is not known"),
        ({"output": "bins"}, "goes with the linear heads"),
        ({"vit_heads": 3}, "multiple of model.vit_heads=3"),
        ({"dpt_channels": (8, 8)}, "four model.dpt_channels"),
        ({"min_depth": 0.0}, "model.min_depth=0.0 must be above 0"),
    ],
)
def test_wrong_configs_are_told_why(change, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(TINY, **change)
