"""nuScenes from a generated tree: known points land in the camera, radar's and LiDAR's own times and poses minded."""

import shutil

import numpy as np
import nuscenes_tree as tree_of
import pytest
from refusals import sentence

from tdepth_jax import prepare
from tdepth_jax.data import lidar, nuscenes
from tdepth_jax.data.datasets import nuscenes as builder
from tdepth_jax.data.pipeline import eval_batches
from tdepth_jax.data.sources import open_split


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    tree_of.write(root)
    return root


def run(raw_dir, out, *more):
    prepare.main(["nuscenes", f"--raw={raw_dir}", f"--out={out}", "--jobs=1", *more])
    return out / "nuscenes"


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory):
    return run(tree, tmp_path_factory.mktemp("out"), "--splits=train,val")


def depth_at(frame, u, v):
    return frame["rgb/depth"][np.rint(v).astype(int), np.rint(u).astype(int)]


def test_the_official_split():
    assert len(builder.VAL) == 150
    assert {"scene-0003", "scene-0110", "scene-0802", "scene-1073"} <= builder.VAL
    assert not {"scene-0001", "scene-0628", "scene-0918", "scene-1074"} & builder.VAL


def test_a_single_scan_lands_where_its_points_are(prepared):
    """LiDAR and camera have their own poses: 50 ms are 20 cm at this speed."""
    source = open_split(prepared, "val")
    assert len(source) == tree_of.FRAMES
    for i in (0, 1):
        frame = source[i]
        assert frame["sequence"] == "scene-0003"
        assert frame["condition"] == "night_rain"
        points = np.concatenate([tree_of.STILL[i:], tree_of.moving(i)[None]])
        u, v, z = tree_of.seen(points, i)
        np.testing.assert_allclose(depth_at(frame, u, v), z, atol=1 / 256)
        assert (frame["rgb/depth"] > 0).sum() == len(points)
        assert frame["rgb/image"].shape == (*tree_of.SIZE, 3)
        np.testing.assert_allclose(frame["rgb/K"], tree_of.K, rtol=1e-6)


def test_scans_around_fill_the_training_split_but_not_with_what_moves(prepared):
    frame = open_split(prepared, "train")[1]
    u, v, z = tree_of.seen(tree_of.STILL, 1)  # the first was seen by frame 0 alone
    np.testing.assert_allclose(depth_at(frame, u, v), z, atol=1 / 256)
    u, v, z = tree_of.seen(tree_of.moving(1), 1)
    np.testing.assert_allclose(depth_at(frame, u, v), z, atol=1 / 256)  # the frame's own scan keeps it
    for other in (0, 2):
        assert depth_at(frame, *tree_of.seen(tree_of.moving(other), 1)[:2]) == 0
    assert (frame["rgb/depth"] > 0).sum() == len(tree_of.STILL) + 1


def test_radar_is_in_the_cameras_axes_and_sweeps_are_gathered(prepared):
    source = open_split(prepared, "val")
    assert source.metadata["radar_columns"] == ["x", "y", "z", "rcs", "vx", "vz"]
    assert source.metadata["radar_points"] == 5 * 128
    first, second = source[0]["radar"], source[1]["radar"]
    assert (len(first), len(second)) == (2, 3)  # what lies behind is not seen; the second has a sweep more
    when = -tree_of.SWEEP // 2
    camera_from_radar = (
        np.linalg.inv(tree_of.world_from_ego(0) @ tree_of.EGO_FROM["CAM_FRONT"])
        @ tree_of.world_from_ego(when)
        @ tree_of.EGO_FROM["RADAR_FRONT"]
    )
    for got, want in zip(first, tree_of.RETURNS, strict=False):
        where = camera_from_radar[:3, :3] @ want[:3] + camera_from_radar[:3, 3]
        velocity = camera_from_radar[:3, :3] @ (want[4], want[5], 0)
        np.testing.assert_allclose(got, [*where, want[3], velocity[0], velocity[2]], atol=1e-3)
    assert abs(first[0, 4]) < 1  # what comes towards the radar comes along z
    assert first[0, 5] == pytest.approx(-5, abs=0.1)


