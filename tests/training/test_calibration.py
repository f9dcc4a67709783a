"""What a run says of the camera it learnt."""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import recorded

from tdepth_jax.data import sources
from tdepth_jax.geometry import intrinsics, se3
from tdepth_jax.training import calibration


@dataclasses.dataclass(frozen=True)
class Known:
    """As much of a System as is asked: a camera with 1.25 times the focal length, that turns by a known angle."""

    turn: tuple[float, float, float]
    wants: frozenset = frozenset()

    def intrinsics(self, variables, K):
        return intrinsics.learnt(K, variables["params"]["camera"])

    def motion(self, variables, batch):
        assert batch["thermal/image"].shape[1:] == (2, 32, 40, 1)
        return se3.from_vector(jnp.float32([[0, 0, 1, *self.turn]]), rotation="axis_angle")


VARIABLES = {"params": {"camera": intrinsics.start("focal", 1.25)}}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> pathlib.Path:
    frames = np.random.default_rng(0).integers(3000, 4000, (5, 64, 80)).astype(np.uint16)
    return recorded.write(tmp_path_factory.mktemp("data"), drive=frames)


def test_it_is_said_in_pixels_of_the_stored_image_with_what_the_video_shows(video):
    """Stored 80 wide with fx 80; found 100. At 40 wide that is 50: 2 * 50^2 / (40^2 * 0.02) = 156.25, doubled back."""
    source = sources.open_split(str(video), "train")
    said = calibration.found(Known((0.01, 0.02, 0.0)), VARIABLES, source, image_size=(32, 40))
    assert said["pairs"] == 4
    assert said["guess"]["fx"] == 80
    assert said["found"]["fx"] == pytest.approx(100, rel=1e-5)
    assert said["found"]["fov_x"] == pytest.approx(np.degrees(2 * np.arctan(0.4)), abs=1e-3)
    assert said["tolerance"][0] == pytest.approx(312.5, rel=1e-3)
    assert "fx 100.0, fy 100.0" in calibration.describe(said)
    assert "show fx to about 313" in calibration.describe(said)
    assert "too little to trust" in calibration.describe(said)
    turning = calibration.found(Known((0.2, 0.4, 0.0)), VARIABLES, source, image_size=(32, 40))
    assert turning["tolerance"][0] == pytest.approx(16, abs=1)
    assert "too little" not in calibration.describe(turning)


def test_a_camera_that_never_turns_does_not_show_its_focal_length(video):
    source = sources.open_split(str(video), "train")
    said = calibration.found(Known((0.0, 0.0, 0.0)), VARIABLES, source, image_size=(32, 40))
    assert said["tolerance"] == [None, None]
    assert "does not show its focal length" in calibration.describe(said)
