"""A standing camera is told from a moving one, by a look at some snippets, whatever else moves."""

import cv2
import numpy as np
import pytest
import recorded
from drives import drive, scene

from tdepth_jax.data import movement
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import UserError

NEXT = (-1, 0, 1)


def still(count, size=None):
    """One scene again and again, each time with noise of its own and a drift of the whole level."""
    rng = np.random.default_rng(5)
    picture = scene(grain=0).astype(np.float32)
    picture = picture if size is None else cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return np.stack([picture + 2 * i + rng.normal(0, 4, picture.shape) for i in range(count)]).astype(
        np.uint16
    )


def check(folder, offsets=NEXT, **stacks):
    return movement.check(open_split(recorded.write(folder, **stacks), "train"), offsets)


def test_moving_cameras_pass(tmp_path):
    assert check(tmp_path, slow=drive(8, 0, step=1), fast=drive(8, 1, step=9)) == ""


@pytest.mark.parametrize("size", [None, (64, 80), (32, 40)])
def test_a_standing_camera_is_refused(tmp_path, size):
    with pytest.raises(UserError, match=r"does not move in 6 of the 6 snippets looked at.*system.interval"):
        check(tmp_path, parked=still(8, size))


def test_one_picture_again_and_again_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not move"):
        check(tmp_path, one=scene()[None].repeat(8, 0))


def test_passers_by_do_not_move_the_camera(tmp_path):
    stack = still(10)
    for i in range(10):
        stack[i, 50:90, 10 + 6 * i : 22 + 6 * i] += 900
    with pytest.raises(UserError, match="does not move"):
        check(tmp_path, street=stack)


def test_a_parked_sequence_among_others_is_named(tmp_path):
    note = check(tmp_path, first=drive(8), parked=still(6), second=drive(8, 3))
    assert "in 4 of the 16 snippets looked at, in parked always" in note


def test_a_stop_is_said(tmp_path):
    note = check(tmp_path, only=np.concatenate([drive(10), still(8)]))
    assert "does not move in" in note
    assert "always" not in note


def test_it_is_the_snippet_that_must_move(tmp_path):
    """Four pictures of every place: neighbours are alike, frames four apart are not."""
    stack = drive(8, step=6).repeat(4, 0)
    source = open_split(recorded.write(tmp_path, slow=stack), "train")
    assert movement.look(source, NEXT).share > 0.3
    assert movement.look(source, (-4, 0, 4)).standing == 0


def test_noise_alone_and_thumbnails_cannot_be_told(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(3000, 4, (6, 64, 80)).astype(np.uint16)
    source = open_split(recorded.write(tmp_path, noise=noise, small=noise[:, :12, :12]), "train")
    assert movement.look(source, NEXT) == movement.Movement(looked=0, standing=0, parked=())


def test_a_long_split_is_looked_at_throughout_and_no_more_than_asked(tmp_path):
    stack = np.concatenate([drive(20, step=1), still(20)])
    found = movement.look(open_split(recorded.write(tmp_path, long=stack), "train"), NEXT, most=12)
    assert found.looked == 12
    assert found.standing == pytest.approx(6, abs=1)
