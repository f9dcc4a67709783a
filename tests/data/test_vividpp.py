"""ViViD++ from generated bags: known points in distorted images and in LiDAR scans of a moving car come together."""

import sys

import cv2
import numpy as np
import pytest
from refusals import sentence
from rig_scene import SIDE, landed
from scipy.spatial.transform import Rotation
from vividpp_tree import (
    COUNTS,
    FRAMES,
    GREY,
    POINTS,
    RATE,
    RIG,
    RIG_FROM_LIDAR,
    START,
    extrinsic,
    fisheye,
    image_message,
    pose,
    write_bag,
    write_poses,
)

from tdepth_jax import errors, prepare
from tdepth_jax.data import bags, lens
from tdepth_jax.data.datasets import vividpp
from tdepth_jax.data.sources import open_split


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("driving_full")
    write_bag(root / "campus_day1.bag")
    write_poses(root / "loamposes", "campus_day1")
    np.savetxt(root / "thermal_from_lidar.txt", extrinsic("thermal"))
    np.savetxt(root / "rgb_from_lidar.txt", extrinsic("rgb")[:3])
    return root


def run(raw_dir, out, *more):
    prepare.main(["vividpp", f"--raw={raw_dir}", f"--out={out}", "--jobs=1", *more])
    return next(out.glob("vividpp*"))


def refused(capsys, raw_dir, out, *more):
    return sentence(capsys, out, lambda: run(raw_dir, out, *more))


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return open_split(
        run(tree, out, f"--thermal-from-lidar={tree / 'thermal_from_lidar.txt'}", "--scans=3"), "test"
    )


def test_times_are_the_sensors_not_the_bags(prepared):
    want = [START + 200_000_000 + round(i * 1e9 / RATE) for i in range(FRAMES)]
    assert prepared.table["timestamp_ns"].tolist() == want
    assert set(prepared.table["condition"]) == {"day"}
    assert set(prepared.table["sequence"]) == {"campus_day1"}


def test_images_are_undistorted(prepared):
    """Every point stands where a pinhole camera with K has it; raw, those far from the middle would not."""
    frame, ns = prepared[5], int(prepared.table["timestamp_ns"][5])
    u, v, z = RIG["thermal"].project(POINTS, pose(ns))
    ud, vd = fisheye(u, v, vividpp.RIGS["driving"].thermal)
    moved = np.hypot(ud - u, vd - v)
    assert moved.max() > 3
    hits = [
        abs(int(frame["thermal/image"][round(b), round(a)]) - value) <= 1
        for a, b, depth, value in zip(u, v, z, COUNTS, strict=True)
        if depth > 1 and 8 < a < 632 and 8 < b < 504
    ]
    assert len(hits) > 10
    assert np.mean(hits) > 0.9  # the rest stand behind nearer points
    np.testing.assert_allclose(frame["thermal/K"], RIG["thermal"].K, rtol=1e-6)


def test_depth_is_where_the_points_are(prepared):
    """Interpolated poses, motion within a scan, extrinsic and projection together, within a pixel and 2 %."""
    for i in (2, 6, 9):
        frame, ns = prepared[i], int(prepared.table["timestamp_ns"][i])
        u, v, z = RIG["thermal"].project(POINTS, pose(ns))
        errors_, seen = [], 0
        for a, b, depth in zip(u, v, z, strict=True):
            if depth < 3 or not (8 < a < 632 and 8 < b < 504):
                continue
            window = frame["thermal/depth"][round(b) - 1 : round(b) + 2, round(a) - 1 : round(a) + 2]
            if window.any():
                seen += 1
                errors_.append(np.abs(window[window > 0] - depth).min() / depth)
        assert seen > 12
        assert np.median(errors_) < 0.005
        assert np.mean(np.array(errors_) < 0.02) > 0.85  # others are hidden by nearer points
    # The same scans taken as if nothing moved within them are 0.8 m off: more than the tolerance above.
    assert 8.0 * 0.1 / 40 >= 0.02


