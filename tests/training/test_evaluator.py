"""The evaluator against arithmetic over all frames at once, whatever the batching."""

import json
import math

import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import baselines as still
from tdepth_jax.metrics.protocols import protocols
from tdepth_jax.training import evaluator

CONDITIONS = ("day", "night", "fog")
H, W = 12, 16


def frames(n):
    table = np.zeros(n, [("sequence", "U8"), ("index", "i8"), ("timestamp_ns", "i8"), ("condition", "U8")])
    table["sequence"] = [f"s{i // 4}" for i in range(n)]
    table["index"] = np.arange(n) % 4
    table["condition"] = [CONDITIONS[i // 4 % 3] for i in range(n)]
    return table


def split(n, seed=0):
    """(ground truth [n, H, W], prediction [n, H, W])."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 70, (n, H, W)).astype(np.float32)
    truth[:, :3] = 0
    return truth, (truth * rng.lognormal(0, 0.3, truth.shape) + 0.5).astype(np.float32)


def batches(truth, size):
    """As `eval_batches` gives them: full batches, padded with copies, `mask` False there.

    The image holds the frame's number, so that the predictor can look up what it should say.
    """
    n = len(truth)
    for start in range(0, n, size):
        at = [min(i, n - 1) for i in range(start, start + size)]
        number = np.array(at, np.uint16)
        yield {
            "thermal/image": np.broadcast_to(number[:, None, None, None], (size, 4, 4, 1)),
            "thermal/K": np.tile(np.eye(3, dtype=np.float32), (size, 1, 1)),
            "thermal/depth": truth[at][..., None],
            "mask": np.arange(start, start + size) < n,
            "example": np.array(at, np.int64),
        }


def says(prediction):
    return lambda batch: {"depth": prediction[batch["thermal/image"][:, 0, 0, 0].astype(int)][..., None]}


def score(truth, prediction, *, size=3, **options):
    options = {"protocols": protocols(), "frames": frames(len(truth)), "samples": 50} | options
    return evaluator.score(says(prediction), batches(truth, size), **options)


def test_every_group_is_the_metric_of_its_pixels():
    truth, prediction = split(11)
    result = score(truth, prediction, protocols=protocols(("none",), ("pooled", "per_image")))
    use = truth > 0
    rel = np.where(use, np.abs(prediction.clip(1e-3, 80) - truth) / np.where(use, truth, 1), 0)
    pooled, per_image = ({(g["kind"], g["name"]): g for g in p["groups"]} for p in result["protocols"])
    assert pooled["overall", "all"]["pixels"] == use.sum()
    assert pooled["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(rel.sum() / use.sum(), rel=1e-5)
    each = rel.sum((1, 2)) / use.sum((1, 2))
    assert per_image["overall", "all"]["metrics"]["abs_rel"] == pytest.approx(each.mean(), rel=1e-5)
    night = frames(11)["condition"] == "night"
    assert per_image["condition", "night"]["images"] == 4
    assert per_image["condition", "night"]["metrics"]["abs_rel"] == pytest.approx(
        each[night].mean(), rel=1e-5
    )
    near = use & (truth < 10)
    assert pooled["band", "0-10 m"]["metrics"]["abs_rel"] == pytest.approx(rel[near].mean(), rel=1e-5)
    low, high = pooled["overall", "all"]["interval"]["abs_rel"]
    assert low < pooled["overall", "all"]["metrics"]["abs_rel"] < high


def test_batch_size_and_padding_change_nothing():
    truth, prediction = split(7)
    one, other = (score(truth, prediction, size=s) for s in (1, 4))
    one.pop("images_per_sec")
    other.pop("images_per_sec")
    assert one == other


def test_a_perfect_prediction_up_to_scale_is_perfect_under_median_only():
    truth, _ = split(4)
    sky = np.where(truth > 0, truth, 5)
    none, median, lstsq = score(truth, sky * np.float32(0.1))["protocols"]
    assert none["groups"][0]["metrics"]["abs_rel"] == pytest.approx(0.9, rel=1e-4)
    assert median["groups"][0]["metrics"]["abs_rel"] < 1e-5
    assert lstsq["groups"][0]["metrics"]["abs_rel"] < 1e-5


def test_the_frame_rows_name_every_frame_and_its_own_error():
    truth, prediction = split(6)
    rows = score(truth, prediction)["frames"]
    assert [(r["example"], r["sequence"], r["index"], r["condition"]) for r in rows[:5]] == [
        (0, "s0", 0, "day"),
        (1, "s0", 1, "day"),
        (2, "s0", 2, "day"),
        (3, "s0", 3, "day"),
        (4, "s1", 0, "night"),
    ]
    p, g = prediction[4][truth[4] > 0].clip(1e-3, 80), truth[4][truth[4] > 0]
    assert rows[4]["none"]["abs_rel"] == pytest.approx(np.mean(np.abs(p - g) / g), rel=1e-5)


def test_baselines_stand_beside_the_prediction_and_score_as_if_they_predicted():
    truth, prediction = split(6)
    asked = protocols(("none", "median"))
    fitted = still.fit(lambda i: (truth[i], None), len(truth), asked)
    result = score(truth, prediction, protocols=asked, baselines=fitted)
    for protocol, found in zip(asked, result["protocols"], strict=True):
        for profile, beside in zip(fitted[protocol], found["baselines"], strict=True):
            assert beside["name"] == profile.name
            copies = np.repeat(profile.predict((H, W))[None], len(truth), 0)
            alone = score(truth, copies, protocols=[protocol])["protocols"][0]["groups"]
            assert [g["metrics"] for g in beside["groups"]] == [g["metrics"] for g in alone]


def test_frames_without_ground_truth_are_counted_and_left_out():
    truth, prediction = split(5)
    truth[2] = 0
    result = score(truth, prediction)
    assert (result["images"], result["without_depth"]) == (4, 1)
    assert [r["example"] for r in result["frames"]] == [0, 1, 3, 4]
    with pytest.raises(UserError, match="nothing can be scored"):
        score(np.zeros_like(truth), prediction)


def test_a_failed_prediction_is_named_and_costs():
    truth, prediction = split(5)
    good = score(truth, prediction)
    prediction[3, 5, 5] = np.nan
    bad = score(truth, prediction)
    assert good["failures"] == {"count": 0, "named": []}
    (named,) = bad["failures"]["named"]
    assert (named["sequence"], named["index"]) == ("s0", 3)
    assert named["what"] == "1 predicted depths are not finite"
    assert bad["frames"][3]["none"]["abs_rel"] > good["frames"][3]["none"]["abs_rel"]


def test_the_usable_pixel_mask_is_obeyed_at_the_truths_size():
    truth, prediction = split(2)
    prediction[:, :, : W // 2] = 1e-3  # rubbish where the bonnet is
    valid = np.zeros((2, H // 2, W // 2, 1), np.uint8)
    valid[:, :, W // 4 :] = 1
    (batch,) = batches(truth, 2)
    masked = evaluator.score(
        says(prediction),
        [batch | {"thermal/valid": valid}],
        frames=frames(2),
        protocols=protocols(("none",)),
    )
    seen = evaluator.inputs(batch | {"thermal/valid": valid})["thermal/valid"]
    assert seen.shape == (2, 4, 4, 1)  # the predictor gets it at its image's size
    assert seen.dtype == bool
    right = score(truth[:, :, W // 2 :], prediction[:, :, W // 2 :], protocols=protocols(("none",)))
    assert masked["protocols"][0]["groups"][0]["metrics"] == right["protocols"][0]["groups"][0]["metrics"]


def test_the_result_is_strict_json_even_where_a_band_is_empty():
    truth, prediction = split(2)
    truth[truth > 30] = 0
    result = score(truth, prediction)
    text = json.dumps(result, allow_nan=False)
    empty = json.loads(text)["protocols"][0]["groups"][-3]
    assert empty["name"] == "40-80 m"
    assert empty["pixels"] == 0
    assert empty["metrics"]["abs_rel"] is None


def test_the_headline_of_a_log():
    truth, prediction = split(8)
    result = score(truth, prediction, protocols=protocols(("median",), ("per_image", "pooled")), samples=0)
    found = evaluator.headline(result)
    assert found["median/abs_rel"] == result["protocols"][0]["groups"][0]["metrics"]["abs_rel"]
    assert "median/abs_rel/night" in found
    assert "median_pooled/rmse" in found
    assert all(math.isfinite(v) for v in found.values())


def test_predictors_that_give_no_depth_are_answered():
    truth, _ = split(2)
    with pytest.raises(UserError, match="labels and no depth"):
        evaluator.score(
            lambda batch: {"labels": batch["thermal/image"]},
            batches(truth, 2),
            frames=frames(2),
            protocols=protocols(),
        )


def test_own_losses_are_means_over_everything_counted():
    terms = [{"photo": (2.0, 4.0), "never": (0.0, 0.0)}, {"photo": (np.array(6.0), 4.0), "never": (0.0, 0.0)}]
    assert evaluator.self_scores(lambda i: terms[i], [0, 1]) == {"photo": 1.0}
