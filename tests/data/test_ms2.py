"""MS2 from a generated tree in the released layout: known points land where calib.npy says they do."""

import shutil

import cv2
import numpy as np
import pytest
from ms2_tree import BASELINES, COUNTS, FRAMES, POINTS, POSES, RIG, calib, write_sequence
from refusals import sentence
from rig_scene import K, draw, drive, landed

from tdepth_jax import prepare
from tdepth_jax.data import raw
from tdepth_jax.data.datasets import ms2
from tdepth_jax.data.pipeline import eval_batches, train_iterator
from tdepth_jax.data.sources import open_split


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with one sequence of four splits, never to be changed."""
    root = tmp_path_factory.mktemp("ms2")
    write_sequence(root, ms2.SPLITS["train"][0])
    for split in ("val", "test_night", "test_rain"):
        for part in ("sync_data", "proj_depth", "odom"):
            shutil.copytree(root / part / ms2.SPLITS["train"][0], root / part / ms2.SPLITS[split][-1])
    (root / "sync_data" / "_2021-08-13-15-42-41").mkdir()  # taken off the authors' list: ignored
    return root


@pytest.fixture
def copy(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "raw")


def run(raw_dir, out, *more):
    prepare.main(["ms2", f"--raw={raw_dir}", f"--out={out}", "--jobs=1", *more])
    return out / "ms2"


@pytest.fixture(scope="module")
def everything(tree, tmp_path_factory):
    return run(tree, tmp_path_factory.mktemp("out"), "--cameras=rgb,nir,thermal", "--right")


def refused(capsys, raw_dir, out, *more):
    return sentence(capsys, out, lambda: run(raw_dir, out, *more))


def test_the_splits_are_the_authors():
    assert {split: len(names) for split, names in ms2.SPLITS.items()} == {
        "train": 8, "val": 3, "test_day": 3, "test_night": 3, "test_rain": 3,
    }  # fmt: skip
    assert len({name for names in ms2.SPLITS.values() for name in names}) == 20


def test_files_are_stored_as_they_are(tree, everything):
    train = open_split(everything, "train")
    assert len(train) == FRAMES
    frame, sync = train[2], tree / "sync_data" / ms2.SPLITS["train"][0]
    for camera, folder in ms2.FOLDERS.items():
        for key, side in ((camera, "left"), (f"{camera}_right", "right")):
            want = cv2.imread(str(sync / folder / f"img_{side}" / "000002.png"), cv2.IMREAD_UNCHANGED)
            want = want[..., ::-1] if camera == "rgb" else want
            np.testing.assert_array_equal(frame[f"{key}/image"], want)
            assert frame[f"{key}/image"].dtype == (np.uint16 if camera == "thermal" else np.uint8)
        png = cv2.imread(
            str(tree / "proj_depth" / sync.name / folder / "depth_filtered" / "000002.png"),
            cv2.IMREAD_UNCHANGED,
        )
        np.testing.assert_array_equal(frame[f"{camera}/depth"], np.float32(png / 256))  # metres, no rounding
    assert frame["timestamp_ns"] == 1628215000133333000
    assert frame["condition"] == "day_or_rain"
    assert open_split(everything, "test_rain")[0]["condition"] == "rain"


def test_known_points_land_where_the_calibration_says(everything):
    """Depth, K, millimetres, row order, left to right, thermal to RGB and NIR: one mistake and points miss."""
    frame = open_split(everything, "train")[0]
    thermal, depth, Kt = frame["thermal/image"].astype(float), frame["thermal/depth"], frame["thermal/K"]
    grey = np.where(depth > 0, (thermal - 3000) / 40 * 10 + 5, 0)  # the same point in the other images
    for camera in ("rgb", "nir"):
        target = frame["rgb/image"][..., 0] if camera == "rgb" else frame["nir/image"]
        to = frame[f"{camera}_from_thermal"].astype(float)
        assert landed(grey, depth, Kt, frame[f"{camera}/K"], to, target) == 1
        assert landed(grey, depth, Kt, frame[f"{camera}/K"], np.linalg.inv(to), target, least=3) < 0.5
        transposed = to.copy()
        transposed[:3, :3] = to[:3, :3].T
        assert landed(grey, depth, Kt, frame[f"{camera}/K"], transposed, target, least=3) < 0.5
    right, shift = frame["thermal_right/image"], frame["thermal_right_from_thermal"]
    assert landed(thermal * (depth > 0), depth, Kt, frame["thermal_right/K"], shift, right) == 1
    assert (
        landed(
            thermal * (depth > 0), depth, Kt, frame["thermal_right/K"], np.linalg.inv(shift), right, least=3
        )
        < 0.5
    )
    for camera in ("rgb", "nir"):
        image = frame[f"{camera}/image"][..., 0] if camera == "rgb" else frame[f"{camera}/image"]
        other = frame[f"{camera}_right/image"]
        other = other[..., 0] if camera == "rgb" else other
        shift = frame[f"{camera}_right_from_{camera}"]
        args = frame[f"{camera}/depth"], frame[f"{camera}/K"], frame[f"{camera}_right/K"], shift, other
        assert landed(image, *args) == 1
    # Rectified: a point of the left image lies in the same row of the right one, further left by f b / z.
    value = np.unique(thermal[depth > 0])[7]
    (v, u), (v2, u2) = (np.argwhere(image == value).mean(0) for image in (thermal, right))
    z = depth[thermal == value].max()
    assert v == v2
    assert u - u2 == pytest.approx(420 * BASELINES["thr"] / z, abs=1.01)


def test_poses_carry_points_from_frame_to_frame(everything):
    frames = [open_split(everything, "train")[i] for i in (0, 3)]
    for camera in ("thermal", "rgb", "nir"):
        images = [f[f"{camera}/image"] if camera != "rgb" else f["rgb/image"][..., 0] for f in frames]
        a, b = (f[f"{camera}/world_from_camera"].astype(float) for f in frames)
        depth, Kc = frames[0][f"{camera}/depth"], frames[0][f"{camera}/K"]
        image = images[0] * (depth > 0)
        assert landed(image, depth, Kc, Kc, np.linalg.inv(b) @ a, images[1]) == 1
        assert landed(image, depth, Kc, Kc, np.linalg.inv(a) @ b, images[1], least=3) < 0.5
    np.testing.assert_allclose(frames[0]["thermal/world_from_camera"], np.eye(4), atol=1e-6)


def test_the_facts_of_the_data_set(everything):
    facts = open_split(everything, "train").metadata
    assert facts["sensor"]["planck"] == {"R": 380747.0, "B": 1428.0, "F": 1.0, "O": -88.539}
    assert facts["protocols"][0] == "sup4thermal"
    assert facts["frame_step"] == {"train": 1, "val": 3, "test_night": 10, "test_rain": 10}
    assert facts["baseline_metres"] == pytest.approx({"thermal": 0.3, "rgb": 0.25, "nir": 0.2})
    assert facts["depth_source"] == "depth_filtered"
    assert "train lacks 7 of 8 sequences" in facts["checks"][0]
    assert not any("poses" in note for note in facts["checks"])


def test_unfiltered_depth_other_cameras_and_no_depth(tree, tmp_path):
    root = run(tree, tmp_path / "a", "--depth=unfiltered", "--cameras=thermal", "--splits=val", "--fps=15")
    val = open_split(root, "val")
    filtered = draw(RIG["thr"], POINTS, POSES[1], COUNTS)[1]
    np.testing.assert_allclose(val[1]["thermal/depth"], 2 * filtered, atol=2 / 256)
    assert val.features == {
        "sequence", "index", "timestamp_ns", "condition", "thermal/image", "thermal/K", "thermal/depth",
        "thermal/world_from_camera", "condition/night",
    }  # fmt: skip
    assert val[3]["timestamp_ns"] == 200_000_000
    root = run(tree, tmp_path / "b", "--depth=none", "--splits=val")
    assert "thermal/depth" not in open_split(root, "val").features


def refine(root, factor=1):
    """As the release does: some of the filtered depths are taken away, the others stay as they are."""
    name = ms2.SPLITS["train"][0]
    for camera in ("thr", "rgb"):
        folder = root / "proj_depth" / name / camera
        (folder / ms2.REFINED).mkdir()
        for path in (folder / "depth_filtered").glob("*.png"):
            depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            depth[:, depth.shape[1] // 2 :] = 0
            cv2.imwrite(str(folder / ms2.REFINED / path.name), depth * np.uint16(factor))


def test_refined_labels_train_and_official_ones_are_scored(copy, tmp_path):
    refine(copy)
    root = run(copy, tmp_path / "out", "--depth=refined", "--cameras=rgb,nir")
    train, val = open_split(root, "train"), open_split(root, "val")
    for camera, folder in ms2.FOLDERS.items():
        whole = val[1][f"{camera}/depth"]
        official = copy / "proj_depth" / ms2.SPLITS["val"][-1] / folder / "depth_filtered" / "000001.png"
        want = cv2.imread(str(official), cv2.IMREAD_UNCHANGED) / 256
        np.testing.assert_array_equal(whole, np.float32(want))
        half = whole.copy()
        half[:, whole.shape[1] // 2 :] = 0
        assert 0 < (half > 0).sum() < (whole > 0).sum()
        np.testing.assert_array_equal(train[1][f"{camera}/depth"], whole if camera == "nir" else half)
    assert train.metadata["train_depth_source"] == ms2.REFINED
    assert train.metadata["depth_source"] == "depth_filtered"


def test_refined_labels_that_are_not_there_or_of_another_depth(copy, tmp_path, capsys):
    says = f"thr/{ms2.REFINED}; unpack the MonoTher-Depth release's proj_depth there, or give another --depth"
    assert says in refused(capsys, copy, tmp_path / "out", "--depth=refined")
    refine(copy, factor=2)
    says = "depth_filtered/000002.png has not; are both of this sequence and camera?"
    assert says in refused(capsys, copy, tmp_path / "out", "--depth=refined")


def test_depth_of_both_cameras_reaches_a_batch_in_metres(everything):
    """The stored sizes differ, 640x256 and 1224x384; the batch's size and K are one, metres stay metres."""
    source = open_split(everything, "train")
    keys = frozenset(f"{camera}/{what}" for camera in ("thermal", "rgb") for what in ("image", "K", "depth"))
    keys |= {"rgb_from_thermal"}
    more = {"keys": keys, "image_size": (128, 320), "batch_size": 1, "threads": 1}
    with train_iterator(source, offsets=(0,), seed=0, **more) as batches:
        batch = next(batches)
    frame = source[int(batch["example"][0])]
    for camera in ("thermal", "rgb"):
        got, stored = batch[f"{camera}/depth"][0, ..., 0], frame[f"{camera}/depth"]
        assert got.shape == (128, 320)
        assert got.any()
        assert set(np.unique(got).tolist()) <= set(np.unique(stored).tolist())  # taken, never mixed
    h, w = RIG["rgb"].size
    np.testing.assert_allclose(batch["rgb/K"][0, :2, :2], np.diag([700 * 320 / w, 700 * 128 / h]), rtol=1e-6)
    np.testing.assert_allclose(batch["rgb_from_thermal"][0], frame["rgb_from_thermal"])
    with eval_batches(source, **more) as batches:
        one = next(batches)
    np.testing.assert_array_equal(
        one["rgb/depth"][0, ..., 0], source[0]["rgb/depth"]
    )  # scored at the stored size
    np.testing.assert_array_equal(one["thermal/depth"][0, ..., 0], source[0]["thermal/depth"])


