"""Freiburg Thermal from a generated tree in the released layout: images, labels, domains and splits come back."""

import cv2
import numpy as np
import pytest

from tdepth_jax import errors, prepare
from tdepth_jax.data.datasets import freiburg
from tdepth_jax.data.sources import open_split
from tdepth_jax.systems import heatnet

SIZE = (65, 192)  # a tenth of the RGB camera's
TRAIN = {
    "seq_00_day/00": ((100, 5), (100, 900), (101, 5)),
    "seq_01_day/00": ((200, 5),),
    "seq_02_Night/00": ((300, 5), (301, 5)),
}
TEST = {"day": ((100, 900), (400, 7)), "night": ((301, 5),)}


def content(stamp):
    """(RGB, counts, class numbers with 13 for unknown) of a moment: smooth, so that resizing keeps them close."""
    rng = np.random.default_rng(sum(stamp))
    rgb = cv2.resize(rng.integers(0, 256, (3, 6, 3)).astype(np.uint8), SIZE[::-1])
    counts = cv2.resize(rng.integers(21800, 25000, (3, 6)).astype(np.uint16), SIZE[::-1])
    return rgb, counts, np.repeat(np.repeat(rng.integers(0, 14, (5, 12)), 13, 0), 16, 1).astype(np.uint8)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "raw"
    for drive, stamps in TRAIN.items():
        for folder in ("fl_rgb", "fl_ir_aligned", "fl_rgb_labels"):
            (root / "train" / drive / folder).mkdir(parents=True)
        for stamp in stamps:
            rgb, counts, labels = content(stamp)
            name = f"{stamp[0]}_{stamp[1]}.png"
            cv2.imwrite(str(root / "train" / drive / "fl_rgb" / f"fl_rgb_{name}"), rgb[..., ::-1])
            cv2.imwrite(str(root / "train" / drive / "fl_ir_aligned" / f"fl_ir_aligned_{name}"), counts)
            if "day" in drive:
                cv2.imwrite(str(root / "train" / drive / "fl_rgb_labels" / f"fl_rgb_labels_{name}"), labels)
    for condition, stamps in TEST.items():
        for folder in ("ImagesRGB", "ImagesIR", "SegmentationClass"):
            (root / "test" / condition / folder).mkdir(parents=True)
        for stamp in stamps:
            rgb, counts, labels = content(stamp)
            name = f"{stamp[0]}_{stamp[1]}"
            cv2.imwrite(str(root / "test" / condition / "ImagesRGB" / f"{name}_rgb.png"), rgb[..., ::-1])
            cv2.imwrite(str(root / "test" / condition / "ImagesIR" / f"{name}_ir.png"), counts)
            np.save(root / "test" / condition / "SegmentationClass" / f"{name}.npy", labels.astype(np.int64))
    return root


def made(tree, *flags):
    out = tree.parent / "out"
    prepare.main(["freiburg", f"--raw={tree}", f"--out={out}", "--jobs=1", *flags])
    return out / "freiburg"


def test_what_is_in_the_files_comes_back(tree, capsys):
    root = made(tree)
    said = capsys.readouterr().err
    assert "test has 2 frames by day and 1 by night, the release 32 and 32" in said
    source = open_split(root, "test")
    assert source.metadata["label_names"] == list(freiburg.LABEL_NAMES) == list(heatnet.FREIBURG)
    assert source.metadata["label_protocols"] == ["heatnet"]
    assert [row["condition"] for row in source.table] == ["day", "day", "night"]
    for frame, stamp in zip((source[i] for i in range(3)), sum(TEST.values(), ()), strict=True):
        rgb, counts, labels = content(stamp)
        assert frame["timestamp_ns"] == stamp[0] * 10**9 + stamp[1]
        # 960 x 320, then columns 148 to 852: pixel (v, u) lies at these of the file.
        v, u = np.meshgrid(np.arange(320), np.arange(148, 852), indexing="ij")
        row, column = ((v + 0.5) * SIZE[0] / 320).astype(int), ((u + 0.5) * SIZE[1] / 960).astype(int)
        wanted = labels[row, column]
        np.testing.assert_array_equal(frame["thermal/labels"], np.where(wanted == 13, 255, wanted))
        for key, image, near in (("rgb/image", rgb, 12), ("thermal/image", counts, 120)):
            assert np.abs(frame[key].astype(float) - image[row, column].astype(float)).max() < near
        assert frame["thermal/valid"].all()
        np.testing.assert_array_equal(frame["thermal/K"], frame["rgb/K"])
    # A point 1 m to the right of the axis at 10 m: 99.7 of 1920 columns, so 49.85 of 960.
    K = source[0]["thermal/K"]
    at = (K @ [1, 0, 10])[0] / 10
    assert at == pytest.approx(479.5 + 49.85 - 148, abs=0.01)


