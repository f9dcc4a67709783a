"""`prepare own`: what it writes of good folders, cut where the camera froze, and how it names a bad one."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from refusals import sentence

from tdepth_jax import prepare
from tdepth_jax.data.sources import open_split

H, W = 48, 64


def scene(rng, width=400):
    """A panorama of 16-bit counts to drive past: blobs on a gradient."""
    image = rng.normal(0, 1, (H, width)).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    return 3300 + 100 * image / image.std()


def drive(count, seed=0, step=3):
    """Frames of a moving camera with sensor noise."""
    rng = np.random.default_rng(seed)
    wide = scene(rng)
    return [
        np.rint(wide[:, i * step : i * step + W] + rng.normal(0, 3, (H, W))).astype(np.uint16)
        for i in range(count)
    ]


def write(folder, frames, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        path = folder / f"frame{i}.{suffix}"  # frame10 after frame9: natural order
        cv2.imwrite(str(path), frame) if suffix != "npy" else np.save(path, frame)
    return folder


def run(tmp_path, raw, *more, camera="--fov-x=60"):
    prepare.main(
        ["own", f"--raw={raw}", f"--out={tmp_path / 'data'}", "--jobs=1", "--name=mine", camera, *more]
    )
    return tmp_path / "data" / "mine"


def refused(capsys, tmp_path, raw, *more, camera="--fov-x=60"):
    """The sentence of a refusal, with exit code 2 and nothing written."""
    return sentence(capsys, tmp_path / "data", lambda: run(tmp_path, raw, *more, camera=camera))


def test_a_folder_of_frames(tmp_path, capsys):
    frames = drive(20)
    root = run(
        tmp_path, write(tmp_path / "raw", frames), "--holdout=0.2", "--condition=night", "--mask-bottom=0.25"
    )
    train, test = open_split(root, "train"), open_split(root, "test")
    assert (len(train), len(test)) == (16, 4)
    for i in (0, 9, 15):
        np.testing.assert_array_equal(train[i]["thermal/image"], frames[i])  # bit for bit
    np.testing.assert_array_equal(test[0]["thermal/image"], frames[16])
    assert test[0]["index"] == 0
    # By hand: 64 pixels over 60 degrees are 32 / tan(30°) pixels of focal length.
    np.testing.assert_allclose(
        train[0]["thermal/K"], [[55.426, 0, 31.5], [0, 55.426, 23.5], [0, 0, 1]], atol=1e-3
    )
    assert train[0]["thermal/valid"][:36].all()
    assert not train[0]["thermal/valid"][36:].any()
    assert train.table["condition"][0] == "night"
    np.testing.assert_array_equal(np.diff(train.table["timestamp_ns"]), 10**8)
    assert train.metadata["sensor"]["unit"] == "raw"
    assert train.metadata["sensor"]["bit_depth"] == 12
    assert train.metadata["checks"] == []
    assert "warning" not in capsys.readouterr().err


def test_sub_folders_are_sequences_with_their_own_times_and_poses(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        folder = write(tmp_path / "raw" / name, drive(12, seed))
        (folder / "times.txt").write_text(
            "# seconds\n" + "\n".join(f"{1700000000 + i / 30:.6f}" for i in range(12))
        )
        turns = [f"{i} {i}.0 0 0 0 0 0.70710678 0.70710678" for i in range(12)]  # TUM: x = i, 90° about z
        (folder / "poses.txt").write_text("\n".join(turns))
    root = run(
        tmp_path,
        tmp_path / "raw",
        "--timestamps=times.txt",
        "--poses=poses.txt",
        camera="--intrinsics=50,51,30,22",
    )
    train = open_split(root, "train")
    assert sorted(set(train.table["sequence"])) == ["a", "b"]
    frame = train[3]
    assert frame["timestamp_ns"] == 1700000000100000000  # exact: no float has 19 digits
    np.testing.assert_allclose(
        frame["thermal/world_from_camera"],
        [[0, -1, 0, 3], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        atol=1e-6,
    )
    np.testing.assert_allclose(frame["thermal/K"], [[50, 0, 30], [0, 51, 22], [0, 0, 1]])


def test_stacks_are_sequences(tmp_path):
    (tmp_path / "raw").mkdir()
    for name, seed in (("one", 0), ("two", 1)):
        tifffile.imwrite(tmp_path / "raw" / f"{name}.tiff", np.stack(drive(10, seed)))
    train = open_split(run(tmp_path, tmp_path / "raw"), "train")
    assert sorted(set(train.table["sequence"])) == ["one", "two"]
    np.testing.assert_array_equal(train[8]["thermal/image"], drive(10, 1)[train.table["index"][8]])


def test_stacks_of_one_name_in_two_folders_stay_apart(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for take in ("1", "2"):
            tifffile.imwrite(tmp_path / "raw" / name / f"{take}.tiff", np.stack(drive(6, seed)))
    train = open_split(run(tmp_path, tmp_path / "raw", "--holdout=0"), "train")
    assert sorted(set(train.table["sequence"])) == ["a/1", "a/2", "b/1", "b/2"]
    write(tmp_path / "same", drive(6))
    write(tmp_path / "same" / "same", drive(6))
    said = refused(capsys, tmp_path / "elsewhere", tmp_path / "same")
    assert "two sequences that would be called 'same'" in said


def test_sequences_of_different_sizes(tmp_path, capsys):
    write(tmp_path / "raw" / "a", drive(6))
    write(tmp_path / "raw" / "b", [frame[:40] for frame in drive(6)])
    said = refused(capsys, tmp_path, tmp_path / "raw")
    assert "the first sequence and b: frames of different sizes: (48, 64) and (40, 64)" in said


def test_float_temperatures_become_counts(tmp_path):
    (tmp_path / "raw").mkdir()
    celsius = [np.float32(20 + (frame.astype(np.float32) - 3300) / 50) for frame in drive(9)]
    for i, frame in enumerate(celsius):
        tifffile.imwrite(tmp_path / "raw" / f"{i}.tiff", frame)
    train = open_split(run(tmp_path, tmp_path / "raw"), "train")
    assert train.metadata["sensor"]["from_celsius"]
    assert abs(int(np.median(train[0]["thermal/image"])) - 2852) < 80  # 20 °C of an A65


def test_a_frozen_camera_cuts_the_sequence(tmp_path, capsys):
    frames = drive(30)
    frames[10] = frames[11] = frames[9]  # the shutter is closed: the camera repeats
    frames[20] = np.full((H, W), 3210, np.uint16)
    root = run(tmp_path, write(tmp_path / "raw", frames), "--holdout=0")
    train = open_split(root, "train")
    sequences, lengths = np.unique(train.table["sequence"], return_counts=True)
    assert sequences.tolist() == ["raw.0", "raw.1", "raw.2"]
    assert lengths.tolist() == [10, 8, 9]
    np.testing.assert_array_equal(train[10]["thermal/image"], frames[12])
    err = capsys.readouterr().err
    assert "2 of 30 frames repeat the one before" in err
    assert any("repeat" in note for note in train.metadata["checks"])


def test_a_gap_in_time_cuts_the_sequence(tmp_path, capsys):
    raw = write(tmp_path / "raw", drive(16))
    (raw / "t.txt").write_text("\n".join(str(i * 0.1 + (5 if i >= 7 else 0)) for i in range(16)))
    train = open_split(run(tmp_path, raw, "--timestamps=t.txt", "--holdout=0"), "train")
    assert np.unique(train.table["sequence"], return_counts=True)[1].tolist() == [7, 9]
    assert "gaps in time" in capsys.readouterr().err


def test_kalibr_files(tmp_path):
    raw = write(tmp_path / "raw", drive(12))
    (tmp_path / "chain.yaml").write_text(
        "cam0:\n  cam_overlaps: []\n  camera_model: pinhole\n  distortion_coeffs: [0.0, 0.0, 0.0, 0.0]\n"
        "  distortion_model: radtan\n  intrinsics: [50.5, 51.5, 31.0,\n    23.0]\n  resolution: [64, 48]\n"
        "cam1:\n  intrinsics: [1, 1, 1, 1]\n"
    )
    train = open_split(run(tmp_path, raw, camera=f"--intrinsics={tmp_path / 'chain.yaml'}"), "train")
    np.testing.assert_allclose(train[0]["thermal/K"], [[50.5, 0, 31], [0, 51.5, 23], [0, 0, 1]])
    assert any("2 cameras" in note for note in train.metadata["checks"])


def test_eight_bits_are_warned_of_and_marked(tmp_path, capsys):
    eight = [((frame.astype(int) - 2500) // 8).clip(0, 255).astype(np.uint8) for frame in drive(12)]
    train = open_split(run(tmp_path, write(tmp_path / "raw", eight)), "train")
    assert "it has 8 bits" in capsys.readouterr().err
    assert train.metadata["sensor"]["unit"] == "agc"


# Five bad data sets, and the mistakes on the command line.


def swap(frames):
    return [frame.byteswap() for frame in frames]


def still(frames):
    rng = np.random.default_rng(5)
    return [(frames[0] + rng.normal(0, 3, (H, W))).astype(np.uint16) for _ in frames]


BAD_FRAMES = {
    "byte-swapped": (swap, "it was written in the other byte order"),
    "static": (still, "nothing moves but noise; self-supervision needs a moving camera"),
    "constant": (lambda frames: [np.full((H, W), 7 + i, np.uint16) for i in range(12)], "every pixel is 7"),
    "mixed sizes": (
        lambda frames: [*frames[:9], frames[9][:40]],
        "frames of different sizes: (48, 64) and (40, 64) (frame 9)",
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_grave_faults_of_frames_stop(tmp_path, capsys, name):
    spoil, message = BAD_FRAMES[name]
    said = refused(capsys, tmp_path, write(tmp_path / "raw", spoil(drive(12))))
    assert message in said
    assert "raw" in said


BAD_FLAGS = {
    "K of another resolution": (
        ["--intrinsics=500,500,320,256"],
        "the principal point (320, 256) lies outside",
    ),
    "K that is none": (["--intrinsics=50,51,30"], "is not fx,fy,cx,cy"),
    "K of words": (["--intrinsics=a,b,c,d"], "is not fx,fy,cx,cy"),
    "no Kalibr file": (["--intrinsics=nowhere.yaml"], "nowhere.yaml cannot be read as a Kalibr file"),
    "fov of 400": (["--fov-x=400"], "is no horizontal field of view"),
    "holdout of 2": (["--fov-x=60", "--holdout=2"], "--holdout=2: it is a share"),
    "all masked": (["--fov-x=60", "--mask-bottom=1.5"], "--mask-bottom=1.5: it is a share of the height"),
    "no times": (["--fov-x=60", "--timestamps=t.txt"], "--timestamps: there is no file"),
    "too few times": (["--fov-x=60", "--timestamps=short.txt"], "short.txt has 2 lines for 12 frames"),
    "times back": (["--fov-x=60", "--timestamps=back.txt"], "the time does not advance at 11 frames"),
    "words as times": (["--fov-x=60", "--timestamps=words.txt"], "line 1: 'noon' is no time"),
    "poses of 5": (["--fov-x=60", "--poses=five.txt"], "line 1: 5 numbers are no pose"),
    "no rotation": (["--fov-x=60", "--poses=shear.txt"], "line 1: it is no rigid motion"),
    "mask of other size": (["--fov-x=60", "--mask=MASK"], "mask.png is 5x5, the frames are 64x48"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_mistakes_are_one_sentence(tmp_path, capsys, name):
    flags, message = BAD_FLAGS[name]
    raw = write(tmp_path / "raw", drive(12))
    (raw / "short.txt").write_text("0\n1\n")
    (raw / "back.txt").write_text("\n".join(str(100 - i) for i in range(12)))
    (raw / "words.txt").write_text("noon\n" * 12)
    (raw / "five.txt").write_text("1 2 3 4 5\n" * 12)
    (raw / "shear.txt").write_text("1 1 0 0 0 1 0 0 0 0 1 0\n" * 12)
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((5, 5), 255, np.uint8))
    flags = [flag.replace("MASK", str(tmp_path / "mask.png")) for flag in flags]
    assert message in refused(capsys, tmp_path, raw, *flags[1:], camera=flags[0])


def test_folders_that_are_none(tmp_path, capsys):
    assert "is no folder" in refused(capsys, tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no frames" in refused(capsys, tmp_path, tmp_path / "empty")
    raw = write(tmp_path / "raw", drive(12))
    (raw / "frame5.png").write_text("I am no picture")
    assert "frame5.png is no image that can be read" in refused(capsys, tmp_path, raw)
    assert "no sequence has 3 good frames in a row" in refused(
        capsys, tmp_path, write(tmp_path / "two", drive(2))
    )


@pytest.mark.real
def test_the_real_video(tmp_path, real_data, capsys):
    root = run(tmp_path, real_data / "thermal_video", "--mask-bottom=0.17", camera="--fov-x=90")
    train, test = open_split(root, "train"), open_split(root, "test")
    assert (len(train), len(test)) == (60, 10)
    original = cv2.imread(str(real_data / "thermal_video" / "0037.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(train[37]["thermal/image"], original)
    assert train[37]["thermal/K"][0, 0] == pytest.approx(320)  # tan 45° = 1
    assert json.dumps(train.metadata)
