"""The radar-camera networks: sizes as published, halves that make the whole, and what radar may be."""

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.models import mobilenet
from tdepth_jax.models.daspp import DASPP
from tdepth_jax.models.radar_camera import PUBLISHED, RadarCameraConfig, RadarCameraNet, parameters
from tdepth_jax.models.radar_large import SparseConv
from tdepth_jax.models.radar_light import FiLM, batch_norm

pytestmark = pytest.mark.usefixtures("quick")

LIRC = 12_645_228  # LiRCDepth as coded


def test_sizes_are_as_published(capsys):
    """The student within 0.703 of LiRCDepth; the others of the published sizes, whose layers are not all known."""
    sizes = {name: parameters(RadarCameraConfig(name)) for name in PUBLISHED}
    with capsys.disabled():
        print(
            "".join(f"\n{name}: {n:,} parameters, published {PUBLISHED[name]:,}" for name, n in sizes.items())
        )
    assert sizes["xd"] == 8_012_165 <= 0.703 * LIRC
    assert sizes["lirc"] == pytest.approx(LIRC, rel=0.05)
    assert sizes["cafnet"] == pytest.approx(62_248_686, rel=0.05)
    assert sizes["xd"] < sizes["lirc"] < sizes["cafnet"]


def test_the_encoder_is_torchvisions_mobilenet():
    """2,223,872 parameters without the classifier, and taps of 16, 24, 32, 64 and 1280 channels."""
    net = mobilenet.MobileNetV2(batch_norm(False, jnp.float32))
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 2_223_872
    maps = jax.eval_shape(net.apply, shapes, jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32))
    strides = (2, 4, 8, 16, 32)
    assert [m.shape[1:] for m in maps] == [
        (64 // s, 96 // s, c) for s, c in zip(strides, (16, 24, 32, 64, 1280), strict=True)
    ]


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_shifted_images_are_a_depthwise_convolution(stride, dilation):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 7, 9, 4), (3, 3, 1, 4)))
    want = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(dilation, dilation)] * 2, rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4,
    )  # fmt: skip
    np.testing.assert_allclose(
        mobilenet.shifted(x, kernel, stride=stride, dilation=dilation), want, atol=1e-5
    )


def test_film_starts_as_the_camera_alone():
    x, radar = jnp.ones((1, 2, 3, 4)), jnp.ones((1, 2, 3, 5))
    film = FiLM("channel", jnp.float32)
    variables = film.init(jax.random.key(0), x, radar)
    np.testing.assert_array_equal(film.apply(variables, x, radar), x)
    variables["params"]["scale"]["kernel"] = jnp.full((1, 1, 5, 4), 0.1)
    variables["params"]["shift"]["bias"] = jnp.arange(4.0)
    np.testing.assert_allclose(
        film.apply(variables, 2 * x, radar)[0, 0, 0], 2 * 1.5 + np.arange(4), rtol=1e-6
    )
    # A value a channel: where radar sees it is not told apart; with "spatial" it is.
    bright = radar.at[0, 0, 0].set(7.0)
    assert np.ptp(film.apply(variables, x, bright)[..., 0]) == pytest.approx(0, abs=1e-6)
    assert np.ptp(FiLM("spatial", jnp.float32).apply(variables, x, bright)[..., 0]) > 1


def test_a_sparse_convolution_does_not_see_what_is_not_there():
    conv = SparseConv(1, 3, jnp.float32)
    x, seen = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2].set(4.0), jnp.zeros((1, 5, 5, 1)).at[0, 2, 2].set(1.0)
    variables = conv.init(jax.random.key(0), x, seen)
    variables["params"]["conv"]["kernel"] = jnp.ones((3, 3, 1, 1))
    y, after = conv.apply(variables, x, seen)
    inside = np.zeros((5, 5), bool)
    inside[1:4, 1:4] = True
    np.testing.assert_allclose(
        np.asarray(y)[0, ..., 0], np.where(inside, 4.0, 0.0)
    )  # one of nine, taken whole
    np.testing.assert_array_equal(np.asarray(after)[0, ..., 0], inside)
    assert np.isfinite(conv.apply(variables, 0 * x, 0 * seen)[0]).all()


def test_a_pointwise_daspp_has_no_full_convolution():
    for pointwise in (True, False):
        net = DASPP(4, 6, batch_norm(False, jnp.float32), pointwise=pointwise, rates=(2, 3))
        shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 5), jnp.float32))
        kernels = [x.shape for k, x in jax.tree.leaves_with_path(shapes["params"]) if "kernel" in str(k[-1])]
        full = [s for s in kernels if s[0] == 3 and s[2] > 1]
        assert (not full) if pointwise else full
        out = jax.eval_shape(net.apply, shapes, jax.ShapeDtypeStruct((1, 8, 8, 5), jnp.float32))
        assert out.shape == (1, 8, 8, 6)


@pytest.mark.parametrize("network", ["xd", "cafnet"])
def test_the_halves_make_the_whole_and_any_size_goes(network):
    net = RadarCameraNet(RadarCameraConfig(network, width=0.125, blocks=1, rates=(2,), dtype="float32"))
    rng = np.random.default_rng(0)
    image, radar = rng.normal(size=(1, 40, 50, 1)).astype("f"), rng.random((1, 40, 50, 3)).astype("f")
    variables = golden.compiled(net.init)(jax.random.key(0), image, radar)

    @golden.compiled
    def whole_and_halves(variables, image, radar):
        feature, maps, own = net.apply(variables, image, radar, method="front")
        return (
            net.apply(variables, image, radar),
            net.apply(variables, feature, maps, (40, 50), method="back"),
            feature,
            own,
        )

    whole, halves, feature, own = whole_and_halves(variables, image, radar)
    np.testing.assert_array_equal(whole, halves)
    assert whole.shape == (1, 40, 50, 1)
    assert feature.shape[1:3] == (8, 8)
    assert whole.min() > 0
    assert whole.max() < 100
    assert own.keys() == ({"coarse", "confidence"} if network == "cafnet" else set())
    assert np.isfinite(whole_and_halves(variables, image, 0 * radar)[0]).all()


@pytest.mark.parametrize("said", [{"network": "x"}, {"film": "none"}, {"width": 0.0}, {"blocks": 0}])
def test_what_is_not_known_is_refused(said):
    with pytest.raises(UserError, match=f"model.{next(iter(said))}"):
        RadarCameraConfig(**said)
