"""ViViD from generated trees in both layouts: the same points land on themselves, the authors' frames are kept."""

import shutil

import cv2
import numpy as np
import pytest
from refusals import sentence
from rig_scene import K, landed
from vivid_tree import (
    FRAMES,
    KEPT,
    RGB_FROM_THERMAL,
    picture,
    rows,
    write_calibration,
    write_prepared,
    write_processed,
)

from tdepth_jax import prepare
from tdepth_jax.data import raw
from tdepth_jax.data.datasets import vivid
from tdepth_jax.data.examples import Snippets
from tdepth_jax.data.sources import open_split, snippet_centres


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("KAIST_VIVID")
    for sequence in ("outdoor_robust_day1", "outdoor_robust_night1", "outdoor_robust_night2"):
        write_processed(root, sequence)
    write_calibration(root)
    return root


@pytest.fixture
def copy(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "raw")


def run(raw_dir, out, *more):
    prepare.main(["vivid", f"--raw={raw_dir}", f"--out={out}", "--jobs=1", *more])
    return next(out.glob("vivid_*"))


def refused(capsys, raw_dir, out, *more):
    return sentence(capsys, out, lambda: run(raw_dir, out, *more))


def test_the_frames_that_the_authors_keep(tree, tmp_path, capsys):
    train = open_split(run(tree, tmp_path / "a"), "train")
    assert "train lacks 1 of 2 sequences: outdoor_robust_day2" in capsys.readouterr().err
    assert len(train) == len(KEPT)
    for frame, number in zip((train[i] for i in range(len(KEPT))), KEPT, strict=True):
        image, depth = picture("Thermal", number - 1)
        np.testing.assert_array_equal(frame["thermal/image"], image)
        np.testing.assert_allclose(frame["thermal/depth"], depth, atol=1 / 512 + 1e-6)  # native size, metres
        np.testing.assert_array_equal(frame["rgb/image"][..., 0], picture("RGB", number - 1)[0][..., 2])
        assert (
            abs(frame["timestamp_ns"] - (1550000000 * 10**9 + (number - 1) * 50_000_000)) < 1000
        )  # as written
    everything = open_split(run(tree, tmp_path / "b", "--min-motion=0", "--no-rgb"), "test")
    assert len(everything) == 2 * FRAMES
    assert not any(key.startswith("rgb") for key in everything.features)
    assert set(everything.table["condition"]) == {"night"}


def test_known_points_land_where_the_calibration_says(tree, tmp_path):
    train = open_split(run(tree, tmp_path), "train")
    frame, later = train[0], train[3]
    depth, Kt = frame["thermal/depth"], frame["thermal/K"]
    grey = np.where(depth > 0, (frame["thermal/image"].astype(float) - 3000) / 4 + 5, 0)
    target, motion_ = frame["rgb/image"][..., 0], frame["rgb_from_thermal"].astype(float)
    assert landed(grey, depth, Kt, frame["rgb/K"], motion_, target) == 1
    assert landed(grey, depth, Kt, frame["rgb/K"], np.linalg.inv(motion_), target, least=3) < 0.5
    for camera in ("thermal", "rgb"):
        a, b = (f[f"{camera}/world_from_camera"].astype(float) for f in (frame, later))
        one, two = (
            f[f"{camera}/image"] if camera == "thermal" else f["rgb/image"][..., 0] for f in (frame, later)
        )
        args = (
            one * (frame[f"{camera}/depth"] > 0),
            frame[f"{camera}/depth"],
            frame[f"{camera}/K"],
            frame[f"{camera}/K"],
        )
        assert landed(*args, np.linalg.inv(b) @ a, two, least=6) == 1
        assert landed(*args, np.linalg.inv(a) @ b, two, least=3) < 0.5


def test_the_facts_of_the_data_set(tree, tmp_path):
    facts = open_split(run(tree, tmp_path), "val").metadata
    assert (facts["indoor"], facts["protocols"][0], facts["layout"]) == (False, "shin2022", "post-processed")
    assert (facts["timestamps"], facts["min_motion"]) == ("given", 0.15)
    assert not any("poses" in note for note in facts["checks"])


