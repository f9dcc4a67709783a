"""Label and edge losses against numbers worked by hand, NumPy, and the published code's values."""

import jax
import jax.numpy as jnp
import models_cekd as cekd
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.losses import segmentation


def mean(pair):
    total, count = pair
    return float(total) / float(count)


def test_cross_entropy_by_hand_and_what_it_ignores():
    logits = jnp.log(jnp.array([[[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]]])) + 3.0
    labels = jnp.array([[[0, 2, 255]]])
    total, count = segmentation.cross_entropy(logits, labels)
    assert float(total) == pytest.approx(-np.log(0.5) - np.log(0.7), rel=1e-6)
    assert float(count) == 2
    gradient = jax.grad(lambda x: segmentation.cross_entropy(x, labels)[0])(logits)
    np.testing.assert_array_equal(gradient[0, 0, 2], 0)
    total, count = segmentation.cross_entropy(logits, jnp.full((1, 1, 3), 255))
    assert (float(total), float(count)) == (0, 0)


LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 255], [0, 0, 0, 0]])


def test_edges_of_both_widths_by_hand():
    one, known = segmentation.edge_labels(jnp.asarray(LABELS)[None], (4, 4), width="one")
    two, _ = segmentation.edge_labels(jnp.asarray(LABELS)[None], (4, 4), width="two")
    np.testing.assert_array_equal(one[0, ..., 0], [[0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(two[0, ..., 0], [[0, 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0]])
    np.testing.assert_array_equal(known[0, ..., 0], LABELS != 255)


def test_masks_are_reduced_before_edges_are_drawn():
    large = np.kron(LABELS, np.ones((4, 4), int))
    large[::4] = 7  # what nearest neighbour does not take: it looks at the third of four
    small, _ = segmentation.edge_labels(jnp.asarray(large)[None], (4, 4))
    wanted, _ = segmentation.edge_labels(jnp.asarray(LABELS)[None], (4, 4))
    np.testing.assert_array_equal(small, wanted)
    half, _ = segmentation.edge_labels(jnp.asarray(np.kron(LABELS, np.ones((2, 2), int)))[None], (8, 8))
    assert half[0, :4, 3, 0].tolist() == [1, 1, 1, 1]  # still one pixel wide
    assert half[0, :4, 4, 0].tolist() == [0, 0, 0, 1]


def test_edge_loss_by_hand():
    logits = jnp.array([2.0, -1.0, 0.0, 3.0]).reshape(1, 2, 2, 1)
    edges = jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.0, 3.0])))
    expected = -(0.75 * np.log(p[0]) + 0.25 * np.log(1 - p[1:]).sum()) / 4
    assert mean(segmentation.edge_loss(logits, edges)) == pytest.approx(expected, rel=1e-6)
    # A pixel that is not known counts nowhere: the share of edges is 1 of 3.
    known = jnp.array([1.0, 1.0, 1.0, 0.0]).reshape(1, 2, 2, 1)
    expected = -(2 / 3 * np.log(p[0]) + 1 / 3 * np.log(1 - p[1:3]).sum()) / 3
    assert mean(segmentation.edge_loss(logits, edges, known)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["logits", "published"])
def test_edge_loss_and_its_gradient_are_the_published_ones(name):
    stored = np.load(golden.FOLDER / "cekd_edge_loss.npz")
    logits, edges = cekd.features((6, 8, 1), 3), cekd.edge_labels()[..., None]

    def loss(x):
        total, count = segmentation.edge_loss(x, edges, as_published=name == "published")
        return total / count

    value, gradient = jax.value_and_grad(loss)(logits)
    assert float(value) == pytest.approx(float(stored[name]), rel=1e-5)
    np.testing.assert_allclose(gradient, stored[f"{name}_gradient"], rtol=1e-4, atol=1e-8)


def test_only_one_sigmoid_lets_a_right_answer_cost_nothing():
    edges = jnp.zeros((1, 4, 4, 1)).at[0, 1].set(1.0)
    right = 40 * (2 * edges - 1)
    assert mean(segmentation.edge_loss(right, edges)) < 1e-6
    # sigmoid(1) on edges and sigmoid(0) elsewhere, at best.
    floor = -(0.75 * 0.25 * np.log(1 / (1 + np.exp(-1))) + 0.25 * 0.75 * np.log(0.5))
    assert mean(segmentation.edge_loss(right, edges, as_published=True)) == pytest.approx(floor, rel=1e-5)