def test_poses_carry_points_from_frame_to_frame(prepared):
    one, two = prepared[4], prepared[8]
    a, b = (frame["thermal/world_from_camera"].astype(float) for frame in (one, two))
    np.testing.assert_allclose(a, pose(int(one["timestamp_ns"])) @ RIG["thermal"].rig_from_camera, atol=0.01)
    # Depth at the middle of every square that is wholly in view, from the LiDAR.
    image, depth = np.zeros((512, 640)), np.zeros((512, 640))
    for value in COUNTS:
        rows, columns = np.nonzero(np.abs(one["thermal/image"].astype(int) - value) <= 1)
        if len(rows) < 25:
            continue
        y, x = round(rows.mean()), round(columns.mean())
        near = one["thermal/depth"][y - 1 : y + 2, x - 1 : x + 2]
        if near.any() and SIDE < x < 640 - SIDE and SIDE < y < 512 - SIDE:
            square = np.s_[y - SIDE : y + SIDE + 1, x - SIDE : x + SIDE + 1]
            image[square], depth[square] = value, np.median(near[near > 0])
    args = image, depth, one["thermal/K"], one["thermal/K"]
    assert landed(*args, np.linalg.inv(b) @ a, two["thermal/image"], least=6) > 0.9
    assert landed(*args, np.linalg.inv(a) @ b, two["thermal/image"], least=3) < 0.5


def test_rgb_images_are_those_nearest_in_time_and_the_points_land_in_them(tree, tmp_path):
    flags = [f"--{camera}-from-lidar={tree / f'{camera}_from_lidar.txt'}" for camera in ("thermal", "rgb")]
    test = open_split(run(tree, tmp_path, "--rgb", "--scans=1", *flags), "test")
    # The seventh image has no partner: the sequence is cut there.
    names, counts = np.unique(test.table["sequence"], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"campus_day1.0": 7, "campus_day1.1": 4}
    frame, ns = test[2], int(test.table["timestamp_ns"][2])
    u, v, z = RIG["rgb"].project(POINTS, pose(ns + 4_000_000))
    got = frame["rgb/image"]
    hits = [
        abs(int(got[round(b), round(a), 0]) - value) <= 1
        for a, b, depth, value in zip(u, v, z, GREY, strict=True)
        if depth > 1 and 12 < a < 1268 and 12 < b < 1012
    ]
    assert len(hits) > 10
    assert np.mean(hits) > 0.9
    np.testing.assert_allclose(
        frame["rgb_from_thermal"], extrinsic("rgb") @ np.linalg.inv(extrinsic("thermal")), atol=1e-6
    )


def test_the_hand_held_rig_with_poses_as_a_table(tmp_path):
    root = tmp_path / "raw"
    (root / "pose").mkdir(parents=True)
    write_bag(root / "outdoor_robust_day1.bag", no=("rgb",))
    write_bag(root / "outdoor_robust_night1.bag", no=("rgb", "lidar"))
    rows = ["time,x,y,z,qx,qy,qz,qw"]
    for i in range(36):
        ns = START + round(i * 5e7)
        one = pose(ns) @ RIG_FROM_LIDAR
        quaternion = Rotation.from_matrix(one[:3, :3]).as_quat()
        rows.append(",".join([f"{ns / 1e9:.6f}", *(f"{x:.9f}" for x in (*one[:3, 3], *quaternion))]))
    (root / "pose" / "path_outdoor_robust_day1.csv").write_text("\n".join(rows))
    np.savetxt(root / "e.txt", extrinsic("thermal"))
    out = run(root, tmp_path / "out", "--rig=handheld", f"--thermal-from-lidar={root / 'e.txt'}")
    assert out.name == "vividpp_handheld"
    train, test = open_split(out, "train"), open_split(out, "test")
    assert (train.table["condition"][0], test.table["condition"][0]) == ("day", "night")
    want = pose(int(train.table["timestamp_ns"][3])) @ RIG["thermal"].rig_from_camera
    np.testing.assert_allclose(train[3]["thermal/world_from_camera"], want, atol=0.01)
    assert (train[3]["thermal/depth"] > 0).sum() > 100
    assert train.metadata["undistorted"]["thermal"] == "radtan"
    (root / "pose" / "path_outdoor_robust_day1.csv").write_text("1,2,3\n")
    with pytest.raises(errors.UserError, match=r"day1\.csv, row 1: 3 numbers, wanted t x y z qx qy qz qw"):
        run(root, tmp_path / "b", "--rig=handheld", f"--thermal-from-lidar={root / 'e.txt'}")


def test_without_a_calibration_there_are_images_only(tree, tmp_path, capsys):
    test = open_split(run(tree, tmp_path), "test")
    assert "without --thermal-from-lidar there is neither depth nor pose" in capsys.readouterr().err
    assert {key for key in test.features if "/" in key} == {"thermal/image", "thermal/K", "condition/day"}
    assert (test.metadata["protocols"], test.metadata["undistorted"]["thermal"]) == (["fan2024"], "fisheye")


