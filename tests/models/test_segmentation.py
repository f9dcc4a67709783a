"""The networks that label pixels: sizes, shapes, and the published modules' outputs (tests/parity/make_cekd.py)."""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import models_cekd as cekd
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.models.botnet import AttentionConfig, AttentionStage
from tdepth_jax.models.edges import EdgeDetector
from tdepth_jax.models.enhancement import ThermalEnhancement
from tdepth_jax.models.resnet import ResNet
from tdepth_jax.models.segmentation import SegConfig, SegNet, _Stage

RTFNET = SegConfig(last="conv", skips=False, edges="none")
CENET = SegConfig()
EKNET = SegConfig(rgb=False, edges="none", enhancement=True)
TINY = SegConfig(
    encoder="resnet18", width=4, attention_heads=2, attention_width=4, position_size=(64, 96), dtype="float32"
)
norm = partial(nn.BatchNorm, True, momentum=0.9, epsilon=1e-5)


def shapes(config: SegConfig, size: tuple[int, int], classes: int = 9):
    """(parameters, {output: shape}) without allocating any."""
    net = SegNet(config, classes)
    images = [jax.ShapeDtypeStruct((1, *size, c), jnp.float32) for c in (1, 3)[: 1 + config.rgb]]
    variables = jax.eval_shape(net.init, jax.random.key(0), *images)
    outputs = jax.eval_shape(net.apply, variables, *images)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    outputs["deepest"] = outputs.pop("maps")[-1]
    return count, {name: x.shape[1:] for name, x in outputs.items()}


@pytest.mark.parametrize(
    ("config", "count"), [(RTFNET, 185_238_501), (CENET, 245_114_254), (EKNET, 190_460_622)]
)
def test_parameters_and_maps_are_the_published_ones(config, count):
    found, maps = shapes(config, (480, 640))
    assert found == count
    edges = {"edges": (120, 160, 1)} if config.edges != "none" else {}
    assert maps == {"deepest": (15, 20, 2048), "hint": (120, 160, 256), "logits": (480, 640, 9)} | edges


def test_other_encoders():
    assert shapes(dataclasses.replace(CENET, encoder="resnet152"), (480, 640))[1]["deepest"] == (15, 20, 2048)
    maps = shapes(dataclasses.replace(CENET, encoder="resnet34"), (480, 640))[1]
    assert maps["deepest"] == (15, 20, 512)
    assert maps["hint"] == (120, 160, 64)
    # The ResNets by torchvision's count, without their last layer: 152 against 50, two of them.
    more = shapes(dataclasses.replace(CENET, encoder="resnet152"), (480, 640))[0] - 245_114_254
    assert more == 2 * (60_192_808 - 25_557_032)


