"""Does the camera move? Units, rates, doubles: each fault where it was put in, none where it was not."""

import numpy as np
import pytest
from drives import H, W, drive, scene

from tdepth_jax.thermal import io, recording


def names(stack, **more):
    return {fault.name: fault for fault in recording.motion_faults(stack, "x", **more)}


def still(count, seed=3, drift=3.0):
    rng = np.random.default_rng(seed)
    picture = scene(grain=0)
    return np.stack([picture + rng.normal(drift * i, 4, picture.shape) for i in range(count)]).astype(
        np.uint16
    )


@pytest.mark.parametrize("step", [1, 4, 12])
@pytest.mark.parametrize("seed", range(4))
def test_a_moving_camera_has_no_fault(seed, step):
    stack = drive(10, seed, step)
    assert not recording.standing(stack).any()
    assert names(stack) == {}
    assert recording.level_jumps(stack, "x") is None


def test_a_standing_camera():
    assert "in 100% of the recording nothing moves but noise" in names(still(8))["static"].sentence


def test_a_standing_camera_before_which_people_walk():
    """Things move, and well above the noise; the camera does not."""
    stack = still(10).astype(int)
    for i in range(10):
        stack[i, 50:90, 10 + 6 * i : 22 + 6 * i] += 900
        stack[i, 60:95, 120 - 5 * i : 130 - 5 * i] += 700
    fault = names(stack.astype(np.uint16))["static"]
    assert "the camera stands, only things move" in fault.sentence


def test_a_stop_is_said_and_not_refused():
    stack = np.concatenate([drive(10, step=4), still(5)])
    found = names(stack)
    assert set(found) == {"stops"}
    assert "stands for 29% of the recording" in found["stops"].sentence  # 4 of 14 pairs


def test_one_picture_and_none():
    assert "single still picture" in names(drive(1))["still"].sentence
    assert "no usable frame" in names(drive(1)[:0])["still"].sentence


def test_the_vehicle_itself():
    stack = drive(10, step=6).astype(int)
    rng = np.random.default_rng(0)
    bonnet = scene(9, grain=0)[-30:]
    stack[:, -30:] = bonnet + rng.normal(0, 4, (10, 30, W))
    stack = stack.astype(np.uint16)
    fault = names(stack)["own_vehicle"]
    share = float(fault.sentence.split("lowest ")[1].split("%")[0]) / 100
    assert share == pytest.approx(30 / H, abs=0.1)
    assert "--mask-bottom" in fault.fix
    valid = np.ones((H, W), bool)
    valid[-34:] = False
    assert names(stack, valid=valid) == {}


def test_jumps_of_the_whole_picture():
    stack = drive(12).astype(int)
    stack[5:] += 400
    fault = recording.level_jumps(stack.astype(np.uint16), "x")
    assert fault is not None
    assert "at frame 5" in fault.sentence
    assert not fault.grave


def test_blank_borders():
    frame = scene()
    assert recording.blank_border(frame, "x") is None
    frame[:, :3] = 0
    frame[-1] = 0
    said = recording.blank_border(frame, "x").sentence
    assert "1 at the bottom, 3 at the left" in said
    valid = np.ones(frame.shape, bool)
    valid[:, :3] = False
    assert "(1 at the bottom)" in recording.blank_border(frame, "x", valid=valid).sentence
    valid[-1] = False
    assert recording.blank_border(frame, "x", valid=valid) is None


@pytest.mark.parametrize(
    ("median", "unit", "says", "grave"),
    [
        (29315, "raw", "would be 20 °C in counts of 0.01 K", False),
        (3400, "raw", None, None),
        (8000, "raw", None, None),
        (29315, "centikelvin", None, None),
        (3400, "centikelvin", "would be -239 °C", True),
        (60000, "centikelvin", "would be 327 °C", True),
    ],
)
def test_units(median, unit, says, grave):
    fault = recording.unit_fault(median, unit, "x")
    if says is None:
        assert fault is None
    else:
        assert says in fault.sentence
        assert fault.grave is grave


def test_rates():
    for seconds, says in (
        (1 / 30, None),
        (0.5, None),
        (33, "every 33 s"),
        (1e-6, "another unit"),
        (1e-9, "1e-09"),
    ):
        times = np.rint(np.arange(5) * seconds * 1e9).astype(np.int64)
        fault = recording.rate_fault(times, "x")
        assert (fault is None) if says is None else (says in str(fault))
    assert recording.rate_fault(np.zeros(1, np.int64), "x") is None


def test_recordings_that_share_frames():
    sums = [("a", frozenset(range(100))), ("b", frozenset(range(90, 200))), ("c", frozenset({5, 300, 301}))]
    (fault,) = recording.double_faults(sums)
    assert str(fault).startswith("b: 10 of its frames are also in a")


@pytest.mark.real
def test_real_video_moves(real_data):
    video = np.stack([io.read(p).pixels[0] for p in sorted((real_data / "thermal_video").glob("*.png"))])
    for every in (1, 3, 10):
        assert names(video[::every]) == {}
    assert recording.level_jumps(video, "x") is None
    grain = np.random.default_rng(0).normal(0, 3, (5, *video.shape[1:]))
    assert "static" in names((video[:1] + grain).astype(np.uint16))  # a real scene, filmed from a tripod
    assert recording.unit_fault(float(np.median(video[0])), "raw", "x") is None