def test_sequences_without_odometry_and_frames_without_depth(copy, tmp_path, capsys):
    shutil.rmtree(copy / "odom" / ms2.SPLITS["val"][-1])
    (copy / "proj_depth" / ms2.SPLITS["val"][-1] / "thr" / "depth_filtered" / "000003.png").unlink()
    val = open_split(run(copy, tmp_path / "out"), "val")
    assert "thermal/world_from_camera" not in val[0]
    assert ("thermal/depth" in val[2], "thermal/depth" in val[3]) == (True, False)
    said = capsys.readouterr().err
    assert "has no poses" in said
    assert "has no depth for 1 of 5 frames" in said


def change_calib(root, **changes):
    path = root / "sync_data" / ms2.SPLITS["train"][0] / "calib.npy"
    found = calib() | changes
    np.save(path, {key: value for key, value in found.items() if value is not None}, allow_pickle=True)


def eight_bit(root):
    path = root / "sync_data" / ms2.SPLITS["train"][0] / "thr" / "img_left" / "000000.png"
    cv2.imwrite(str(path), cv2.imread(str(path)))


TRAIN = ms2.SPLITS["train"][0]
BROKEN = {
    "no sync_data": (lambda r: (r / "sync_data").rename(r / "sync"), "holds no folder sync_data; give"),
    "calibration in metres": (
        lambda r: change_calib(r, T_nir2thr=calib()["T_nir2thr"] / 1000), "the release has millimetres there"),
    "calibration without a key": (lambda r: change_calib(r, R_nir2rgb=None), "calib.npy lacks R_nir2rgb; it has"),
    "a transposed K": (lambda r: change_calib(r, K_thrL=np.zeros((3, 4))), "K_thrL is no 3x3 matrix"),
    "K of the uncropped image": (
        lambda r: change_calib(r, K_thrL=K(420, 315, 260)), "(315.0, 260.0) of K_thrL lies outside the 640x256 image"),
    "mirrored R": (lambda r: change_calib(r, R_thrR=np.diag([1, 1, -1])), "R_thrR, T_thrR are no rotation and shift"),
    "no calibration": (lambda r: (r / "sync_data" / TRAIN / "calib.npy").unlink(), "calib.npy cannot be read"),
    "8-bit previews": (eight_bit, "000000.png has 8 bits and PNG colour type 2, wanted 16 bits and one channel"),
    "a missing image": (
        lambda r: (r / "sync_data" / TRAIN / "rgb" / "img_left" / "000003.png").unlink(),
        "lacks 1 of 5 files, the first is 000003.png"),
    "no depth archive": (lambda r: shutil.rmtree(r / "proj_depth"), "unpack the proj_depth archive there, or"),
    "times of another sequence": (
        lambda r: (r / "sync_data" / TRAIN / "thr" / "img_left_timestamp.txt").write_text("1\n2\n"),
        "img_left_timestamp.txt has 2 lines for 5 frames"),
    "half a pose": (
        lambda r: (r / "odom" / TRAIN / "thr" / "000000.txt").write_text("1 0 0"), "holds 3 numbers, wanted 16: a 4x4"),
    "a cut image": (
        lambda r: (r / "sync_data" / TRAIN / "thr" / "img_left" / "000004.png").write_bytes(b"\x89PNG\r\n\x1a\n1234"),
        "000004.png is cut short"),
    "depth of another camera": (
        lambda r: shutil.copy(
            r / "proj_depth" / TRAIN / "rgb" / "depth_filtered" / "000000.png",
            r / "proj_depth" / TRAIN / "thr" / "depth_filtered" / "000000.png"),
        "its image (256, 640) (height, width); is it of another camera?"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_trees_are_one_sentence_and_nothing_is_written(copy, tmp_path, capsys, name):
    spoil, says = BROKEN[name]
    spoil(copy)
    assert says in refused(capsys, copy, tmp_path / "out", "--splits=train")


def test_flags_that_cannot_be(tree, tmp_path, capsys):
    assert "there is no 'lidar'; choose among thermal, rgb, nir" in refused(
        capsys, tree, tmp_path, "--cameras=lidar"
    )
    assert "there is no 'test'" in refused(capsys, tree, tmp_path, "--splits=test")
    assert "--fps=0" in refused(capsys, tree, tmp_path, "--fps=0")
    assert "holds none of the sequences of test_day" in refused(capsys, tree, tmp_path, "--splits=test_day")


def test_poses_the_other_way_round_and_in_millimetres_are_noted(copy, tmp_path, capsys):
    poses = np.stack(drive(40))
    assert raw.motion_notes(poses, "x") == []
    assert "drives backwards" in raw.motion_notes(np.linalg.inv(poses), "x")[0]
    poses[:, :3, 3] *= 1000
    assert "in millimetres?" in raw.motion_notes(poses, "x")[0]


@pytest.mark.real
def test_the_real_frames_decode_to_their_known_counts(real_data):
    """Levels measured with another reader on the released frames (see the folder's SOURCE)."""
    for stem, want in (("000011", (3211, 5756)), ("002079", (3403, 5919))):
        data = raw.png(real_data / "ms2_sample" / f"left_{stem}_thr.png", "image")
        assert raw.png_size(data) == ms2.SIZES["thermal"]
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert (image.min(), image.max()) == want
        rgb = raw.png(real_data / "ms2_sample" / f"left_{stem}_rgb.png", "color")
        assert raw.png_size(rgb) == ms2.SIZES["rgb"]