@pytest.mark.parametrize("size", [(64, 96), (70, 93), (32, 32), (128, 64)])
def test_any_size(size):
    net = SegNet(TINY, 5)
    images = jnp.ones((2, *size, 1)), jnp.ones((2, *size, 3))
    variables = jax.eval_shape(
        net.init, jax.random.key(0), jnp.ones((1, 64, 96, 1)), jnp.ones((1, 64, 96, 3))
    )
    found = jax.eval_shape(net.apply, variables, *images)  # whose tables are those of another size
    quarter = tuple(-(-n // 4) for n in size)
    assert found["logits"].shape == (2, *size, 5)
    assert found["edges"].shape == (2, *quarter, 1)
    assert found["hint"].shape[1:3] == quarter


@pytest.fixture(scope="module")
def tiny():
    """(variables, thermal, rgb, compiled network) of TINY with three classes."""
    net = SegNet(TINY, 3)
    thermal, rgb = (np.random.RandomState(c).rand(1, 64, 96, c).astype(np.float32) for c in (1, 3))
    variables = golden.compiled(net.init)(jax.random.key(0), thermal, rgb)
    return variables, thermal, rgb, golden.compiled(partial(net.apply, capture_intermediates=_encoders))


def _encoders(module, method) -> bool:
    return isinstance(module, ResNet)


def test_padding_does_not_move_the_labels(tiny):
    variables, thermal, rgb, apply = tiny
    black = [np.concatenate([x[:, :50], 0 * x[:, 50:]], axis=1) for x in (thermal, rgb)]
    padded = apply(variables, *black)[0]["logits"][:, :50]
    np.testing.assert_allclose(apply(variables, thermal[:, :50], rgb[:, :50])[0]["logits"], padded, atol=1e-5)
    assert np.abs(apply(variables, thermal, rgb)[0]["logits"][:, :50] - padded).max() > 1e-4


@pytest.mark.parametrize(
    ("edges", "share"),
    [("E123D3", 4), ("E123D2", 2), ("D234D2", 2), ("E2D3", 4), ("E1D2", 2), ("D2D2", 2), ("D3D3", 4)],
)
def test_edges_go_in_and_come_out_where_they_are_told(edges, share):
    """The seven positions of the paper's Table I; its eighth row has no detector."""
    count, maps = shapes(dataclasses.replace(TINY, edges=edges), (64, 96))
    assert maps["edges"] == (64 // share, 96 // share, 1)
    assert maps["hint"][:2] == (64 // share, 96 // share)
    none = shapes(dataclasses.replace(TINY, edges="none"), (64, 96))[0]
    # By hand: 1x1 and BN, 1x1, four 3x3, 1x1 to 4, 3x3, 1x1 to 1, for the channels of every input.
    width = {"E1": 4, "E2": 4, "E3": 8, "D4": 8, "D3": 4, "D2": 2}
    size = lambda c: (c * c + c) + 2 * c + (c * c + c) + 36 * c * c + (4 * c + 4) + 36 + (c + 1)  # noqa: E731
    inputs = [edges[0] + digit for digit in edges[1:-2]]
    assert count - none == sum(size(width[i]) for i in inputs) + (len(inputs) + 1) * (len(inputs) > 1)


def test_the_edge_map_is_added_to_the_teaching_feature(tiny):
    variables, thermal, rgb, apply = tiny
    found, _ = apply(variables, thermal, rgb)
    loud = jax.tree.map(lambda x: x, variables)
    loud["params"]["decoder"]["edges"]["edge"]["bias"] += 30.0  # every edge is 1
    added = apply(loud, thermal, rgb)[0]["hint"] - found["hint"]
    expected = 1.0 - jax.nn.sigmoid(found["edges"])
    np.testing.assert_allclose(added, jnp.broadcast_to(expected, added.shape), atol=1e-5)


def test_the_rgb_encoder_sees_the_thermal_maps_and_not_the_other_way_round(tiny):
    variables, thermal, rgb, apply = tiny

    def maps(*images):
        found, seen = apply(variables, *images)
        return found["maps"][4], [seen["intermediates"][name]["__call__"][0] for name in ("thermal", "rgb")]

    deepest, (heat, fused) = maps(thermal, rgb)
    _, (same, _) = maps(thermal, 1 - rgb)
    for a, b in zip(heat, same, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(deepest, fused[4])
    assert np.abs(maps(0 * thermal, rgb)[0] - deepest).max() > 1e-3


def test_only_the_published_logits_are_never_negative():
    x = np.random.RandomState(0).standard_normal((1, 4, 4, 8)).astype(np.float32)
    least = {}
    for relu in (False, True):
        stage = _Stage(3, norm, jnp.float32, relu=relu)
        variables = stage.init(jax.random.key(0), x)
        least[relu] = float(stage.apply(variables, x).min())
    assert least[True] == 0.0
    assert least[False] < 0
    assert SegConfig().relu_logits is False


@pytest.mark.parametrize("name", ["attention", "decoder", "edges", "enhancement"])
def test_published_modules(name):
    variables, stored = cekd.load(golden.FOLDER / f"cekd_{name}.npz")
    module, size = {
        "attention": (AttentionStage(AttentionConfig(2, 4, (6, 8)), 32, 3, norm, jnp.float32), (6, 8, 16)),
        "decoder": (_Stage(8, norm, jnp.float32), (6, 8, 16)),
        "edges": (EdgeDetector(norm, jnp.float32), (24, 30, 16)),
        "enhancement": (ThermalEnhancement(norm, exponent="raw"), (480, 640, 1)),
    }[name]
    found = golden.compiled(module.apply)(variables, cekd.features(size))
    found = [one[:, ::7, ::7] for one in found] if name == "enhancement" else [found]
    found = [jax.nn.sigmoid(one) for one in found] if name == "edges" else found
    for i, ours in enumerate(found):
        theirs = stored[f"out_{i}"]
        assert theirs.std() > 1e-3
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())


def test_positions_move_the_attention():
    variables, _ = cekd.load(golden.FOLDER / "cekd_attention.npz")
    stage = AttentionStage(AttentionConfig(2, 4, (6, 8)), 32, 3, norm, jnp.float32)
    x = cekd.features((6, 8, 16))
    apply = golden.compiled(stage.apply)
    before = apply(variables, x)
    variables["params"]["block_1"]["attention"]["rows"] *= 4
    assert np.abs(apply(variables, x) - before).max() > 1e-3


@pytest.mark.parametrize("bias", [-5.0, 0.0, 40.0])
def test_a_safe_exponent_stays_in_its_range_and_has_a_gradient(bias):
    module = ThermalEnhancement(norm)
    image = np.linspace(0, 1, 64 * 80, dtype=np.float32).reshape(1, 64, 80, 1)
    params = golden.compiled(module.init)(jax.random.key(0), image)
    zero = jax.tree.map(jnp.zeros_like, params["params"]["fc2"])
    params["params"]["fc2"] = zero | {"bias": jnp.array([bias])}

    @golden.compiled
    def look(params):
        return jax.grad(lambda p: sum(x.sum() for x in module.apply(p, image)))(params), module.apply(
            params, image
        )[0]

    gradients, half = look(params)
    exponent = np.clip(bias + 2, 1, 16)  # by hand: the bias is all of delta
    np.testing.assert_allclose(half[0, :, :, 0], image[0, ::2, ::2, 0] ** exponent, rtol=1e-4, atol=1e-6)
    gradient = gradients["params"]["fc2"]["bias"]
    assert np.isfinite(gradient).all()
    assert abs(float(gradient[0])) > 0


def test_the_raw_exponent_breaks_as_published():
    module = ThermalEnhancement(norm, coefficient=0.0, exponent="raw")
    image = np.zeros((1, 64, 80, 1), np.float32)
    params = golden.compiled(module.init)(jax.random.key(0), image)
    params["params"]["fc2"]["bias"] = jnp.array([-1.0])
    assert np.isinf(golden.compiled(module.apply)(params, image)[0]).all()


@pytest.mark.parametrize(
    "settings", [{"encoder": "resnet51"}, {"edges": "D2D3"}, {"edges": "d3"}, {"width": 7}]
)
def test_what_does_not_exist_is_refused(settings):
    with pytest.raises(UserError, match="model"):
        dataclasses.replace(TINY, **settings)