def test_the_authors_prepared_folder_is_the_same_data(tree, tmp_path, capsys):
    write_prepared(tmp_path / "raw", "outdoor_robust_day1")
    small = open_split(run(tmp_path / "raw", tmp_path / "small"), "train")
    large = open_split(run(tree, tmp_path / "large"), "train")
    assert len(small) == len(large)
    assert small.metadata["timestamps"] == "assumed"
    assert "its images 320x256: each pixel takes the nearest measurement" in capsys.readouterr().err
    for i in (0, 3):
        a, b = small[i], large[i]
        np.testing.assert_allclose(a["thermal/K"][:2], b["thermal/K"][:2] / 2, rtol=1e-6)
        np.testing.assert_allclose(a["thermal/world_from_camera"], b["thermal/world_from_camera"], atol=1e-5)
        np.testing.assert_allclose(a["rgb_from_thermal"], b["rgb_from_thermal"], atol=1e-6)
        assert a["thermal/depth"].shape == (256, 320)
        np.testing.assert_array_equal(a["thermal/depth"], b["thermal/depth"][1::2, 1::2])
    assert np.diff(small.table["timestamp_ns"]).tolist() == [100_000_000, 300_000_000, 200_000_000]


def test_indoor_splits_and_the_well_lit_frames(tmp_path, capsys):
    """By the authors' list, frames 20 and 23 of 18..25 have the lamp on; and both spellings are found."""
    root = tmp_path / "raw"
    for sequence in ("indoor_robust_varying", "indoor_aggressive_local", "indoor_robust_dark"):
        write_processed(root, sequence, first=1 if "varying" not in sequence else 18)
    write_calibration(root, name="cali_ther_to_rgb.yaml")
    # Lines are those of files 1..25 where files begin at 18.
    for name in ("thermal", "RGB"):
        path = root / "indoor_robust_varying" / f"poses_{name}.txt"
        np.savetxt(path, np.vstack([np.tile(np.eye(4)[:3].reshape(1, 12), (17, 1)), np.loadtxt(path)]))
    out = run(root, tmp_path / "out", "--scene=indoor", "--min-motion=0", "--fps=20")
    lit = open_split(out, "test_well_lit")
    assert out.name == "vivid_indoor"
    assert lit.metadata["indoor"]
    by_name = {name: (lit.table["sequence"] == name).sum() for name in set(lit.table["sequence"])}
    assert by_name == {"indoor_aggresive_local": FRAMES, "indoor_robust_varying_well_lit": 2}
    np.testing.assert_array_equal(lit[FRAMES + 1]["thermal/image"], picture("Thermal", 23 - 18)[0])
    assert lit[FRAMES]["condition"] == "well_lit"
    assert set(open_split(out, "test_dark").table["condition"]) == {"dark"}
    assert len(vivid._ranges(vivid.WELL_LIT_FRAMES)) == 268
    assert "train lacks 5 of 5" in capsys.readouterr().err


def test_the_authors_well_lit_folder_has_the_calibration_of_the_whole(tmp_path):
    """Their script copies its images and depth only; without that folder, the listed frames are taken."""
    root = tmp_path / "raw"
    write_prepared(root, "indoor_robust_varying")
    whole = root / "indoor_robust_varying"
    for folder in ("Thermal", "RGB", "Depth_T", "Depth_RGB"):  # names 2, 3, 6, 8 -> 20, 23, 24, 42
        for path in sorted((whole / folder).iterdir()):
            path.rename(
                path.with_stem({"2": "000020", "3": "000023", "6": "000024", "8": "000042"}[path.stem[-1]])
            )
    listed = open_split(run(root, tmp_path / "a", "--scene=indoor"), "test_well_lit")
    assert len(listed) == 3  # 24 is not listed
    np.testing.assert_allclose(
        listed[2]["thermal/world_from_camera"][:3].reshape(12), rows("Thermal")[7], atol=1e-5
    )
    lit = root / "indoor_robust_varying_well_lit"
    for folder in ("Thermal", "RGB", "Depth_T", "Depth_RGB"):
        shutil.copytree(whole / folder, lit / folder, ignore=lambda _, names: [n for n in names if "24" in n])
    copied = open_split(run(root, tmp_path / "b", "--scene=indoor"), "test_well_lit")
    for i in range(3):
        np.testing.assert_array_equal(copied[i]["thermal/image"], listed[i]["thermal/image"])
        np.testing.assert_array_equal(copied[i]["thermal/K"], listed[i]["thermal/K"])
    assert "thermal/world_from_camera" not in copied.features


def test_several_processes_write_the_same(tree, tmp_path):
    one = open_split(run(tree, tmp_path / "one"), "test")
    prepare.main(["vivid", f"--raw={tree}", f"--out={tmp_path / 'two'}", "--jobs=2", "--format=tfrecord"])
    two = open_split(tmp_path / "two" / "vivid_outdoor", "test")
    assert [one.raw(i) for i in range(len(one))] == [two.raw(i) for i in range(len(two))]


