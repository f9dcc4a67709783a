"""Label metrics against numbers worked by hand and a pixel loop."""

import numpy as np
import pytest

from tdepth_jax.metrics import segmentation as metrics

RTFNET, PRESENT = (metrics.PROTOCOLS[name] for name in ("rtfnet", "present"))


def test_confusion_is_what_a_loop_over_pixels_counts():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, (2, 3, 7, 9))
    truth[0, :2] = 255
    slow = np.zeros((5, 5), int)
    for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
        if t != 255:
            slow[t, p] += 1
    found = metrics.confusion(predicted.astype(np.uint8), truth.astype(np.uint8), 5)
    np.testing.assert_array_equal(found, slow)
    halves = sum(metrics.confusion(predicted[i], truth[i], 5) for i in range(3))
    np.testing.assert_array_equal(halves, slow)


def test_figures_by_hand():
    # True 0: 8 right, 2 called 1. True 1: 3 right, 1 called 0. Class 2 neither labelled nor predicted.
    found = metrics.finish(np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]]), RTFNET)
    assert found["acc"] == [0.8, 0.75, None]
    assert found["precision"] == pytest.approx([8 / 9, 3 / 5, None])
    assert found["iou"] == pytest.approx([8 / 11, 3 / 6, None])
    assert found["macc"] == pytest.approx((0.8 + 0.75) / 3)
    assert found["miou"] == pytest.approx((8 / 11 + 0.5) / 3)
    assert found["absent"] == [2]
    present = metrics.finish(np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]]), PRESENT)
    assert present["macc"] == pytest.approx((0.8 + 0.75) / 2)
    assert present["miou"] == pytest.approx((8 / 11 + 0.5) / 2)


def test_a_class_that_is_only_predicted_has_an_iou_of_zero_and_no_acc():
    found = metrics.finish(np.array([[6, 2], [0, 0]]), PRESENT)
    assert found["acc"] == [0.75, None]
    assert found["iou"] == [0.75, 0.0]
    assert found["macc"] == 0.75
    assert found["miou"] == 0.375
    assert found["absent"] == [1]


def test_nothing_labelled_has_no_mean():
    assert metrics.finish(np.zeros((3, 3), int), RTFNET)["miou"] is None


def test_labels_outside_the_classes_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="label is 3"):
        metrics.confusion(np.array([0, 1]), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="predicted label is 3"):
        metrics.confusion(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match="true ones"):
        metrics.confusion(np.zeros((2, 2)), np.zeros((4,)), 3)


def test_edge_iou_by_hand():
    """A map of 0.2, 0.6, 1.0, 0.2 is 0, 0.5, 1, 0 once stretched; true edges at the second and third."""
    edges, truth = np.array([[0.2, 0.6, 1.0, 0.2]]), np.array([[0, 1, 1, 0]])
    counts = metrics.edge_counts(edges, truth, np.ones((1, 4)))
    assert counts.shape == (11, 2)
    # Above 0, 0.1 … 0.4 both are found; above 0.5 … 0.9 and 0.99 the third alone.
    assert counts[:, 0].tolist() == [2] * 5 + [1] * 6
    assert counts[:, 1].tolist() == [2] * 11
    assert metrics.edge_iou(counts) == pytest.approx((5 * 1.0 + 6 * 0.5) / 11)
    assert metrics.edge_iou(counts + counts) == pytest.approx((5 * 1.0 + 6 * 0.5) / 11)


def test_a_flat_edge_map_finds_nothing_and_unknown_pixels_do_not_count():
    truth = np.array([[0, 1, 1, 0]])
    assert metrics.edge_iou(metrics.edge_counts(np.full((1, 4), 0.7), truth, np.ones((1, 4)))) == 0.0
    known = np.array([[1, 0, 0, 1]])
    assert metrics.edge_iou(metrics.edge_counts(np.full((1, 4), 0.7), truth, known)) is None


def test_heatnets_means_by_hand():
    """Class 2 is the background: no mean counts it, but car called background and the reverse are still wrong."""
    names, heatnet = ["road", "car", "background"], metrics.PROTOCOLS["heatnet"]
    day = metrics.finish(np.array([[6, 0, 2], [0, 4, 0], [0, 4, 9]]), heatnet, names)
    assert day["iou"] == pytest.approx([6 / 8, 4 / 8, 9 / 15])
    assert day["miou"] == pytest.approx((6 / 8 + 4 / 8) / 2)
    night = metrics.finish(np.array([[1, 0, 3], [0, 0, 0], [0, 0, 5]]), heatnet, names)
    assert night["iou"] == pytest.approx([1 / 4, None, 5 / 8])
    assert night["miou"] == pytest.approx(1 / 4)
    both = metrics.combine([day, night], heatnet, names)
    assert both["iou"] == pytest.approx([(6 / 8 + 1 / 4) / 2, None, (9 / 15 + 5 / 8) / 2])
    assert both["miou"] == pytest.approx((6 / 8 + 1 / 4) / 2)
    assert both["absent"] == [1]
