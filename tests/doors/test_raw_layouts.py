"""Every raw layout as its user takes it: import, prepare, both stages of its named configs, a stop, the evaluation.

The commands are the configs' own, in a folder of its own, with the defaults that they name (data/..., weights/...,
runs/...). Only sizes are overridden. The raw trees are generated (tests/data/*_tree.py).
"""

import json
import re
import shutil

import models_golden as golden
import ms2_tree
import numpy as np
import pytest
import vivid_tree
import vividpp_tree
from safetensors.numpy import save_file
from tiny import ROOT

from tdepth_jax import evaluate, import_weights, prepare, train
from tdepth_jax.data.datasets import ms2
from tdepth_jax.training import stop

pytestmark = pytest.mark.usefixtures("quick")

SMALL = {
    "data.image_size": "32,40", "model.dpt_channels": "4,8,8,8", "model.dpt_features": "8",
    "model.pose_widths": "8,8,8", "system.interval": "1", "train.steps": "4", "train.batch_size": "2",
    "train.save_every": "2", "train.log_every": "1", "train.panels_every": "0", "eval.every": "0",
    "eval.batch_size": "2",
}  # fmt: skip


def vivid(root):
    for sequence in ("outdoor_robust_day1", "outdoor_robust_night1"):
        vivid_tree.write_processed(root / "KAIST_VIVID", sequence)
    vivid_tree.write_calibration(root / "KAIST_VIVID")
    return ["--raw=KAIST_VIVID"]


def vividpp(root):
    bags = root / "driving_full"
    bags.mkdir()
    for name in ("campus_day1", "campus_night"):
        vividpp_tree.write_poses(bags / "loamposes", name)
    vividpp_tree.write_bag(bags / "campus_day1.bag", no=("rgb",))
    shutil.copy(bags / "campus_day1.bag", bags / "campus_night.bag")
    np.savetxt(root / "thermal_from_lidar.txt", vividpp_tree.extrinsic("thermal"))
    return [
        "--raw=driving_full",
        "--train=campus_day1",
        "--thermal-from-lidar=thermal_from_lidar.txt",
        "--scans=1",
    ]


def ms2_(root):
    train, val = ms2.SPLITS["train"][0], ms2.SPLITS["val"][0]
    ms2_tree.write_sequence(root / "MS2", train)
    for part in ("sync_data", "proj_depth", "odom"):
        shutil.copytree(root / "MS2" / part / train, root / "MS2" / part / val)
    return ["--raw=MS2"]


# data set: (raw tree and its flags, where it is prepared, the split its config scores, its published protocol)
LAYOUTS = {
    "vivid": (vivid, "vivid_outdoor", "test", "fan2024"),
    "vividpp": (vividpp, "vividpp", "test", "fan2024"),
    "ms2": (ms2_, "ms2", "val", "sup4thermal"),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A DINOv2 file of the published layout, small: (the file, the settings that its import says it fits)."""
    folder = tmp_path_factory.mktemp("weights")
    spec = json.loads(bytes(np.load(golden.FOLDER / "dinov2.npz")["spec"]))
    save_file(golden.weights(spec), folder / "dinov2_vitb14_pretrain.pth")
    import_weights.main([str(folder / "dinov2_vitb14_pretrain.pth"), "-o", str(folder / "dinov2_vitb14")])
    said = json.loads((folder / "dinov2_vitb14" / "import.json").read_text())["model"]
    fits = {k: ",".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in said.items()}
    return folder / "dinov2_vitb14", {f"model.{k}": v for k, v in fits.items()}


def flags(name, stage, fits):
    overrides = SMALL | {k: v for k, v in fits.items() if k not in SMALL and k != "model.output"}
    return [
        f"--config={ROOT}/configs/{name}_{stage}.py",
        *(f"--config.{k}={v}" for k, v in overrides.items()),
    ]


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def trained_in_backbone(printed):
    """Of the summary that the train door prints first: how many parameters of the backbone are trained."""
    return int(re.findall(r"^depth/vit +([\d,]+) +[\d,]+$", printed, re.MULTILINE)[-1].replace(",", ""))


@pytest.mark.parametrize("name", LAYOUTS)
def test_from_the_raw_tree_to_the_table(name, tmp_path, monkeypatch, capsys, weights):
    write, prepared, split, protocol = LAYOUTS[name]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(weights[0], "weights/dinov2_vitb14")
    prepare.main([name, *write(tmp_path), "--jobs=1"])
    assert (tmp_path / "data" / prepared).is_dir()

    with monkeypatch.context() as asked:  # a stop after the second step, as SIGTERM asks for it
        asked.setattr(stop.StopRequest, "at", lambda self, step: step == 2)
        with pytest.raises(SystemExit) as left:
            train.main(flags(name, "stage1", weights[1]))
        assert left.value.code == 143
    train.main(flags(name, "stage1", weights[1]))
    said = capsys.readouterr().out
    assert f"depth/vit: from {tmp_path}/weights/dinov2_vitb14/vit" in said
    assert trained_in_backbone(said) == 0
    assert f"resuming runs/{name}_stage1 at step 2" in said
    rows = lines(tmp_path / "runs" / f"{name}_stage1")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in rows if "loss" in row)
    assert f"eval/{protocol}/abs_rel" in rows[-1]

    train.main(flags(name, "stage2", weights[1]))
    said = capsys.readouterr().out
    assert f"arrays from runs/{name}_stage1" in said
    assert trained_in_backbone(said) > 0

    evaluate.main([f"--workdir=runs/{name}_stage2", "--pictures=0"])
    printed = capsys.readouterr().out
    assert f"on {prepared}, split {split}" in printed
    result = json.loads(
        (tmp_path / "runs" / f"{name}_stage2" / "eval" / f"{prepared}-{split}" / "metrics.json").read_text()
    )
    assert protocol in {one["short_name"] for one in result["protocols"]}
    assert result["poses"] is None or result["poses"]["all"]["frames"] > 0
