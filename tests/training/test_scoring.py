"""What a result groups by: sequences, regions and protocols of different ranges, each against plain arithmetic."""

import numpy as np
import pytest

from tdepth_jax.metrics.protocols import Protocol, protocols
from tdepth_jax.training import evaluator

H, W = 12, 16
SEQUENCES = ("a", "a", "a", "b", "b", "c")


def frames():
    table = np.zeros(6, [("sequence", "S8"), ("index", "i8"), ("timestamp_ns", "i8"), ("condition", "S8")])
    table["sequence"], table["index"] = SEQUENCES, np.arange(6)
    table["condition"] = ["day", "day", "day", "night", "night", "day"]
    return table


def scene(seed=0):
    """(truth, prediction, counts at half the truth's size)."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 70, (6, H, W)).astype(np.float32)
    truth[:, :3] = 0
    predicted = (np.where(truth > 0, truth, 9) * rng.lognormal(0, 0.3, truth.shape)).astype(np.float32)
    return truth, predicted, rng.integers(3000, 4000, (6, H // 2, W // 2)).astype(np.uint16)


def score(asked, seed=0, samples=20):
    truth, predicted, counts = scene(seed)
    batch = {
        "thermal/image": counts[..., None],
        "thermal/K": np.tile(np.eye(3, dtype=np.float32), (6, 1, 1)),
        "thermal/depth": truth[..., None],
        "mask": np.ones(6, bool),
        "example": np.arange(6),
    }
    return evaluator.score(
        lambda _: {"depth": predicted[..., None]}, [batch], frames=frames(), protocols=asked, samples=samples
    )


def groups(protocol):
    return {(g["kind"], g["name"]): g for g in protocol["groups"]}


def relative(seed=0, far=80.0):
    truth, predicted, _ = scene(seed)
    use = (truth > 1e-3) & (truth < far)
    return np.abs(predicted.clip(1e-3, far) - truth) / np.where(use, truth, 1), use


def test_sequences_and_their_mean():
    per_image, per_sequence = (
        groups(p) for p in score(protocols(("none",), ("per_image", "per_sequence")))["protocols"]
    )
    error, use = relative()
    each = np.array([e[u].mean() for e, u in zip(error, use, strict=True)])
    names = np.array(SEQUENCES)
    means = {name: each[names == name].mean() for name in "abc"}
    for name, value in means.items():
        group = per_image["sequence", name]
        assert group["metrics"]["abs_rel"] == pytest.approx(value, rel=1e-5)
        assert (group["images"], group["sequences"]) == ((names == name).sum(), 1)
    assert per_image["overall", "all"]["sequences"] == 3
    assert per_image["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(each.mean(), rel=1e-5)
    mean = np.mean(list(means.values()))
    assert per_sequence["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(mean, rel=1e-5)
    assert per_sequence["condition", "night"]["metrics"]["abs_rel"] == pytest.approx(means["b"], rel=1e-5)
    assert per_image["sequence", "c"]["interval"] == {}  # one frame cannot tell


def test_hot_and_cold_regions_of_the_image_as_the_network_saw_it():
    (found,) = score(protocols(("none",), ("pooled",)))["protocols"]
    error, use = relative()
    heat = scene()[2].repeat(2, axis=1).repeat(2, axis=2)  # nearest neighbour, twice the size
    hot, cold = [], []
    for e, u, t in zip(error, use, heat, strict=True):
        low, high = np.percentile(t[u], [10, 90])
        cold += list(e[u & (t < low)])
        hot += list(e[u & (t > high)])
    for name, wanted in (("cold", cold), ("hot", hot)):
        group = groups(found)["region", name]
        assert group["pixels"] == len(wanted)
        assert group["metrics"]["abs_rel"] == pytest.approx(np.mean(wanted), rel=1e-5)
        assert group["pixels"] <= 0.1 * use.sum()


def test_protocols_of_different_ranges_side_by_side():
    near = Protocol(alignment="none", max_depth=10.0, published="near")
    result = score((Protocol(alignment="none"), near))
    far, close = result["protocols"]
    assert (far["frames_key"], close["frames_key"]) == ("none", "near")
    error, use = relative(far=10.0)
    each = [e[u].mean() for e, u in zip(error, use, strict=True)]
    assert groups(close)["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(np.mean(each), rel=1e-5)
    assert ("band", "10-20 m") not in groups(close)
    assert ("band", "10-20 m") in groups(far)
    assert result["frames"][2]["near"]["abs_rel"] == pytest.approx(each[2], rel=1e-5)
    assert result["frames"][2]["none"]["abs_rel"] != pytest.approx(each[2], rel=1e-3)


def test_protocols_that_differ_in_name_share_their_frames_and_their_figures():
    one, other, plain = score(protocols(("shin2022", "fan2024", "median")))["protocols"]
    assert one["frames_key"] == other["frames_key"] == "shin2022"
    assert plain["frames_key"] == "median"
    assert one["groups"] == other["groups"]
    assert {p["short_name"] for p in (one, other, plain)} == {"shin2022", "fan2024", "median"}


def test_balanced_metrics_through_the_evaluator():
    balanced, plain = score(protocols(("monother_balanced", "monother")))["protocols"]
    error, use = relative()
    truth, each = scene()[0], []
    for e, u, t in zip(error, use, truth, strict=True):
        which = np.digitize(t[u], np.arange(0, 85, 5))
        each.append(np.mean([e[u][which == k].mean() for k in np.unique(which)]))
    assert groups(balanced)["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(np.mean(each), rel=1e-5)
    assert {g["kind"] for g in balanced["groups"]} == {"overall", "condition", "sequence"}
    assert groups(plain)["overall", "all"]["pixels"] == groups(balanced)["overall", "all"]["pixels"]


def test_a_log_names_published_protocols():
    found = evaluator.headline(score(protocols(("shin2022", "median"), ("per_image", "pooled")), samples=0))
    assert {"shin2022/abs_rel", "shin2022/abs_rel/night", "median/rmse", "median_pooled/d1"} <= found.keys()
