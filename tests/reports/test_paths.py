"""Pictures of trajectories: the paths where they should be, under a harmless name."""

import cv2
import numpy as np

from tdepth_jax.reports import paths

TRAJECTORY = {
    "name": "outdoor/night 1",
    "first": 7,
    "last": 106,
    "metres": 100.0,
    "ate_sim3": 1.25,
    "path": {
        "truth": [[0.0, float(z)] for z in range(100)],
        "predicted": [[0.05 * z, float(z)] for z in range(100)],
    },
}


def test_the_paths_are_drawn_apart_and_from_below_upwards():
    image = paths.picture(TRAJECTORY)
    red = (image[..., 0] > 150) & (image[..., 1] < 110) & (image[..., 2] < 80)
    grey = (np.ptp(image.astype(int), axis=2) < 12) & (image[..., 0] > 130) & (image[..., 0] < 160)
    assert red.sum() > 500
    assert grey.sum() > 500
    top, bottom = (np.nonzero(red)[0] == row for row in (np.nonzero(red)[0].min(), np.nonzero(red)[0].max()))
    columns = np.nonzero(red)[1]
    assert columns[top].mean() > columns[bottom].mean() + 20  # it drifts to the right on its way ahead


def test_names_and_captions():
    assert paths.file_name(TRAJECTORY) == "trajectory-outdoor_night_1-7.png"
    assert paths.caption(TRAJECTORY) == "outdoor/night 1, frames 7-106: ATE 1.25 m (Sim3) over 100 m"


def test_it_is_a_png():
    image = paths.picture(TRAJECTORY)
    back = cv2.imdecode(np.frombuffer(paths.encode(image), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(back[..., ::-1], image)
