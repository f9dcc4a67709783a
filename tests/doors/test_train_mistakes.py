"""What a user can get wrong at the train door: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import pytest
from tiny import TINY, WORLD, sentence

from tdepth_jax import train

pytestmark = pytest.mark.usefixtures("quick")


def flags(data, workdir, **overrides):
    said = TINY | {"data.dataset": str(data), "train.steps": "2", "train.batch_size": "2", "eval.stride": "2"}
    said |= {k.replace("__", "."): v for k, v in overrides.items()}
    return [f"--config={WORLD}", f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in said.items())]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("runs") / "small"
    train.main(flags(data, workdir))
    return workdir


OVERRIDES = {
    "a key that is not there": ({"train__stpes": "3"}, r"no config key 'train.stpes'.*did you mean 'steps'"),
    "a section that is not there": ({"optimiser__name": "adam"}, r"did you mean 'optimizer'"),
    "a section as a value": ({"train": "3"}, r"'train' is a section"),
    "a text for a number": ({"train__steps": "many"}, r"train.steps must be a whole number, not 'many'"),
    "half a step": ({"train__steps": "2.5"}, r"train.steps must be a whole number"),
    "no steps": ({"train__steps": "0"}, r"train.steps=0 must be at least 1"),
    "a negative learning rate": (
        {"optimizer__learning_rate": "-1.0"},
        r"learning_rate=-1.0 must be at least 0",
    ),
    "an image of one number": ({"data__image_size": "32"}, r"image_size=\(32,\) must be \(height, width\)"),
    "an image of no size": ({"data__image_size": "0,40"}, r"must be \(height, width\)"),
    "a method that is not there": (
        {"system__name": "selfsupp"},
        r"no method 'selfsupp'; did you mean 'selfsup'",
    ),
    "an optimiser that is not there": ({"optimizer__name": "adamm"}, r"no 'adamm'; did you mean 'adam"),
    "a schedule that is not there": ({"optimizer__schedule": "cosin"}, r"no 'cosin'; did you mean 'cosine'"),
    "a backbone that is not there": ({"model__backbone": "vitx"}, r"model.backbone='vitx' is not known"),
    "a dtype that is not there": ({"model__dtype": "float61"}, r"model.dtype='float61'.*did you mean"),
    "heads that do not divide": (
        {"model__vit_heads": "3"},
        r"vit_dim=16 must be a multiple of model.vit_heads=3",
    ),
    "a normalisation that is not there": ({"system__normalization": "minmax"}, r"normalization='minmax'"),
    "a protocol that is not there": ({"eval__protocols": "meidan"}, r"meidan.*did you mean 'median'"),
    "a batch that does not divide": ({"train__accumulate": "3"}, r"batch_size=2 must be a multiple of"),
    "a mesh that does not fit": ({"mesh__fsdp": "7"}, r"mesh.fsdp=7 does not fit 1 device"),
    "a data set that is not there": ({"data__dataset": "data/nowhere"}, r"data/nowhere.*prepare"),
    "a split that is not there": ({"data__split": "trian"}, r"trian"),
    "snippets longer than the sequences": ({"system__interval": "9"}, r"9"),
    "weights that are not there": ({"model__backbone_weights": "/nowhere/weights"}, r"/nowhere/weights"),
    "a run to start from that is not there": (
        {"train__init_from": "/nowhere/run"},
        r"no run at /nowhere/run",
    ),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_an_override_that_cannot_be(case, data, tmp_path, capsys):
    said, pattern = OVERRIDES[case]
    workdir = tmp_path / "run"
    text = sentence(flags(data, workdir, **said), capsys)
    assert text.startswith("error: ")
    assert re.search(pattern, text), text
    assert "\n" not in text
    assert not (workdir / "checkpoints").exists() or not any((workdir / "checkpoints").iterdir())


FILES = {
    "no such file": (None, r"no config file .*wrld.py"),
    "no get_config": ("x = 1\n", r"has no get_config\(\)"),
    "does not parse": ("def get_config(:\n", r"does not run: SyntaxError"),
    "does not import": ("import nothing_of_this_name\n", r"does not run: ModuleNotFoundError"),
    "raises": ("def get_config():\n    return 1 / 0\n", r"get_config\(\) fails: ZeroDivisionError"),
    "returns a number": ("def get_config():\n    return 3\n", r"returned int, not a ConfigDict"),
    "names no method": ("def get_config():\n    return {'train': {'steps': 1}}\n", r"system.name is not set"),
    "mistypes a key": ("def get_config():\n    return {'system': {'name': 'selfsup'}, 'tarin': {'a': 1}}\n", "tarin"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_config_file_that_is_none(case, tmp_path, capsys):
    text, pattern = FILES[case]
    file = tmp_path / "wrld.py"
    if text is not None:
        file.write_text(text)
    said = sentence([f"--config={file}", f"--workdir={tmp_path / 'run'}"], capsys)
    assert re.search(pattern, said), said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--config"),
        (["--config=configs/world_stage1.py", "--wrokdir=x"], "unknown argument '--wrokdir=x'"),
        (["--config=configs/world_stage1.py", "--config.train.steps"], "has no value"),
    ],
)
def test_flags_that_are_none(argv, words, capsys):
    assert words in sentence(argv, capsys)


def test_a_workdir_that_is_a_file(data, tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    assert "is a file" in sentence(flags(data, tmp_path / "run"), capsys)
    assert (tmp_path / "run").read_text() == "mine"


def test_another_config_in_the_same_workdir_is_refused_and_changes_nothing(data, trained, capsys):
    before = (trained / "config.json").read_text()
    said = sentence(flags(data, trained, optimizer__learning_rate="0.1"), capsys)
    assert re.search(r"optimizer.learning_rate: \S+ -> 0.1\b", said)
    assert (trained / "config.json").read_text() == before


def test_a_checkpoint_of_another_model_lists_what_differs(data, trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "run")
    argv = [*flags(data, copy, model__dpt_features="16", train__steps="3"), "--accept_config_change"]
    said = sentence(argv, capsys)
    assert "does not fit this config" in said
    assert "float32" in said


def test_other_data_under_the_same_run_is_refused(data, trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "run")
    argv = [*flags(data, copy, train__seed="7", train__steps="3"), "--accept_config_change"]
    assert "trained on other data" in sentence(argv, capsys)


def test_a_damaged_checkpoint_is_named(data, trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "run")
    for file in (copy / "checkpoints" / "2" / "state").rglob("*"):
        if file.is_file() and file.stat().st_size > 2000:
            file.write_bytes(file.read_bytes()[:100])
    argv = [*flags(data, copy, train__steps="3"), "--accept_config_change"]
    assert "checkpoints/2 is damaged" in sentence(argv, capsys)


def test_a_config_json_that_is_none(data, trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "run")
    (copy / "config.json").write_text(json.dumps([1, 2]))
    assert "is not a run's config" in sentence(flags(data, copy), capsys)