def test_frames_of_test_are_not_in_train_and_nights_have_no_labels(tree, capsys):
    """The authors' loader keeps a frame that any test frame differs from, which is every frame."""
    source = open_split(made(tree), "train")
    assert "2 frames are frames of test and left out" in capsys.readouterr().err
    stamps = [(ns // 10**9, ns % 10**9) for ns in source.table["timestamp_ns"].tolist()]
    assert stamps == [(100, 5), (101, 5), (200, 5), (300, 5)]
    assert source.table["condition"].tolist() == ["day", "day", "day", "night"]
    assert [(r["sequence"], r["index"]) for r in source.table] == [
        ("seq_00_day-00", 0), ("seq_00_day-00", 1), ("seq_01_day-00", 0), ("seq_02_Night-00", 0),
    ]  # fmt: skip
    assert ["thermal/labels" in source[i] for i in range(4)] == [True, True, True, False]


def test_where_thermal_images_do_not_reach_is_said(tree):
    path = tree / "test/day/ImagesIR/400_7_ir.png"
    counts = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    counts[:, :60] = 0  # 60 of 192 columns are 300 of 960, and 152 of what is kept
    cv2.imwrite(str(path), counts)
    valid = open_split(made(tree, "--splits=test"), "test")[1]["thermal/valid"]
    assert not valid[:, :150].any()
    assert valid[:, 156:].all()


def break_folder(tree):
    (tree / "test").rename(tree / "tests")


def break_drives(tree):
    (tree / "train").rename(tree / "old")
    (tree / "train").mkdir()


def break_bits(tree):
    path = tree / "train/seq_01_day/00/fl_ir_aligned/fl_ir_aligned_200_5.png"
    cv2.imwrite(str(path), content((200, 5))[1].astype(np.uint8))


def break_sizes(tree):
    path = tree / "train/seq_01_day/00/fl_ir_aligned/fl_ir_aligned_200_5.png"
    cv2.imwrite(str(path), content((200, 5))[1][:40])


def break_labels(tree):
    np.save(tree / "test/day/SegmentationClass/100_900.npy", np.full(SIZE, 14))


def break_array(tree):
    (tree / "test/day/SegmentationClass/100_900.npy").write_bytes(b"no array")


def break_name(tree):
    folder = tree / "test/day/ImagesIR"
    (folder / "400_7_ir.png").rename(folder / "four_ir.png")


def break_copy(tree):
    folder = tree / "test/day/ImagesIR"
    (folder / "again_400_7_ir.png").write_bytes((folder / "400_7_ir.png").read_bytes())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (break_folder, r"holds no folder test; unpack test\.zip"),
        (break_drives, r"holds no \*/\*/fl_rgb"),
        (break_bits, "has 8 bits .* wanted 16 bits"),
        (break_sizes, "warped to the RGB ones"),
        (break_labels, "holds the label 14"),
        (break_array, "cannot be read as a label map"),
        (break_name, "no two whole numbers"),
        (break_copy, "have one time"),
    ],
    ids=lambda x: x.__name__ if callable(x) else "",
)
def test_faults_are_named_before_anything_is_written(tree, fault, said):
    fault(tree)
    with pytest.raises(errors.UserError, match=said):
        made(tree)
    assert not (tree.parent / "out" / "freiburg").exists()


def test_lone_images_and_missing_labels_are_counted(tree, capsys):
    drive = tree / "train/seq_00_day/00"
    (drive / "fl_ir_aligned/fl_ir_aligned_101_5.png").unlink()
    (drive / "fl_rgb_labels/fl_rgb_labels_100_5.png").unlink()
    assert len(open_split(made(tree, "--splits=train"), "train")) == 3
    said = capsys.readouterr().err
    assert "1 RGB or thermal images without their partner" in said
    assert "1 frames by day have no labels" in said
