"""Published protocols: against the published programs' arithmetic written out again, pixel by pixel."""

import cv2
import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import depth as m
from tdepth_jax.metrics.protocols import PUBLISHED, Protocol, is_indoor, protocols, published


def scene(seed=0, size=(40, 60)):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 95, size).astype(np.float32)
    truth[rng.random(size) < 0.4] = 0
    small = rng.uniform(0.3, 30, (20, 30)).astype(np.float32)
    return small, truth


def errors(p, g):
    return {
        "abs_rel": np.mean(np.abs(g - p) / g),
        "sq_rel": np.mean((g - p) ** 2 / g),
        "rmse": np.sqrt(np.mean((g - p) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(g) - np.log(p)) ** 2)),
        "d1": np.mean(np.maximum(g / p, p / g) < 1.25),
    }


def ours(protocol, small, truth):
    rows = m.batch_sums(small[None, ..., None], truth[None, ..., None], protocol)
    rows = rows if protocol.averaging == "per_range" else rows.sum(1)
    return m.finish(rows, protocol.averaging)


def same(found, wanted):
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-5), key


@pytest.mark.parametrize("name", ["shin2022", "fan2024"])
@pytest.mark.parametrize(("indoor", "far"), [(False, 80.0), (True, 10.0)])
def test_shin2022(name, indoor, far):
    small, truth = scene()
    h, w = truth.shape
    p = 1 / (cv2.resize(1 / (small + 1e-6), (w, h)) + 1e-6)
    use = (truth > 1e-3) & (truth < far)
    p, g = p[use].astype(float), truth[use].astype(float)
    p = np.clip(p * (np.median(g) / np.median(p)), 1e-3, far)
    same(ours(published(name, indoor=indoor), small, truth), errors(p, g))


@pytest.mark.parametrize("affine", [False, True])
def test_sup4thermal(affine):
    small, truth = scene(1)
    h, w = truth.shape
    p = np.array([[small[i * 20 // h, j * 30 // w] for j in range(w)] for i in range(h)])
    use = (truth > 1e-3) & (truth < 80)
    p, g = p[use].astype(float), truth[use].astype(float)
    if affine:
        s, t = np.polyfit(p, g, 1)
        p = s * p + t
    else:
        lower = lambda x: np.sort(x)[(len(x) - 1) // 2]  # noqa: E731  (torch.median)
        p = p * lower(g) / lower(p)
    protocol = published("sup4thermal_affine" if affine else "sup4thermal", indoor=True)
    assert protocol.max_depth == 80  # it knows no indoor range
    same(ours(protocol, small, truth), errors(np.clip(p, 1e-3, 80), g))


def corners(small, size):
    """Bilinear with corners on corners, one output pixel at a time."""
    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = i * (small.shape[0] - 1) / (size[0] - 1), j * (small.shape[1] - 1) / (size[1] - 1)
            a, b = min(int(y), small.shape[0] - 2), min(int(x), small.shape[1] - 2)
            u, v = y - a, x - b
            out[i, j] = (1 - u) * ((1 - v) * small[a, b] + v * small[a, b + 1]) + u * (
                (1 - v) * small[a + 1, b] + v * small[a + 1, b + 1]
            )
    return out


def test_monother_and_its_balanced_metrics():
    small, truth = scene(2)
    small[0, 0] = 300.0  # beyond the clamp
    use = (truth > 1e-3) & (truth < 80)
    p, g = np.clip(corners(small, truth.shape), 1e-3, 80)[use], truth[use].astype(float)
    same(ours(published("monother"), small, truth), errors(p, g))
    which = np.digitize(g, np.arange(0, 85, 5))
    each = [errors(p[which == k], g[which == k]) for k in np.unique(which)]
    mean = {key: np.mean([e[key] for e in each]) for key in each[0]}
    same(ours(published("monother_balanced"), small, truth), mean)


def test_monother_vivid_leaves_the_border_out():
    truth = np.maximum(scene(3, (120, 160))[1], 1.0)  # nothing is empty: the crop is its 40 pixels
    wanted = np.zeros(truth.shape, bool)
    wanted[40:80, 40:120] = True
    np.testing.assert_array_equal(m.scored(truth, None, published("monother_vivid")), wanted & (truth < 80))


def test_names_descriptions_and_what_is_shared():
    for name in PUBLISHED:
        protocol = published(name)
        assert protocol.name == protocol.short_name == name
        assert protocol.describe().endswith(("no crop", "left out"))
    one, other = published("shin2022"), published("fan2024")
    assert one != other
    assert one.sums_key == other.sums_key  # scored once, printed twice
    assert (
        Protocol().sums_key
        == Protocol(averaging="pooled").sums_key
        == Protocol(averaging="per_sequence").sums_key
    )
    assert Protocol(averaging="per_range").sums_key != Protocol().sums_key


def test_alignments_and_published_names_in_one_list():
    got = protocols(("none", "shin2022", "median", "none"), ("per_image", "pooled"), max_depth=50.0)
    assert [p.name for p in got] == [
        "none/per_image",
        "none/pooled",
        "shin2022",
        "median/per_image",
        "median/pooled",
    ]
    assert [p.max_depth for p in got] == [50, 50, 80, 50, 50]  # a published range is its own
    assert protocols(("fan2024",), indoor=True)[0].max_depth == 10
    assert [p.short_name for p in got][-2:] == ["median", "median_pooled"]


@pytest.mark.parametrize(
    ("metadata", "inside"),
    [
        ({}, False),
        ({"indoor": True}, True),
        ({"max_depth": 10.0}, True),
        ({"max_depth": 110.0}, False),
        ({"indoor": False, "max_depth": 8.0}, False),
    ],
)
def test_what_metadata_say_of_the_range(metadata, inside):
    assert is_indoor(metadata) is inside


def test_mistakes_are_answered():
    with pytest.raises(UserError, match="did you mean 'median'"):
        protocols(("meidan",))
    with pytest.raises(UserError, match="did you mean 'shin2022'"):
        protocols(("shin2021",))
    with pytest.raises(UserError, match="did you mean 'median'"):
        Protocol(alignment="meidan")
    with pytest.raises(UserError, match="averaging 'pixel'"):
        Protocol(averaging="pixel")
    with pytest.raises(UserError, match="min_depth"):
        Protocol(max_depth=0.0)


@pytest.mark.parametrize("far", [50, 70, 80])
def test_radar_and_camera_are_scored_in_their_ranges(far):
    """Two pixels, one beyond: p = 20, g = 25, and a prediction beyond the range that only xdrc clamps."""
    truth = np.array([[25.0, far - 1.0, far + 1.0]], np.float32)
    predicted = np.array([[20.0, 100.0, 5.0]], np.float32)
    for name, kept in ((f"xdrc{far}", float(far)), (f"radarcam{far}", 100.0)):
        found = m.finish(m.image_sums(predicted, truth, published(name)).sum(0)[None], "per_image")
        errors = np.array([5.0, kept - (far - 1)])
        inverse = 1000 * np.abs(1 / np.array([20, kept]) - 1 / np.array([25.0, far - 1]))
        assert found["mae"] == pytest.approx(errors.mean())
        assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
        assert found["imae"] == pytest.approx(inverse.mean())
        assert found["irmse"] == pytest.approx(np.sqrt((inverse**2).mean()))
    assert "not clamped" in published(f"radarcam{far}").describe()