def test_batches_have_radar_by_name(prepared):
    keys = frozenset({"rgb/image", "rgb/K", "rgb/depth", "radar/x", "radar/y", "radar/z", "radar/rcs"})
    source = open_split(prepared, "val")
    (batch,) = eval_batches(source, keys=keys, image_size=(90, 160), batch_size=3)
    assert batch["rgb/image"].shape == (3, 90, 160, 3)
    assert batch["radar/z"].shape == (3, 640)
    assert batch["radar/valid"].sum(axis=1).tolist() == [2, 3, 3]
    np.testing.assert_array_equal(batch["radar/rcs"][0, :2], source[0]["radar"][:, 3])
    assert "radar" not in batch


def test_one_sweep_and_one_scan(tree, tmp_path):
    out = run(tree, tmp_path, "--splits=train", "--radar-sweeps=1", "--accumulate=0", "--format=tfrecord")
    frame = open_split(out, "train")[1]
    assert len(frame["radar"]) == 2
    assert (frame["rgb/depth"] > 0).sum() == len(tree_of.STILL)  # those it saw itself, and the one that moves
    assert open_split(out, "train").metadata["radar_points"] == 128


def test_rows_at_the_top_and_the_border_have_no_depth():
    depth = np.full((900, 1600), 5.0, np.float32)
    depth[10, 10] = 0.9
    kept = builder.cut(depth)
    assert not kept[:4].any()
    assert not kept[-1].any()
    assert not kept[:, [0, -1]].any()
    assert kept[10, 10] == 0
    assert (kept[4:-1, 1:-1] > 0).sum() == 895 * 1598 - 1


def test_a_box_holds_what_is_in_it():
    turned = tree_of.motion(tree_of.turn("z", 90), (10, 0, 0))
    box = nuscenes.Box(turned, (2.0, 1.0, 1.0))  # 4 m along the world's y
    points = np.array([[10, 1.9, 0], [11.9, 0, 0], [10, 2.05, 0], [10, 0, 1.2]])
    np.testing.assert_array_equal(box.holds(points, 0.0), [True, False, False, False])
    np.testing.assert_array_equal(box.holds(points, 0.1), [True, False, True, False])
    assert lidar.NEAREST < builder.NEAREST


@pytest.mark.parametrize(
    ("spoil", "flags", "says"),
    [
        (lambda r: shutil.rmtree(r / "v1.0-trainval"), (), "holds none of v1.0-trainval"),
        (lambda r: (r / "v1.0-trainval" / "sample.json").unlink(), (), "unpack the metadata archive"),
        (lambda r: (r / "v1.0-trainval" / "scene.json").write_text("{"), (), "cannot be read as a table"),
        (lambda r: (r / "v1.0-trainval" / "scene.json").write_text('[{"token": "a"}]'), (), "no table of nuScenes"),
        (lambda r: shutil.rmtree(r / "sweeps"), (), "sweeps with --radar-sweeps=1"),
        (lambda r: None, ("--splits=trian",), "choose among train, val, test"),
        (lambda r: None, ("--radar-sweeps=0",), "at least 1"),
        (lambda r: None, ("--splits=test",), "no scene of test"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_anything_is_written(spoil, flags, says, tree, tmp_path, capsys):
    raw = shutil.copytree(tree, tmp_path / "raw")
    spoil(raw)
    assert says in sentence(capsys, tmp_path / "out", lambda: run(raw, tmp_path / "out", *flags))


def test_damaged_scans_are_named(tree, tmp_path, capsys):
    raw = shutil.copytree(tree, tmp_path / "raw")
    scan = next((raw / "samples" / "RADAR_FRONT").glob("scene-0003-1*.pcd"))
    scan.write_bytes(scan.read_bytes()[:-8])
    said = sentence(capsys, tmp_path / "out", lambda: run(raw, tmp_path / "out", "--splits=val"))
    assert scan.name in said
    assert "no radar scan" in said
