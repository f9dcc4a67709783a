"""HeatNet's networks: sizes by the published counts, and parts against loops written from their words."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.models.pspnet import Critic, PspConfig, PspNet
from tdepth_jax.models.resize import pooled

TINY = PspConfig(encoder="resnet18", width=4, decoder=(8, 8, 4, 4), dtype="float32")
IMAGES = {"thermal": jnp.ones((1, 64, 96, 1)), "rgb": jnp.ones((1, 64, 96, 3))}


def given(views, size=(64, 96), batch=1):
    rng = np.random.default_rng(0)
    images = {"thermal": rng.random((batch, *size, 1)), "rgb": rng.random((batch, *size, 3))}
    return [jnp.asarray(images[v], jnp.float32) if v in views else None for v in ("thermal", "rgb")]


def drawn(net, *images):
    """Variables of the right shapes, drawn here: compiling what draws them takes long."""
    rng = np.random.default_rng(1)

    def draw(path, like):
        if len(like.shape) > 1:
            return rng.normal(0, np.prod(like.shape[:-1]) ** -0.5, like.shape).astype(np.float32)
        return np.full(like.shape, 1.0 if path[-1].key in ("scale", "var") else 0.1, np.float32)

    return jax.tree_util.tree_map_with_path(
        draw, jax.eval_shape(lambda: net.init(jax.random.key(0), *images))
    )


@pytest.mark.parametrize(
    ("views", "count"),
    [(("thermal", "rgb"), 55_411_664), (("rgb",), 53_317_648), (("thermal",), 53_311_376)],
)
def test_parameters_are_the_published_ones(views, count):
    net = PspNet(PspConfig(), 13, views)
    images = [IMAGES[v] if v in views else None for v in ("thermal", "rgb")]
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), *images))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_the_critic_has_the_published_size_and_says_a_number_a_pixel():
    variables, shape = jax.eval_shape(
        lambda x: (v := Critic().init(jax.random.key(0), x), Critic().apply(v, x)),
        jnp.ones((2, 320, 704, 13)),
    )
    assert sum(x.size for x in jax.tree.leaves(variables)) == 2_774_977
    assert shape.shape == (2, 320, 704, 1)


def test_the_critic_by_a_loop():
    """At the top left pixel the upsampling only repeats: there it is plain convolutions."""
    critic, rng = Critic(width=2), np.random.default_rng(0)
    x = rng.normal(size=(1, 64, 32, 3)).astype(np.float32)
    variables = drawn(critic, x)
    y = x[0]
    for i in range(1, 6):
        kernel, bias = (np.asarray(variables["params"][f"conv_{i}"][k]) for k in ("kernel", "bias"))
        y = np.pad(y, ((1, 1), (1, 1), (0, 0)))
        h, w = y.shape[0] // 2 - 1, y.shape[1] // 2 - 1
        y = np.array([
            [np.einsum("ijc,ijcd->d", y[2 * r : 2 * r + 4, 2 * c : 2 * c + 4], kernel) + bias for c in range(w)]
            for r in range(h)
        ])  # fmt: skip
        y = np.where(y > 0, y, 0.2 * y) if i < 5 else y
    assert y.shape == (2, 1, 1)
    np.testing.assert_allclose(golden.compiled(critic.apply)(variables, x)[0, 0, 0], y[0, 0], rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (70, 93), (33, 40)])
@pytest.mark.parametrize("views", [("thermal", "rgb"), ("thermal",)])
def test_any_size(size, views):
    net = PspNet(TINY, 5, views)
    out, _ = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), *given(views, size, batch=2)))
    assert out.shape == (2, *size, 5)


def test_late_stages_keep_the_size_and_their_first_block_is_not_dilated():
    """The deepest map lies at stride 8; an encoder's blocks have the published steps and dilations."""
    net = PspNet(TINY, 5, ("thermal",))
    found = {}

    def listen(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if isinstance(context.module, nn.Conv):
            path = "/".join(context.module.path)
            found[path] = (context.module.strides, context.module.kernel_dilation, out.shape[1:3])
        return out

    def run():
        with nn.intercept_methods(listen):
            return net.init(jax.random.key(0), *given(("thermal",)))

    jax.eval_shape(run)
    for number, dilation in ((3, 2), (4, 4)):
        assert found[f"layer{number}_0/conv1"] == (1, 1, (8, 12))
        assert found[f"layer{number}_0/downsample_conv"] == (1, 1, (8, 12))
        assert found[f"layer{number}_1/conv1"] == (1, dilation, (8, 12))
    assert found["thermal/layer2_0/conv1"] == (2, 1, (8, 12))


def test_adaptive_pooling_by_a_loop():
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)
    want = np.empty((1, 3, 6, 2))
    for i in range(3):
        for j in range(6):
            rows = slice(i * 5 // 3, -(-(i + 1) * 5 // 3))
            want[0, i, j] = x[0, rows, j * 7 // 6 : -(-(j + 1) * 7 // 6)].mean((0, 1))
    np.testing.assert_allclose(pooled(jnp.asarray(x), (3, 6)), want, rtol=1e-5, atol=1e-6)


def test_dropout_takes_whole_channels_in_training_only():
    net = PspNet(TINY, 3, ("rgb",))
    images = given(("rgb",), (32, 32))
    variables = drawn(net, *images)
    said = golden.compiled(lambda key: net.apply(
        variables, *images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )[0])  # fmt: skip
    one, again, other = (np.asarray(said(jax.random.key(k))) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    still = golden.compiled(lambda: net.apply(variables, *images))
    np.testing.assert_array_equal(still(), still())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"encoder": "resnet19"}, "model.encoder='resnet19'"),
        ({"decoder": (8, 8)}, "four numbers"),
        ({"decoder_dropout": 1.0}, "below 1"),
    ],
)
def test_what_cannot_be_is_refused(said, message):
    with pytest.raises(UserError, match=message):
        PspConfig(**said)


def test_a_view_that_is_missing_is_named():
    with pytest.raises(UserError, match="no rgb was given"):
        jax.eval_shape(lambda: PspNet(TINY, 3, ("thermal", "rgb")).init(jax.random.key(0), IMAGES["thermal"]))
