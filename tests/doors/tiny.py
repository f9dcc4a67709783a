"""What the tests of the doors share: a run small enough to be started many times."""

from __future__ import annotations

import pathlib

import pytest

from tdepth_jax import errors, train

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORLD = str(ROOT / "configs" / "world_stage1.py")
TINY = {
    "data.image_size": "32,40", "model.vit_dim": "16", "model.vit_heads": "2", "model.vit_patch": "8",
    "model.vit_pos_grid": "4", "model.dpt_channels": "4,8,8,8", "model.dpt_features": "8",
    "model.pose_widths": "8,8,8", "train.batch_size": "8", "train.steps": "12", "train.save_every": "4",
    "train.log_every": "1", "train.keep": "3", "train.panels_every": "5", "eval.stride": "4",
}  # fmt: skip


def sentence(argv, capsys) -> str:
    """What the train door says of a mistake: one sentence, exit code 2."""
    with pytest.raises(SystemExit) as stop:
        errors.run_door(train.main, argv)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said
