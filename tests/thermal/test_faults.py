"""Each fault is found where it was put in, and a sound frame has none."""

import numpy as np
import pytest
from drives import H, W, drive, scene

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, intrinsics, io


def found(frame, **more):
    return {fault.name for fault in faults.frame_faults(frame, "x", **more)}


@pytest.mark.parametrize("seed", range(12))
def test_sound_frames_have_no_fault(seed):
    assert found(scene(seed)) == set()
    assert faults.sequence_faults(drive(8, seed), "x") == []


def stretch(frame, to=255):
    low, high = float(frame.min()), float(frame.max())
    return np.rint((frame - low) / (high - low) * to)


def equalise(frame):
    order = np.argsort(np.argsort(frame.reshape(-1), kind="stable"))
    return (order.reshape(frame.shape) * (16000 / frame.size)).astype(np.uint16)


def telemetry(frame, rows):
    frame = frame.copy()
    frame[rows] = np.random.default_rng(1).integers(0, 65536, (len(rows), frame.shape[1]))
    return frame


def stripes(frame):
    return (frame + np.random.default_rng(2).normal(0, 12, frame.shape[1])).astype(np.uint16)


def clipped(frame, share=0.05):
    return np.minimum(frame, np.quantile(frame, 1 - share).astype(np.uint16))


SPOILED = {
    "eight_bit": lambda x: stretch(x).astype(np.uint16),
    "equalised": equalise,
    "constant": lambda x: np.full_like(x, 512),
    "saturated": clipped,
    "byte_swapped": lambda x: x.byteswap(),
    "telemetry_rows": lambda x: telemetry(x, [0]),
    "low_contrast": lambda x: scene(contrast=3),
    "column_stripes": stripes,
}


@pytest.mark.parametrize("name", SPOILED)
@pytest.mark.parametrize("seed", range(4))
def test_a_spoiled_frame_is_named(name, seed):
    assert name in found(SPOILED[name](scene(seed)))


def test_eight_bits_in_a_16_bit_file():
    assert "eight_bit" in found((stretch(scene()) * 257).astype(np.uint16))
    assert "eight_bit" in found((stretch(scene()) * 256).astype(np.uint16))
    assert "eight_bit" in found((stretch(scene()) * 37 + 2000).astype(np.uint16))
    assert "eight_bit" in found(scene(), unit="agc8")


@pytest.mark.parametrize("low", [0, 200, 2000, 14000, 27000, 60000])
def test_no_offset_of_the_counts_looks_swapped(low):
    frame = (scene(low=0, contrast=150, grain=2).astype(int) - 400 + low).clip(0, 65535).astype(np.uint16)
    assert "byte_swapped" not in found(frame)


def test_rows_of_telemetry_at_either_end():
    assert faults.telemetry_rows(telemetry(scene(), [0, 1])) == [0, 1]
    assert faults.telemetry_rows(telemetry(scene(), [H - 1])) == [H - 1]
    zeros = scene()
    zeros[-2:] = 0
    assert faults.telemetry_rows(zeros) == [H - 2, H - 1]


def test_a_mask_hides_what_it_covers():
    frame = scene()
    frame[100:] = 16383  # an engine bonnet at the sensor's limit
    valid = np.ones((H, W), bool)
    valid[96:] = False
    assert "saturated" in found(frame)
    assert "saturated" not in found(frame, valid=valid)


def test_noise_is_measured():
    flat = np.random.default_rng(0).normal(5000, 7.0, (200, 200)).astype(np.uint16)
    assert faults.noise(flat) == pytest.approx(7.0, rel=0.05)


# Over time.


def named(stack, **more):
    return {fault.name: fault for fault in faults.sequence_faults(stack, "x", **more)}


def test_a_frozen_camera():
    stack = drive(10)
    stack[4] = stack[5] = stack[3]
    fault = named(stack)["repeated"]
    assert "2 of 10 frames" in fault.sentence
    assert "first frame 4" in fault.sentence
    assert faults.repeats(stack).tolist() == [4, 5]


def test_frames_stretched_each_by_itself():
    stack = np.stack([stretch(frame, 65535) for frame in drive(6)]).astype(np.uint16)
    assert "stretched" in named(stack)


