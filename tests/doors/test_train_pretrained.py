"""From a published file to a run that starts from it, through both doors."""

from __future__ import annotations

import json
import os
import pathlib

import models_golden as golden
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file
from tiny import ROOT, WORLD, sentence

from tdepth_jax import config as configs
from tdepth_jax import import_weights, systems, train
from tdepth_jax.models import mobilenet
from tdepth_jax.training import mesh, start
from tdepth_jax.training.partition import flatten
from tdepth_jax.training.restore import load_run

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> pathlib.Path:
    """A tiny whole Depth Anything file, imported."""
    folder = tmp_path_factory.mktemp("weights")
    spec = json.loads(bytes(np.load(golden.FOLDER / "depth_anything_v2.npz")["spec"]))
    save_file(golden.weights(spec), folder / "file")
    import_weights.main([str(folder / "file"), "-o", str(folder / "tiny")])
    return folder / "tiny"


def command(data, workdir, imported, **overrides) -> list[str]:
    """The settings that the import recorded, but for the output: depth here is a sigmoid's, as in training."""
    said = json.loads((imported / "import.json").read_text())["model"]
    model = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in said.items() if k != "output"}
    flags = {f"model.{k}": v for k, v in model.items()} | {
        "model.backbone_weights": os.path.relpath(imported), "model.pose_widths": "8,8,8",
        "system.train_backbone": "false", "data.dataset": data, "data.image_size": "32,40",
        "train.steps": "2", "train.batch_size": "2", "eval.stride": "2",
    }  # fmt: skip
    flags |= {k.replace("__", "."): v for k, v in overrides.items()}
    return [f"--config={WORLD}", f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in flags.items())]


def parts(imported) -> dict[str, np.ndarray]:
    flat = {}
    for part in ("vit", "head"):
        stored = ocp.StandardCheckpointer().restore((imported / part).resolve())
        flat |= {f"depth/{part}/{path}": np.asarray(value) for path, value in stored.items()}
    return flat


def test_a_run_starts_from_a_whole_import(data, imported, tmp_path, capsys):
    train.main(command(data, tmp_path / "run", imported, model__lora_rank="2", model__conv_adapter_width="2"))
    printed = capsys.readouterr().out
    assert "depth/vit: from " in printed
    assert "depth/head: from " in printed
    assert "but out_3 random" in printed
    found = {k: np.asarray(v) for k, v in flatten(load_run(tmp_path / "run").variables["params"]).items()}
    for path, theirs in parts(imported).items():
        if path.startswith("depth/vit/"):
            np.testing.assert_array_equal(found[path], theirs, err_msg=path)  # frozen, to the last bit
        elif "/out_3/" in path:
            assert np.abs(found[path] - theirs).max() > 0.05
        else:  # two steps at the foot of a warm-up away
            np.testing.assert_allclose(found[path], theirs, atol=1e-4, err_msg=path)


def test_another_output_keeps_the_last_layer_and_another_head_starts_random(data, imported, tmp_path, capsys):
    train.main(command(data, tmp_path / "same", imported, model__output="relu_disparity", train__steps="1"))
    assert "random" not in capsys.readouterr().out
    train.main(command(data, tmp_path / "other", imported, model__dpt_features="8", train__steps="1"))
    printed = capsys.readouterr().out
    assert "depth/head starts random: " in printed
    assert "--config.model.dpt_features=16" in printed


def test_a_backbone_that_does_not_fit_is_told_which_settings_do(data, imported, tmp_path, capsys):
    said = sentence(command(data, tmp_path / "run", imported, model__vit_dim="32"), capsys)
    assert "does not fit this config" in said
    assert "its import fits --config.model.backbone=custom" in said
    assert "--config.model.vit_dim=24" in said
    absent = command(data, tmp_path / "new", imported, model__backbone_weights="weights/absent")
    assert "weights/absent/vit" in sentence(absent, capsys)


def test_what_a_resnets_import_says_of_itself(tmp_path):
    """No setting that all methods share names its kind."""
    (tmp_path / "import.json").write_text('{"model": {}, "facts": {"resnet": {"variant": "resnet50"}}}')
    assert start._settings_that_fit(tmp_path).startswith("its import is a resnet50; ")
    assert start._settings_that_fit(tmp_path / "none") == ""


@pytest.fixture
def narrow(monkeypatch):
    """MobileNetV2 with an eighth of the channels at width 1."""
    monkeypatch.setattr(mobilenet, "scaled", lambda count, width: count // 8)


@pytest.mark.usefixtures("quick", "narrow")
def test_a_radar_camera_student_starts_from_a_mobilenet(tmp_path, capsys):
    """Both of its encoders: a one-channel image's first kernel is the mean over colours; radar's sees three maps."""
    spec = json.loads(bytes(np.load(golden.FOLDER / "mobilenet_v2.npz")["spec"]))
    file = golden.weights([(name, [n // 8 if n > 3 else n for n in shape]) for name, shape in spec])
    save_file(file, tmp_path / "file")
    import_weights.main([str(tmp_path / "file"), "-o", str(tmp_path / "tiny")])
    said = capsys.readouterr().out
    assert "classifier.1.weight: ignored, a head of another task" in said
    assert "260 arrays used, 2 ignored, none missing" in said
    assert "model settings: --config.model.width=1.0 --config.model.blocks=4" in said
    flags = {"model.width": "1.0", "model.blocks": "4", "data.image_size": "32,32"}
    flags |= {"model.encoder_weights": str(tmp_path / "tiny"), "optimizer.name": "sgd"}
    config = configs.load(str(ROOT / "configs/world_xdrc_direct.py"), flags, systems.schema)
    begun, _ = start.fresh(systems.make(config), mesh.make_mesh(configs.Mesh(data=1)), config)
    said = capsys.readouterr().out
    first = file["features.0.0.weight"].transpose(2, 3, 1, 0)
    statistics = flatten(begun.mutable["batch_stats"])
    # The stages end with features 1, 3, 6, 10, 13, 16 and 17, so 12 is the fifth's second block.
    wanted = {
        "stage4_1/depthwise/kernel": file["features.12.conv.1.0.weight"].transpose(2, 3, 1, 0),
        "stage4_1/project/bn/bias": file["features.12.conv.3.bias"],
        "stage4_1/project/bn/var": file["features.12.conv.3.running_var"],
    }
    for encoder in ("image", "radar"):
        assert f"student/encoder/{encoder}: from " in said
        wanted["stem/conv/kernel"] = first.mean(2, keepdims=True) if encoder == "image" else first
        for path, array in wanted.items():
            found = (begun.trainable | statistics)[f"student/encoder/{encoder}/{path}"]
            np.testing.assert_allclose(found, array, rtol=1e-6, err_msg=path)
