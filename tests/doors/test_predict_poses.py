"""The camera's path from the predict door, by a method whose motion is known: TUM text, picture, refusals."""

import json
import types

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import recorded
from ml_collections import ConfigDict
from scipy.spatial.transform import Rotation

from tdepth_jax import errors, predict
from tdepth_jax.data import tracks
from tdepth_jax.predictor import model

H, W = 48, 64
TURN = 0.02  # radians to the left at every step


def motion(variables, batch):
    """The camera drives as many units ahead as the picture grows brighter by hundreds of counts, and turns."""
    mean = batch["thermal/image"].astype(jnp.float32).mean(axis=(2, 3, 4))
    ahead = (mean[:, 1] - mean[:, 0]) / 100
    c, s = np.cos(TURN), np.sin(TURN)
    target_from_source = jnp.tile(
        jnp.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1.0]]), (len(mean), 1, 1)
    )
    return jnp.linalg.inv(target_from_source.at[:, 2, 3].set(ahead))


def fake(scale="relative", motion=motion):
    system = types.SimpleNamespace(
        predict=lambda variables, batch: {"depth": jnp.ones(batch["thermal/image"].shape)},
        motion=motion, intrinsics=None, scale=scale, wants=frozenset(), camera="thermal", sees=frozenset(),
        classes=(),
    )  # fmt: skip
    config = {
        "system": {"name": "fake", "normalization": "snippet"},
        "data": {"dataset": "data/fake", "image_size": (24, 32)},
    }
    return types.SimpleNamespace(config=ConfigDict(config), system=system, variables={}, step=7)


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: fake())


def frames(count, step=100):
    rng = np.random.default_rng(0)
    picture = 3000 + 400 * cv2.GaussianBlur(rng.normal(0, 5, (H, W)), (0, 0), 3)
    return np.stack([picture + step * i for i in range(count)]).astype(np.uint16)


def folder(path, **more):
    path.mkdir(parents=True)
    for i, image in enumerate(frames(7, **more)):
        cv2.imwrite(str(path / f"f{i}.png"), image)
    return path


def go(tmp_path, *words):
    predict.main([*map(str, words), "--checkpoint=runs/fake", "-o", str(tmp_path / "out")])
    return tmp_path / "out"


def expected(count):
    """Chained by hand: one unit ahead, then the turn, at every step."""
    pose, found = np.eye(4), [np.eye(4)]
    step = np.eye(4)
    step[:3, :3] = Rotation.from_rotvec([0, -TURN, 0]).as_matrix()
    step[2, 3] = 1
    for _ in range(count - 1):
        pose = pose @ step
        found.append(pose)
    return np.stack(found)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_folder_is_one_path(tmp_path, capsys, batch):
    out = go(tmp_path, folder(tmp_path / "drive"), "--save=poses", f"--batch-size={batch}")
    assert sorted(p.name for p in out.iterdir()) == ["drive_poses.txt", "drive_trajectory.png", "meta.json"]
    text = (out / "drive_poses.txt").read_text()
    assert "units of the model's own" in text
    assert text.splitlines()[2].split()[0] == "0"  # files have no times: the number of the frame
    np.testing.assert_allclose(tracks.poses(out / "drive_poses.txt", 7), expected(7), atol=2e-3)
    (said,) = json.loads((out / "meta.json").read_text())["trajectories"]
    assert (said["frames"], said["backwards"]) == (7, 0.0)
    assert said["length"] == pytest.approx(6, rel=1e-3)
    image = cv2.imread(str(out / "drive_trajectory.png")).astype(int)
    red = (image[..., 2] > 150) & (image[..., 1] < 110)
    rows, columns = np.nonzero(red)
    assert (
        columns[rows == rows.min()].mean() < columns[rows == rows.max()].mean() - 20
    )  # ahead is up, left is left
    assert "1 trajectory in" in capsys.readouterr().out


def test_poses_beside_depth(tmp_path):
    out = go(tmp_path, folder(tmp_path / "drive"), "--save=npz,poses")
    assert len(list(out.glob("*.npz"))) == 7
    assert (out / "drive_poses.txt").exists()


def test_records_have_times_and_every_sequence_its_path(tmp_path):
    data = recorded.write(tmp_path, left=frames(4), right=frames(3))
    out = go(tmp_path, f"{data}:train", "--save=poses")
    assert sorted(p.name for p in out.glob("*.txt")) == ["left_poses.txt", "right_poses.txt"]
    times, poses = tracks.table(out / "right_poses.txt")
    np.testing.assert_array_equal(times, [0, 10**8, 2 * 10**8])
    np.testing.assert_allclose(poses, expected(3), atol=2e-3)


def test_a_camera_said_to_drive_backwards(tmp_path, capsys):
    go(tmp_path, folder(tmp_path / "drive", step=-40), "--save=poses")
    assert "drive: in 100% of its steps the camera is said to drive backwards" in capsys.readouterr().err


def test_metres_where_the_method_knows_them(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: fake(scale="metric"))
    out = go(tmp_path, folder(tmp_path / "drive"), "--save=poses")
    assert "z forward); metres" in (out / "drive_poses.txt").read_text()


@pytest.mark.parametrize(
    ("case", "words"),
    [("no motion", "predicts no camera motion"), ("one frame", "no two frames"), ("there", "--overwrite")],
)  # fmt: skip
def test_refusals(tmp_path, monkeypatch, capsys, case, words):
    drive = folder(tmp_path / "drive")
    if case == "no motion":
        monkeypatch.setattr(model, "load_run", lambda workdir, step=None: fake(motion=None))
    if case == "there":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "drive_trajectory.png").write_text("mine")
    source = drive / "f0.png" if case == "one frame" else drive
    with pytest.raises(SystemExit) as stop:
        errors.run_door(
            predict.main, [str(source), "--checkpoint=runs/fake", "-o", str(tmp_path / "out"), "--save=poses"]
        )
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert words in said.splitlines()[-1]
    assert not list(tmp_path.glob("out/*.txt"))
