"""Which frames a report shows, and that its pictures say what the numbers say."""

import numpy as np

from tdepth_jax.metrics.depth import Protocol
from tdepth_jax.reports import frames

MEDIAN = Protocol(alignment="median")


def row(error, index, sequence="s"):
    return {
        "sequence": sequence,
        "index": index,
        "condition": "day",
        "example": index,
        "median": {"abs_rel": error, "rmse": 1.0},
    }


def test_worst_typical_and_best_without_near_duplicates():
    rows = [row(e, 20 * i) for i, e in enumerate([0.5, 0.1, 0.2, 0.4, 0.3, 0.21, 0.05])]
    rows.append(row(0.49, 3))  # beside the worst frame
    picked = frames.pick(rows, "median", each=2)
    errors = {title: [r["median"]["abs_rel"] for r in some] for title, some in picked.items()}
    assert errors == {"Worst": [0.5, 0.4], "Typical": [0.21, 0.2], "Best": [0.05, 0.1]}


def test_a_short_split_shows_no_frame_twice():
    picked = frames.pick([row(0.1, 0), row(0.2, 50)], "median")
    shown = [r["index"] for some in picked.values() for r in some]
    assert sorted(shown) == [0, 50]


def scene():
    truth = np.geomspace(2, 60, 20 * 30).reshape(20, 30).astype(np.float32)
    truth[:4] = 0
    predicted = np.where(truth > 0, truth, 70) / 10
    predicted[8:10] *= 0.6  # below the median before and after, so the alignment does not move
    thermal = np.linspace(7000, 9000, 600).reshape(20, 30).astype(np.uint16)
    return frames.look(row(0.2, 0), thermal, predicted, truth, MEDIAN)


def test_a_look_is_aligned_as_scored_and_hides_what_was_not():
    look = scene()
    assert (look.truth[:4] == 0).all()
    np.testing.assert_allclose(look.predicted[15], look.truth[15], rtol=0.1)


def test_panels_share_colours_and_leave_the_unknown_dark():
    gallery = frames.gallery({"Worst": [scene()]}, MEDIAN, "median")
    (picture,) = gallery.groups["Worst"]
    assert list(picture.panels) == ["thermal", "predicted depth", "ground truth", "relative error"]
    _, predicted, truth, error = picture.panels.values()
    assert (truth[:4] == 48).all()
    assert (error[:4] == 48).all()
    good, bad = 15, 9
    gap = np.abs(truth.astype(int) - predicted.astype(int)).sum(-1)
    assert gap[good].mean() < 10 < gap[bad].mean()  # equal depth, equal colour
    assert error[bad].sum(-1).min() > error[good].sum(-1).max()  # larger error, brighter
    assert truth[5].sum(-1).mean() > truth[-1].sum(-1).mean()  # near is bright
    assert [bar[0] for bar in gallery.legend] == ["depth", "relative error"]


def test_wide_pictures_are_made_smaller():
    wide = frames.Look(
        row(0.1, 0),
        np.full((100, 1000), 8000, np.uint16),
        np.full((100, 1000), 10.0, np.float32),
        np.full((100, 1000), 10.0, np.float32),
    )
    gallery = frames.gallery({"Best": [wide]}, MEDIAN, "median")
    for panel in gallery.groups["Best"][0].panels.values():
        assert panel.shape == (48, 480, 3)
        assert panel.dtype == np.uint8
