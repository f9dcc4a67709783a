"""MFNet from a generated tree in the released layout: channels, labels, splits and conditions come back."""

import cv2
import numpy as np
import pytest

from tdepth_jax import errors, prepare
from tdepth_jax.data import classes
from tdepth_jax.data.datasets import mfnet
from tdepth_jax.data.sources import open_split

LISTS = {
    "train": ("00001D", "00002N", "00003D", "00001D_flip", "00002N_flip", "00003D_flip"),
    "val": ("00010D", "00011N"),
    "test": ("00020D", "00021N", "00022N"),
}


def content(name):
    """(red, green, blue, thermal [12 16 4], labels [12 16]) of a file, by its name alone."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return rng.integers(0, 256, (12, 16, 4)).astype(np.uint8), rng.integers(0, 9, (12, 16)).astype(np.uint8)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "raw"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for split, names in LISTS.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            image, labels = content(name)
            cv2.imwrite(str(root / "images" / f"{name}.png"), image[..., [2, 1, 0, 3]])
            cv2.imwrite(str(root / "labels" / f"{name}.png"), labels)
    (root / "test_day.txt").write_text("00020D\n")
    (root / "test_night.txt").write_text("00021N\n00022N\n")
    return root


def made(tree, *flags):
    out = tree.parent / "out"
    prepare.main(["mfnet", f"--raw={tree}", f"--out={out}", "--jobs=1", *flags])
    return out / "mfnet"


def test_channels_labels_and_conditions_come_back(tree, capsys):
    root = made(tree)
    said = capsys.readouterr()
    assert "3 mirrored copies (_flip) are left out" in said.err
    assert "test has 3 images, the release 393" in said.err
    assert "names other images" not in said.err
    source = open_split(root, "test")
    assert source.metadata["label_names"] == list(mfnet.LABEL_NAMES)
    assert source.metadata["label_protocols"] == ["rtfnet"]
    order = ("00020D", "00021N", "00022N")  # day first, each in the list's order
    assert [row["condition"] for row in source.table] == ["day", "night", "night"]
    for frame, name in zip((source[i] for i in range(3)), order, strict=True):
        image, labels = content(name)
        np.testing.assert_array_equal(frame["thermal/image"], image[..., 3])
        np.testing.assert_array_equal(frame["rgb/image"], image[..., :3])
        np.testing.assert_array_equal(frame["thermal/labels"], labels)
        assert frame["timestamp_ns"] == int(name[:5])
    assert len(open_split(root, "train")) == 3
    assert len(open_split(root, "val")) == 2


def test_mirrored_copies_are_kept_when_asked(tree):
    assert len(open_split(made(tree, "--mirrored", "--splits=train"), "train")) == 6


def test_a_viewer_sees_the_channels_in_the_released_order(tree):
    """The release is read as red, green, blue, thermal by Pillow; OpenCV turns the first three round."""
    from PIL import Image

    image, _ = content("00020D")
    np.testing.assert_array_equal(np.asarray(Image.open(tree / "images" / "00020D.png")), image)


def break_list(tree):
    (tree / "val.txt").unlink()


def break_name(tree):
    (tree / "val.txt").write_text("00010X\n")
    for folder in ("images", "labels"):
        (tree / folder / "00010D.png").rename(tree / folder / "00010X.png")


def break_overlap(tree):
    (tree / "val.txt").write_text("00010D\n00020D\n")


def break_channels(tree):
    cv2.imwrite(str(tree / "images" / "00010D.png"), content("x")[0][..., :3])


def break_labels(tree):
    cv2.imwrite(str(tree / "labels" / "00010D.png"), np.full((12, 16), 9, np.uint8))


def break_colours(tree):
    cv2.imwrite(str(tree / "labels" / "00010D.png"), content("x")[0][..., :3])


def break_file(tree):
    (tree / "labels" / "00011N.png").unlink()


def break_folder(tree):
    (tree / "labels").rename(tree / "masks")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (break_list, r"val\.txt cannot be read"),
        (break_name, "neither D"),
        (break_overlap, "lists of val and of test"),
        (break_channels, "four channels"),
        (break_labels, "holds the label 9"),
        (break_colours, "one channel of class numbers"),
        (break_file, r"lacks 1 of 2 files, the first is 00011N\.png"),
        (break_folder, "no folder labels"),
    ],
    ids=lambda x: x.__name__ if callable(x) else "",
)
def test_faults_are_named_before_anything_is_written(tree, fault, said):
    fault(tree)
    with pytest.raises(errors.UserError, match=said):
        made(tree)
    assert not (tree.parent / "out" / "mfnet").exists()


def test_lists_by_day_and_night_are_compared_with_the_names(tree, capsys):
    (tree / "test_night.txt").write_text("00021N\n")
    made(tree, "--splits=test")
    assert "test_night.txt names other images" in capsys.readouterr().err


def test_labels_in_a_methods_own_classes(tree):
    source = open_split(made(tree, "--splits=test"), "test")
    _, labels = content("00020D")
    few = classes.relabelled(source, ("unlabeled", "person", "car"))
    wanted = np.select([labels == 2, labels == 1], [1, 2], 0)
    np.testing.assert_array_equal(few.read(0, {"thermal/labels"})["thermal/labels"], wanted)
    assert few.metadata["absent_classes"] == []
    assert (len(few), few.name, few.split) == (3, "mfnet", "test")
    # Without a class for the rest, the rest is ignored.
    only = classes.relabelled(source, ("person", "tram"))
    wanted = np.where(labels == 2, 0, 255)
    np.testing.assert_array_equal(only[0]["thermal/labels"], wanted)
    assert only.metadata["absent_classes"] == ["tram"]
    with pytest.raises(errors.UserError, match="none of the classes tram"):
        classes.relabelled(source, ("unlabeled", "tram"))
    with pytest.raises(errors.UserError, match="did you mean 'person'"):
        classes.require(source, ("unlabeled", "persn"))


def test_a_relabelled_source_travels_to_worker_processes(tree):
    import pickle

    source = classes.relabelled(open_split(made(tree, "--splits=test"), "test"), ("unlabeled", "person"))
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[1]["thermal/labels"], source[1]["thermal/labels"])
    assert again.metadata == source.metadata
