"""XD-RCDepth's student from its commands: training, report with saliency, radar that fails, prediction; by RGB.

Without its teacher, and with encoders that compile sooner: what ties the two is trained in tests/systems.
"""

import json

import jax
import numpy as np
import pytest
from tiny import ROOT

from tdepth_jax import errors, evaluate, predict, prepare, train
from tdepth_jax.models import mobilenet

SMALL = {
    "data.image_size": "32,32", "data.dataset": "data/world", "model.width": "0.125", "model.blocks": "1",
    "model.teacher_network": "xd", "model.teacher_width": "0.125", "model.teacher_blocks": "1",
    "system.camera": "rgb", "system.bins": "8", "train.steps": "2",
    "train.batch_size": "2", "train.save_every": "2", "train.panels_every": "0", "eval.batch_size": "2",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("quick", "few_operations")


@pytest.fixture
def few_operations(monkeypatch):
    """Encoders without expansion, whose depthwise convolutions are one operation, not nine: they compile sooner."""

    def grouped(x, kernel, *, stride, dilation):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(dilation, dilation)] * 2, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1],
        )  # fmt: skip

    monkeypatch.setattr(mobilenet, "shifted", grouped)
    monkeypatch.setattr(mobilenet, "STAGES", tuple((1, *rest) for _, *rest in mobilenet.STAGES))


def run(name, *more):
    words = [f"--config={ROOT / 'configs' / name}.py", *(f"--config.{k}={v}" for k, v in SMALL.items())]
    train.main([*words, f"--workdir=runs/{name}", *more])


def test_the_commands_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare.main(["world", "--size=32x40", "--sequences=1", "--frames=4", "--jobs=1"])
    with pytest.raises(SystemExit):  # a student without its teacher's run
        errors.run_door(lambda argv: run("world_xdrc_student"))
    assert "train it first" in capsys.readouterr().err
    run("world_xdrc_direct")
    page = (tmp_path / "runs/world_xdrc_direct/eval/world-test/report.html").read_text()
    result = json.loads((tmp_path / "runs/world_xdrc_direct/eval/world-test/metrics.json").read_text())
    groups = {group["kind"] for group in result["protocols"][0]["groups"]}
    assert "region" not in groups  # there is no heat in colours
    for panel in ("RGB", "radar", "student&#39;s saliency"):
        assert f"{panel}</span>" in page, panel
    evaluate.main(
        [
            "--workdir=runs/world_xdrc_direct",
            "--protocol=xdrc50,radarcam80",
            "--radar=missing",
            "--pictures=0",
        ]
    )
    said = capsys.readouterr().out
    assert "Radar is missing" in said
    assert "iMAE" in said
    folder = tmp_path / "runs/world_xdrc_direct/eval/world-test-radar_missing"
    assert json.loads((folder / "metrics.json").read_text())["radar"] == "missing"

    predict.main(["data/world:test", "--checkpoint=runs/world_xdrc_direct", "-o", "depth", "--save=npz,vis"])
    depths = sorted((tmp_path / "depth").rglob("*.npz"))
    assert len(depths) == 4
    assert np.load(depths[0])["depth"].shape == (32, 40)
    assert json.loads((tmp_path / "depth/meta.json").read_text())["scale_type"] == "metric"
