"""Prediction by runs that see radar, or RGB: from a prepared split, and from plain frames that have no radar."""

import json
import types

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import prepare, systems
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import UserError
from tdepth_jax.predictor import inputs, job
from tdepth_jax.predictor.model import Predictor

SIZE = (16, 20)
RADAR = {"radar/x", "radar/y", "radar/z", "radar/valid"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    prepare.main(["world", f"--out={out}", "--size=32x40", "--sequences=1", "--frames=2", "--jobs=1"])
    return out / "world"


def run_of(camera):
    """Depth = 1 + the returns that are valid + a hundredth of the image's first value."""

    def outputs(variables, batch):
        first = batch[f"{camera}/image"][:, :1, :1, :1].astype(jnp.float32)
        depth = 1 + batch["radar/valid"].sum(axis=1)[:, None, None, None] + first / 100
        return {"depth": jnp.broadcast_to(depth, (len(first), *SIZE, 1))}

    system = types.SimpleNamespace(
        predict=outputs, scale="metric", wants=frozenset(), intrinsics=None, motion=None, camera=camera,
        sees=frozenset({f"{camera}/image", f"{camera}/K"} | RADAR), classes=(),
    )  # fmt: skip
    config = {"system": {"name": "fake"}, "data": {"dataset": "data/fake", "image_size": SIZE}}
    return types.SimpleNamespace(config=ConfigDict(config), system=system, variables={}, step=7)


@pytest.fixture(params=["thermal", "rgb"])
def run(request, monkeypatch):
    made = run_of(request.param)
    monkeypatch.setattr(
        Predictor, "open", classmethod(lambda cls, path, **kw: cls(made, batch_size=kw["batch_size"]))
    )
    senses = inputs.Senses(made.system.camera, made.system.sees)
    monkeypatch.setattr(inputs.Senses, "of", classmethod(lambda cls, path: senses))
    return made


def asked(tmp_path, *named):
    return job.Request(
        inputs=tuple(map(str, named)),
        checkpoint=tmp_path,
        output=tmp_path / "out",
        save=frozenset({"npz"}),
        batch_size=2,
    )


def test_a_split_brings_its_radar(run, world, tmp_path):
    said = []
    job.run(asked(tmp_path, f"{world}:test"), warn=said.append)
    assert not any("radar" in sentence for sentence in said)
    source = open_split(world, "test")
    for i, path in enumerate(sorted((tmp_path / "out").rglob("*.npz"))):
        frame = source[i]
        (got,) = np.unique(np.round(np.load(path)["depth"]).astype(int))
        image = frame[f"{run.system.camera}/image"]
        small = cv2.resize(image.astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_AREA)
        first = small[0, 0] if run.system.camera == "thermal" else small[0, 0, 0]
        assert got == pytest.approx(1 + len(frame["radar"]) + float(first) / 100, abs=1)


def test_plain_frames_have_none_and_that_is_said(run, tmp_path):
    colour = run.system.camera == "rgb"
    rng = np.random.default_rng(0)
    image = (
        rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)
        if colour
        else rng.integers(3000, 4000, (32, 40)).astype(np.uint16)
    )
    cv2.imwrite(str(tmp_path / "frame.png"), image)
    said = []
    job.run(asked(tmp_path, tmp_path / "frame.png"), warn=said.append)
    (sentence,) = [one for one in said if "radar" in one]
    assert "1 of 1 frames have none" in sentence
    assert "data/NAME:test" in sentence
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert sentence in meta["warnings"]
    assert np.load(tmp_path / "out" / "frame.npz")["depth"].max() < 50  # no return counted


def test_a_colour_run_refuses_what_is_no_colour_image(run, tmp_path, capsys):
    if run.system.camera != "rgb":
        pytest.skip("of colour runs")
    np.save(tmp_path / "x.npy", np.zeros((4, 5), np.uint16))
    with pytest.raises(UserError, match="cannot be read as a colour image"):
        job.run(asked(tmp_path, tmp_path / "x.npy"), warn=print)


def test_split_and_plain_frames_go_in_one_batch(world, tmp_path):
    made = run_of("thermal")
    senses = inputs.Senses("thermal", made.system.sees)
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((32, 40), 3000, np.uint16))
    items = inputs.gather(
        [f"{world}:test", str(tmp_path / "frame.png")],
        output=tmp_path / "out",
        unit=None,
        camera=inputs.Camera(),
        senses=senses,
    )
    found = list(Predictor(made, batch_size=3).infer_many(item.load() for item in items))
    assert len(found) == 3
    assert found[2].depth[0, 0] == pytest.approx(31.0, rel=1e-3)
    assert found[0].depth[0, 0] > 31


def test_a_split_without_radar_is_refused(world, tmp_path):
    senses = inputs.Senses("thermal", frozenset({"radar/speed"}))
    with pytest.raises(UserError, match="looks at radar/speed"):
        inputs.gather([f"{world}:test"], output=tmp_path, unit=None, camera=inputs.Camera(), senses=senses)


def test_senses_are_those_of_the_runs_config(tmp_path):
    assert inputs.Senses.of(tmp_path) == inputs.Senses()
    config = configs.load("configs/world_xdrc_student.py", {"system.camera": "rgb"}, systems.schema)
    (tmp_path / "config.json").write_text(configs.to_json(config))
    senses = inputs.Senses.of(tmp_path)
    assert senses.camera == "rgb"
    assert {"radar/valid", "radar/radial_velocity"} <= senses.sees
