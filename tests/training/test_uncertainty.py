"""What an evaluation says of a spread: its halves, its groups, and independence of batching."""

import numpy as np
import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import uncertainty as metrics
from tdepth_jax.metrics.protocols import Protocol, protocols
from tdepth_jax.training import evaluator, uncertainty

H, W = 40, 50
NONE = Protocol(alignment="none")
SEQUENCES = ("b", "b", "a", "a", "c", "c", "c", "d")
CONDITIONS = ("day", "day", "night", "night", "day", "day", "day", "night")


def table():
    made = np.zeros(8, [("sequence", "S8"), ("index", "i8"), ("condition", "S8")])
    made["sequence"], made["condition"], made["index"] = SEQUENCES, CONDITIONS, np.arange(8)
    return made


def scene():
    """(truth, prediction, spread): at night the errors are Laplace of four times the spread, by day as it says."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(5, 30, (8, H, W)).astype(np.float32)
    truth[:, :5] = 0
    spread = rng.uniform(0.02, 0.1, truth.shape).astype(np.float32)
    times = np.where(np.array(CONDITIONS) == "night", 4, 1)[:, None, None]
    predicted = (np.maximum(truth, 1) * np.exp(rng.laplace(0, times * spread))).astype(np.float32)
    return truth, predicted, spread


def evaluated(size, spread=NONE, said=None):
    truth, predicted, b = scene()
    b = b if said is None else said

    def batches():
        for start in range(0, 8, size):
            at = np.minimum(np.arange(start, start + size), 7)
            yield {
                "thermal/image": at.astype(np.uint16)[:, None, None, None],
                "thermal/K": np.tile(np.eye(3, dtype=np.float32), (size, 1, 1)),
                "thermal/depth": truth[at][..., None],
                "mask": np.arange(start, start + size) < 8,
                "example": at,
            }

    def predict(batch):
        at = batch["thermal/image"][:, 0, 0, 0].astype(int)
        return {"depth": predicted[at][..., None], "spread": b[at][..., None]}

    return evaluator.score(
        predict, batches(), frames=table(), protocols=protocols(("none",)), spread=spread, samples=0
    )


def test_sequences_are_halved_in_turn_within_a_condition():
    second, said = uncertainty.halves(np.array(SEQUENCES), np.array(CONDITIONS))
    # by day b, c, by night a, d: every other one
    assert [name for name, later in zip(SEQUENCES, second, strict=True) if later] == ["c", "c", "c", "d"]
    assert "sequences" in said
    second, said = uncertainty.halves(np.array(["a"] * 5), np.array(["day"] * 5))
    assert second.tolist() == [False, False, True, True, True]
    assert "first and the last frames" in said
    assert uncertainty.halves(np.array(["a"]), np.array(["day"])) == (None, "one frame cannot be halved")


def test_each_half_is_calibrated_by_the_other():
    found = evaluated(3)["uncertainty"]
    truth, predicted, spread = scene()
    rows = np.stack(
        [metrics.image_row(p, b, g, NONE) for p, b, g in zip(predicted, spread, truth, strict=True)]
    )
    second = np.array([False] * 4 + [True] * 4)
    one, other = metrics.temperature(rows[~second]), metrics.temperature(rows[second])
    assert found["halves"] == pytest.approx([one, other], rel=1e-5)
    assert found["temperature"] == pytest.approx(metrics.temperature(rows), rel=1e-5)
    expected = (metrics.coverage(rows[:4], other) + metrics.coverage(rows[4:], one)) / 2
    whole, day, night, *sequences = found["groups"]
    np.testing.assert_allclose(whole["calibrated"]["coverage"], expected, rtol=1e-5)
    assert (day["images"], night["images"]) == (5, 3)
    assert [g["name"] for g in sequences] == ["a", "b", "c", "d"]
    # One temperature cannot serve both: raw it is right by day, four times too small at night.
    np.testing.assert_allclose(day["raw"]["coverage"], metrics.LEVELS, atol=0.02)
    np.testing.assert_allclose(night["raw"]["coverage"][0], 1 - 0.5**0.25, atol=0.02)
    assert day["calibrated"]["coverage"][0] > 0.5 > night["calibrated"]["coverage"][0]
    assert day["pixels"] == 5 * (H - 5) * W
    within = np.abs(np.log(predicted / np.maximum(truth, 1)))[:, 5:] < np.log(1.25)
    assert whole["within"] == pytest.approx(within.mean(), rel=1e-5)


def test_batches_and_padding_change_nothing():
    assert evaluated(3)["uncertainty"] == evaluated(8)["uncertainty"] == evaluated(1)["uncertainty"]


def test_a_spread_that_is_not_asked_for_is_said_to_be_there():
    assert evaluated(4, spread=None)["uncertainty"] is None


def test_pixels_without_a_spread_are_counted():
    spread = scene()[2]
    spread[0, 6, :3] = np.nan, np.inf, 0
    assert evaluated(4, said=spread)["uncertainty"]["unusable"] == 3


def test_the_protocol_is_what_users_get():
    asked = protocols(("lstsq", "shin2022", "none", "median", "monother"))
    assert uncertainty.suited(asked, "relative").name == "shin2022"
    assert uncertainty.suited(asked, "metric").name == "none/per_image"
    assert uncertainty.suited(asked, "affine") is None
    assert uncertainty.suited(asked[:1], "metric") is None


def test_a_calibration_is_read_as_it_was_kept(tmp_path):
    kept = uncertainty.Calibration(
        temperature=1.25, dataset="world", split="test", protocol="none", frames=3, step=9
    )
    assert uncertainty.calibration_of(tmp_path) is None
    kept.keep(tmp_path)
    assert uncertainty.calibration_of(tmp_path) == kept
    assert [p.name for p in tmp_path.iterdir()] == [uncertainty.FILE]
    (tmp_path / uncertainty.FILE).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        uncertainty.calibration_of(tmp_path)
