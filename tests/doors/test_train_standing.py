"""The train door and video of a camera that does not move: refused, or said; never trained in silence."""

import numpy as np
import pytest
import recorded
from drives import drive, scene
from tiny import TINY, WORLD, sentence

from tdepth_jax import train

pytestmark = pytest.mark.usefixtures("quick")


def still(count):
    rng = np.random.default_rng(5)
    return np.stack([scene(grain=0) + rng.normal(0, 4, (128, 160)) for _ in range(count)]).astype(np.uint16)


def flags(folder, data, **more):
    said = TINY | {
        "data.dataset": str(data),
        "eval.split": "train",
        "train.steps": "3",
        "train.batch_size": "2",
    }
    said |= {k.replace("__", "."): v for k, v in more.items()}
    return [
        f"--config={WORLD}",
        f"--workdir={folder / 'run'}",
        *(f"--config.{k}={v}" for k, v in said.items()),
    ]


def test_a_parked_camera_is_refused_and_nothing_is_written(tmp_path, capsys):
    said = sentence(flags(tmp_path, recorded.write(tmp_path, parked=still(8))), capsys)
    assert said.startswith(
        "error: recorded (train): the camera does not move in 6 of the 6 snippets looked at"
    )
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("forced", [False, True])
def test_stops_are_said_and_trained_around(tmp_path, capsys, forced):
    """And who insists on a parked camera may."""
    stacks = {"parked": still(8)} if forced else {"moving": drive(12), "parked": still(6)}
    more = {"data__check_movement": "false"} if forced else {}
    train.main(flags(tmp_path, recorded.write(tmp_path, **stacks), **more))
    said = capsys.readouterr()
    assert ("warning: recorded (train): the camera does not move in 4 of the 14" in said.err) is not forced
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir()
