"""ZJU-4DRadarCam from a generated tree: the published rows, K and radar moved with them, which depth is where."""

import shutil

import numpy as np
import pytest
import zju_tree as tree_of
from refusals import sentence

from tdepth_jax import prepare
from tdepth_jax.data.sources import open_split


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("zju")
    tree_of.write(root)
    return root


def run(raw_dir, out, *more):
    prepare.main(["zju", f"--raw={raw_dir}", f"--out={out}", "--jobs=1", *more])
    return out / "zju"


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory):
    return run(tree, tmp_path_factory.mktemp("out"))


def test_the_published_rows_are_kept(prepared):
    for split, stems in tree_of.STEMS.items():
        assert len(open_split(prepared, split)) == len(stems)
    frame = open_split(prepared, "test")[0]
    assert frame["rgb/image"].shape == (300, 1280, 3)
    assert frame["rgb/image"][0, 0].tolist() == [13, 0, 77]  # row 240 of frame 3, red first
    assert frame["rgb/image"][-1, 0].tolist() == [13, 0, 77]
    assert frame["rgb/depth"][60, 203] == 12.25
    assert (frame["rgb/depth"] > 0).sum() == 1
    np.testing.assert_allclose(
        frame["rgb/K"], [[643.67, 0, 631.35], [0, 643.54, 127.31], [0, 0, 1]], rtol=1e-6
    )


def test_radar_points_lie_where_the_release_draws_them(prepared):
    frame = open_split(prepared, "test")[0]
    x, y, z = frame["radar"].T
    u, v = (frame["rgb/K"] @ np.stack([x / z, y / z, np.ones_like(z)]))[:2]
    np.testing.assert_allclose(np.stack([u, v + 240, z], axis=1), tree_of.POINTS, atol=1e-3)
    assert open_split(prepared, "test")[1]["radar"].shape == (1, 3)  # one point alone


def test_depth_is_filled_in_training_alone(prepared, tree, tmp_path):
    depth = open_split(prepared, "train")[0]["rgb/depth"]
    assert depth[60, 200] == 12.25  # the scan's own
    assert (depth > 0).all()
    assert depth[0, 0] == 9
    sparse = open_split(run(tree, tmp_path, "--train-depth=sparse", "--splits=train"), "train")[0][
        "rgb/depth"
    ]
    assert (sparse > 0).sum() == 1


@pytest.mark.parametrize(
    ("spoil", "flags", "says"),
    [
        (lambda r: shutil.rmtree(r / "data" / "image"), (), "holds no data/image"),
        (lambda r: (r / "data" / "radar" / "1001.npy").unlink(), (), "1001.npy"),
        (lambda r: (r / "data" / "val.txt").write_text(""), (), "lists 0 frames"),
        (lambda r: np.save(r / "data" / "radar" / "1000.npy", np.zeros((4, 2))), (), "u, v, depth"),
        (lambda r: None, ("--splits=all",), "choose among"),
    ],
)
def test_mistakes_are_named(spoil, flags, says, tree, tmp_path, capsys):
    raw = shutil.copytree(tree, tmp_path / "raw")
    spoil(raw)
    assert says in sentence(capsys, tmp_path / "out", lambda: run(raw, tmp_path / "out", *flags))