def test_holes_in_time_cut_the_sequence_and_bags_may_lack_poses_and_scans(tmp_path, capsys):
    root = tmp_path / "raw"
    root.mkdir()
    write_bag(root / "city_night.bag", skip=(4, 5, 6), no=("lidar", "rgb"))
    np.savetxt(root / "e.txt", extrinsic("thermal"))
    write_poses(root, "city_night")
    test = open_split(run(root, tmp_path / "a", f"--thermal-from-lidar={root / 'e.txt'}"), "test")
    names, counts = np.unique(test.table["sequence"], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"city_night.0": 4, "city_night.1": 5}
    assert test[4]["timestamp_ns"] == START + 200_000_000 + round(7e9 / RATE)
    assert "thermal/world_from_camera" in test[0]
    assert "thermal/depth" not in test.features
    assert "has no point clouds" in capsys.readouterr().err
    (root / "city_night_optimized_poses.txt").unlink()
    test = open_split(run(root, tmp_path / "b", f"--thermal-from-lidar={root / 'e.txt'}"), "test")
    assert "thermal/world_from_camera" not in test.features
    assert "has no poses" in capsys.readouterr().err


def test_several_processes_write_the_same(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    for name in ("a_day", "b_night"):
        write_bag(root / f"{name}.bag", no=("rgb",))
        write_poses(root, name)
    np.savetxt(root / "e.txt", extrinsic("thermal"))
    flags = (f"--thermal-from-lidar={root / 'e.txt'}",)
    one = open_split(run(root, tmp_path / "one", *flags), "test")
    two = open_split(run(root, tmp_path / "two", *flags, "--jobs=2"), "test")
    assert [one.raw(i) for i in range(len(one))] == [two.raw(i) for i in range(len(two))]


def test_train_and_test_are_named(tree, tmp_path):
    root = run(tree, tmp_path, "--train=campus_day1")
    assert len(open_split(root, "train")) == FRAMES


BROKEN = {
    "no bag": (["--raw=nowhere"], "holds no *.bag; give the folder driving_full"),
    "an unknown bag": (["--train=campus_day9"], "campus_day9.bag; there are campus_day1"),
    "no scans": (["--scans=0"], "--scans=0"),
    "the wrong rig": (
        ["--rig=handheld", "--rgb"],
        "has no images on /rgb/image; its topics are /camera/image_color",
    ),
    "the wrong topic": (["--lidar-topic=/x", "EXTRINSIC"], "has point clouds on /ouster/points"),
    "no extrinsic": (["--thermal-from-lidar=none.txt"], "none.txt cannot be read as a 3x4 or 4x4 matrix"),
    "a lens of other images": (["--thermal-kalibr=KALIBR"], "the lens is calibrated for 16-bit (256, 320)"),
    "an unknown lens": (
        ["--thermal-kalibr=OMNI"],
        "has the distortion model fov; known are equidistant, radtan",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_are_one_sentence_and_nothing_is_written(tree, tmp_path, capsys, name):
    flags, says = BROKEN[name]
    chain = "cam0:\n  intrinsics: [400, 400, 160, 128]\n  resolution: [320, 256]\n  distortion_coeffs: [0, 0, 0, 0]\n"
    (tmp_path / "k.yaml").write_text(chain + "  distortion_model: equidistant\n")
    (tmp_path / "o.yaml").write_text(chain + "  distortion_model: fov\n")
    known = {"EXTRINSIC": f"--thermal-from-lidar={tree / 'thermal_from_lidar.txt'}"}
    flags = [
        known.get(flag, flag)
        .replace("KALIBR", str(tmp_path / "k.yaml"))
        .replace("OMNI", str(tmp_path / "o.yaml"))
        for flag in flags
    ]
    assert says in refused(capsys, tree, tmp_path / "out", *flags)


def test_bad_extrinsics_and_poses_are_named(tree, tmp_path, capsys):
    motion_ = extrinsic("thermal")
    for spoiled, says in (
        (motion_ * [[1, 1, 1, 1000]], "is it in mm?"),
        (motion_ * [[-1, 1, 1, 1]], "is no rigid motion"),
        (motion_[:2], "holds 8 numbers, wanted 16"),
    ):
        np.savetxt(tmp_path / "e.txt", spoiled)
        assert says in refused(capsys, tree, tmp_path / "out", f"--thermal-from-lidar={tmp_path / 'e.txt'}")
    np.savetxt(tmp_path / "e.txt", np.eye(4))  # the LiDAR's axes taken for the camera's
    run(tree, tmp_path / "sideways", f"--thermal-from-lidar={tmp_path / 'e.txt'}")
    assert "drives sideways" in capsys.readouterr().err


def test_a_bag_cut_short(tree, tmp_path, capsys):
    data = (tree / "campus_day1.bag").read_bytes()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "campus_day1.bag").write_bytes(data[: len(data) // 2])
    assert "campus_day1.bag cannot be read as a ROS bag" in refused(
        capsys, tmp_path / "raw", tmp_path / "out"
    )
    # Damaged within a chunk, its index whole: found where the chunk is read.
    spoiled = data.replace(b"mono16", b"mono1\xff")
    (tmp_path / "raw" / "campus_day1.bag").write_bytes(spoiled)
    assert "campus_day1.bag is damaged" in refused(capsys, tmp_path / "raw", tmp_path / "out")


def test_without_the_package_it_says_what_to_install(tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    assert "pip install 'tdepth-jax[bags]'" in refused(capsys, tree, tmp_path / "out")


# Images and lenses by themselves.


def decoded(picture, encoding):
    return bags.image(bags.Message("/x", 0, 0, image_message(0, picture, encoding)), "x.bag")


def test_images_of_every_encoding():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2**14, (6, 8), np.uint16)
    for encoding in ("mono16", "16UC1"):
        np.testing.assert_array_equal(decoded(counts, encoding), counts)
    big = image_message(0, counts.astype(">u2"), "mono16")
    big.is_bigendian = 1
    np.testing.assert_array_equal(bags.image(bags.Message("/x", 0, 0, big), "x"), counts)
    rgb = rng.integers(0, 256, (6, 8, 3), np.uint8)
    np.testing.assert_array_equal(decoded(rgb, "rgb8"), rgb)
    np.testing.assert_array_equal(decoded(rgb[..., ::-1], "bgr8"), rgb)
    # A Bayer mosaic of one colour: the two-by-two pattern is in the encoding's name.
    for encoding in ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"):
        mosaic = np.zeros((8, 8), np.uint8)
        for k, letter in enumerate(encoding[6:10]):
            mosaic[k // 2 :: 2, k % 2 :: 2] = {"r": 200, "g": 100, "b": 50}[letter]
        np.testing.assert_array_equal(decoded(mosaic, encoding)[4, 4], [200, 100, 50])
    with pytest.raises(errors.UserError, match="encoded as 'yuv422'"):
        decoded(counts, "yuv422")


def test_rows_may_be_padded():
    counts = np.arange(48, dtype=np.uint16).reshape(6, 8)
    message = image_message(0, np.pad(counts, ((0, 0), (0, 3))), "mono16")
    message.width = 8
    np.testing.assert_array_equal(bags.image(bags.Message("/x", 0, 0, message), "x"), counts)
    message.data = message.data[:50]
    with pytest.raises(errors.UserError, match="holds 50 bytes"):
        bags.image(bags.Message("/x", 0, 0, message), "x")


@pytest.mark.parametrize("rig", ["driving", "handheld"])
def test_undistorting_undoes_opencvs_distortion(rig):
    one = vividpp.RIGS[rig].thermal
    rng = np.random.default_rng(2)
    where = np.stack([rng.uniform(120, 520, 40), rng.uniform(100, 410, 40)], 1)
    rays = np.stack([(where[:, 0] - one.K[0, 2]) / one.K[0, 0], (where[:, 1] - one.K[1, 2]) / one.K[1, 1]], 1)
    D = np.array(one.coefficients)
    if one.model == "fisheye":
        shown = cv2.fisheye.distortPoints(rays[None], one.K, D)[0]
    else:
        shown = cv2.projectPoints(np.c_[rays, np.ones(40)], np.zeros(3), np.zeros(3), one.K, D)[0][:, 0]
    for k in range(0, 40, 8):
        image = np.full(one.size, 100, np.uint16)
        x, y = np.rint(shown[k]).astype(int)
        image[y - 3 : y + 4, x - 3 : x + 4] = 9000
        rows, columns = np.nonzero(lens.Undistorter(one).image(image) > 5000)
        np.testing.assert_allclose([columns.mean(), rows.mean()], where[k], atol=1.0)
    pincushion = lens.Undistorter(lens.Lens(one.fx_fy_cx_cy, one.size, "radtan", (0.3, 0.0, 0.0, 0.0)))
    valid = pincushion.valid()
    seen = pincushion.image(np.full(one.size, 5000, np.uint16))
    assert 0.5 < valid.mean() < 0.99
    assert (seen[valid] == 5000).all()  # what is valid mixes nothing in from outside
    assert (seen[:2, :2] == 0).all()
    straight = lens.Lens((100, 100, 7.5, 5.5), (12, 16))
    image = rng.integers(0, 9, (12, 16), np.uint16)
    np.testing.assert_array_equal(lens.Undistorter(straight).image(image), image)
    assert lens.Undistorter(straight).valid().all()