def eight_bit(root):
    path = root / "outdoor_robust_day1" / "Thermal" / "data" / "000002.png"
    cv2.imwrite(str(path), (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 16).astype(np.uint8))


DAY = "outdoor_robust_day1"
BROKEN = {
    "no calibration": (lambda r: shutil.rmtree(r / "calibration"), "copy the release's folder calibration"),
    "calibration cut": (lambda r: write_calibration(r, R=None), "has no line `R:` with 9 numbers"),
    "T in millimetres": (
        lambda r: write_calibration(r, T=1000 * RGB_FROM_THERMAL[:3, 3]), "m apart; is T in millimetres?"),
    "K of the small images": (
        lambda r: write_calibration(r, K_Thermal=K(400, 700, 300)), "(700.0, 300.0); is K of another resolution?"),
    "no velocities": (lambda r: (r / DAY / "avg_velocity_thermal.txt").unlink(), "keep all frames with --min-motion=0"),
    "velocities in words": (
        lambda r: (r / DAY / "avg_velocity_thermal.txt").write_text("fast\n"), "cannot be read as a velocity a line"),
    "standing still": (
        lambda r: np.savetxt(r / DAY / "avg_velocity_thermal.txt", np.zeros(8)), "moved by 0.15; lower --min-motion"),
    "a missing image": (
        lambda r: (r / DAY / "Thermal" / "data" / "000003.png").unlink(), "lacks 1 of 4 files, the first is 000003"),
    "a missing depth map": (
        lambda r: (r / DAY / "Warped_Depth" / "data_THERMAL" / "000006.npy").unlink(), "the first is 000006.npy"),
    "poses cut": (
        lambda r: np.savetxt(r / DAY / "poses_thermal.txt", rows("Thermal")[:5]), "5 lines, but there is a frame 8"),
    "too few times": (
        lambda r: (r / DAY / "Thermal" / "timestamps.txt").write_text("1\n"), "has 1 lines for 8 frames"),
    "8-bit images": (eight_bit, "000002.png has 8 bits and PNG colour type 0, wanted 16 bits"),
    "depth as a picture": (
        lambda r: np.save(r / DAY / "Warped_Depth" / "data_RGB" / "000008.npy", np.zeros((4, 4, 3), np.uint8)),
        "is uint8 (4, 4, 3), wanted float metres"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_trees_are_one_sentence_and_nothing_is_written(copy, tmp_path, capsys, name):
    spoil, says = BROKEN[name]
    spoil(copy)
    assert says in refused(capsys, copy, tmp_path / "out")


def test_folders_that_are_none(tree, tmp_path, capsys):
    assert "is no folder" in refused(capsys, tmp_path / "nowhere", tmp_path / "out")
    assert "holds no indoor sequence such as indoor_aggresive_global" in refused(
        capsys, tree, tmp_path / "out", "--scene=indoor"
    )
    (tmp_path / "bags").mkdir()
    (tmp_path / "bags" / "outdoor_robust_day1.bag").touch()
    assert "bags are for `prepare vividpp`" in refused(capsys, tmp_path / "bags", tmp_path / "out")


def test_neighbours_are_counted_in_the_list_that_is_left(tree, tmp_path):
    """An interval of 1 leads to the next frame that was kept, not to the next file."""
    train = open_split(run(tree, tmp_path / "out", "--no-rgb"), "train")
    assert train.table["index"].tolist() == [0, 1, 2, 3]
    assert snippet_centres(train.table, (-1, 0, 1)).tolist() == [1, 2]
    snippets = Snippets.of(train, frozenset({"thermal/image", "thermal/K"}), (-1, 0, 1))
    for number, centre in enumerate((1, 2)):
        frames = [picture("Thermal", KEPT[centre + offset] - 1)[0] for offset in (-1, 0, 1)]
        np.testing.assert_array_equal([f["thermal/image"] for f in snippets[number]], frames)


def test_nearest_takes_one_measurement_and_mixes_none():
    depth = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(raw.nearest(depth, (2, 3)), depth[1::2, 1::2])
    np.testing.assert_array_equal(raw.nearest(depth, (4, 6)), depth)
    np.testing.assert_array_equal(raw.nearest(depth, (8, 6)), depth.repeat(2, axis=0))