@pytest.mark.parametrize("seed", range(3))
def test_dead_pixels_are_found_and_no_others(seed):
    """200 pixels put in: nearly all found, and hardly one that was not."""
    stack = drive(8, seed).astype(np.int64)
    rng = np.random.default_rng(seed)
    dead = np.zeros((H, W), bool)
    dead.reshape(-1)[rng.choice(H * W, 200, replace=False)] = True
    stack[:, dead] += np.where(rng.random(200) < 0.5, -1, 1) * rng.integers(500, 3000, 200)
    mask = faults.dead_pixels(stack.astype(np.uint16))
    assert (mask & dead).sum() >= 190
    assert (mask & ~dead).sum() <= 2
    assert "pixels stand apart" in named(stack.astype(np.uint16))["dead_pixels"].sentence


# What comes with them.


def test_times():
    steady = np.arange(20) * 10**8
    assert faults.time_faults(steady, "x") == []
    gap = steady + np.where(np.arange(20) >= 7, 10**9, 0)
    (fault,) = faults.time_faults(gap, "x")
    assert (fault.name, fault.grave) == ("time_gaps", False)
    assert "before frame 7 (1.10 s, usual 0.100 s)" in fault.sentence
    back = steady.copy()
    back[5] = back[4]
    (fault,) = faults.time_faults(back, "x")
    assert (fault.name, fault.grave) == ("time_order", True)
    assert faults.time_faults(steady[:1], "x") == []


@pytest.mark.parametrize(
    ("numbers", "grave", "words"),
    [
        ((400, 400, 320, 256), None, ""),
        ((400, 400, 700, 256), True, "outside the 640x512 image"),
        ((400, 400, 100, 256), False, "far from the middle"),
        ((-400, 400, 320, 256), True, "no focal lengths"),
        ((40, 40, 320, 256), True, "field of view of 165"),
        ((9000, 9000, 320, 256), True, "field of view of 4"),
        ((400, 600, 320, 256), False, "oblong"),
    ],
)
def test_intrinsics(numbers, grave, words):
    said = faults.intrinsics_faults(intrinsics.matrix(*numbers), (512, 640), "K")
    if grave is None:
        assert said == []
    else:
        assert words in said[0].sentence
        assert said[0].grave is grave


def test_sizes():
    assert faults.size_fault([(4, 5)] * 3, "x") is None
    assert "(6, 5) (frame 2)" in str(faults.size_fault([(4, 5), (4, 5), (6, 5)], "x"))


def test_a_field_of_view_is_a_focal_length():
    K = intrinsics.from_fov(90, (512, 640)).K
    np.testing.assert_allclose(K, [[320, 0, 319.5], [0, 320, 255.5], [0, 0, 1]])
    for bad in (0, 180, float("nan")):
        with pytest.raises(UserError):
            intrinsics.from_fov(bad, (512, 640))


def test_kalibr_lists_in_both_styles(tmp_path):
    block = "cam0:\n  distortion_coeffs:\n  - -0.3\n  - 0.1\n  intrinsics:\n  - 4.0e2\n  - 401\n  - 320.5\n  - 256\n"
    (tmp_path / "k.yaml").write_text(block + "  resolution: [640, 512]\n")
    given = intrinsics.parse(str(tmp_path / "k.yaml"), (512, 640))
    np.testing.assert_allclose(given.K, [[400, 0, 320.5], [0, 401, 256], [0, 0, 1]])
    assert "lens distortion" in given.notes[0]
    with pytest.raises(UserError, match="is the calibration of 640x512 images, these are 320x256"):
        intrinsics.parse(str(tmp_path / "k.yaml"), (256, 320))
    (tmp_path / "none.yaml").write_text("cam0:\n  rostopic: /x\n")
    with pytest.raises(UserError, match="has no `intrinsics:"):
        intrinsics.parse(str(tmp_path / "none.yaml"), (256, 320))


@pytest.mark.real
def test_real_frames(real_data):
    """Raw recordings have no grave fault; contrast-stretched ones all have theirs."""
    for path in [
        *sorted((real_data / "thermal_video").glob("*.png"))[::14],
        *(real_data / "ms2_sample").glob("*thr*"),
    ]:
        assert found(io.read(path).pixels[0]) == set()
    for path in (real_data / "msrs_pairs").glob("*_ir.png"):
        read = io.read(path)
        assert "eight_bit" in found(read.pixels[0], unit=read.unit)
    video = [io.read(p).pixels[0] for p in sorted((real_data / "thermal_video").glob("*.png"))[:8]]
    assert {fault.name for fault in faults.sequence_faults(np.stack(video), "x")} <= {"dead_pixels"}
