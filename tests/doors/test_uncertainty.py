"""A run that says how sure it is: what evaluate finds, keeps and shows, and what predict makes of it."""

import json
import math
import types

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import H, W, fake_run, frame
from scored import fake_run as scored_run
from scored import write_dataset

from tdepth_jax import errors, evaluate, predict
from tdepth_jax.predictor import Predictor, model
from tdepth_jax.training.uncertainty import FILE, Calibration, calibration_of

OWN = Calibration(temperature=2.0, dataset="world", split="test", protocol="none", frames=9, step=7)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_dataset(root / "world", {"train": 12, "test": 24})  # sequences of six frames, day and night in turn
    write_dataset(root / "drive", {"test": 6})
    return root


def overconfident(variables, batch):
    """Errors of ln(depth) are Laplace of scale 0.1 above and 0.3 below, and said to be half of that."""
    counts = batch["thermal/image"].astype(jnp.float32)
    b = jnp.where(jnp.arange(counts.shape[1]) < counts.shape[1] // 2, 0.1, 0.3)[:, None, None]
    u = jnp.mod(jnp.sin(counts) * 43758.547, 1.0) - 0.5  # as good as random, the same for the same counts
    error = -jnp.sign(u) * jnp.log1p(-jnp.abs(2 * u) * 0.999999)
    return {
        "depth": 20000 / counts * jnp.exp(b * error),
        "spread": jnp.broadcast_to(b / 2, counts.shape),
    }


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run directory whose checkpoint is `.run`."""
    from tdepth_jax.reports import evaluation

    made = scored_run(data, scale="metric", predict=overconfident)
    holder = types.SimpleNamespace(run=made, workdir=tmp_path / "runs" / "x")
    holder.workdir.mkdir(parents=True)
    monkeypatch.setattr(evaluation, "load_run", lambda workdir, step=None: holder.run)
    return holder


def scored(run, capsys, *flags, folder="world-test"):
    evaluate.main([f"--workdir={run.workdir}", "--no-baselines", "--averaging=per_image", *flags])
    result = json.loads((run.workdir / "eval" / folder / "metrics.json").read_text())
    page = (run.workdir / "eval" / folder / "report.html").read_text()
    return result, capsys.readouterr().out, page


def test_evaluate_finds_the_temperature_and_keeps_it(run, capsys):
    result, out, page = scored(run, capsys, "--protocol=median,none")
    found = result["uncertainty"]
    assert found["protocol"] == "none/per_image"  # as users get the depth of a metric run
    assert found["temperature"] == pytest.approx(2, rel=0.05)
    assert found["halves"] == pytest.approx([2, 2], rel=0.08)
    assert [g["name"] for g in found["groups"]] == ["all", "day", "night", "s0", "s1", "s2", "s3"]
    for group in found["groups"][:3]:
        # half the spread: 1 - exp(-z) of the truths becomes 1 - exp(-z / 2)
        raw = [1 - (1 - q) ** 0.5 for q in found["levels"]]
        np.testing.assert_allclose(group["raw"]["coverage"], raw, atol=0.02)
        np.testing.assert_allclose(group["calibrated"]["coverage"], found["levels"], atol=0.02)
        assert group["raw"]["off"] > 0.15 > 0.02 > group["calibrated"]["off"]
        assert group["calibrated"]["confidence"] == pytest.approx(group["within"], abs=0.02)
        assert group["raw"]["confidence"] > group["within"] + 0.05
        error = group["errors"]["abs_rel"]
        assert error["all"] == pytest.approx(
            next(p for p in result["protocols"] if p["name"] == "none/per_image")["groups"][0]["metrics"][
                "abs_rel"
            ],
            rel=0.2,
        )
        assert 0 < error["ause"] < error["all"]
        assert error["aurg"] > 0.1 * error["all"]  # it knows which half is worse
    assert "day, calibrated" in out
    assert "in 80 %" in out
    assert "AUSE/error" in out
    assert f"{FILE}: temperature" in out
    assert page.count("<polyline") >= 3 * (3 + 3 + 3) - 3
    assert "Sparsification" in page
    assert "doubt (1 − raw confidence)" in page
    kept = calibration_of(run.workdir)
    assert kept == Calibration(
        temperature=found["temperature"],
        dataset="world",
        split="test",
        protocol="none/per_image",
        frames=24,
        step=7,
    )
    assert sorted(p.name for p in run.workdir.iterdir()) == [FILE, "eval"]  # nothing half-written


def test_a_relative_run_is_scored_scaled_or_not_at_all(run, data, capsys):
    def off_by_seven(variables, batch):
        found = overconfident(variables, batch)
        return found | {"depth": 7 * found["depth"]}

    found = []
    for says in (overconfident, off_by_seven):
        run.run = scored_run(data, predict=says)
        found.append(scored(run, capsys)[0]["uncertainty"])
        assert found[-1]["protocol"] == "median/per_image"
    assert found[0]["temperature"] == pytest.approx(found[1]["temperature"], rel=5e-3)
    assert found[0]["temperature"] > 2  # the error of the scale comes on top
    before = (run.workdir / FILE).read_text()
    result, out, page = scored(run, capsys, "--protocol=none,lstsq")
    assert result["uncertainty"] is None
    assert "not scored: depth is relative; add --protocol=median" in out
    assert "Sparsification" not in page
    assert (run.workdir / FILE).read_text() == before
    run.run = scored_run(data, predict=off_by_seven, scale="affine")
    assert "It is not scored: depth is affine, known up to a shift too" in scored(run, capsys)[1]


def test_frames_of_the_training_calibrate_nothing(run, capsys):
    _, out, _ = scored(run, capsys, "--split=train", folder="world-train")
    assert f"{FILE} is left as it is: the run was trained on world, split train" in out
    assert not (run.workdir / FILE).exists()


def test_one_sequence_is_halved_in_time_and_one_frame_not_at_all(run, data, capsys):
    result, out, _ = scored(run, capsys, f"--dataset={data / 'drive'}", folder="drive-test")
    assert len(result["uncertainty"]["halves"]) == 2
    assert "the first and the last frames of the one sequence" in out
    assert "of one sequence, fitted and scored on parts that are alike" in out
    result, out, _ = scored(run, capsys, f"--dataset={data / 'drive'}", "--max_images=1", folder="drive-test")
    assert result["uncertainty"]["halves"] == []
    assert result["uncertainty"]["groups"][0]["calibrated"] is None
    assert "one frame cannot be halved" in out


def test_a_run_without_a_spread_is_as_before(run, data, capsys):
    run.run = scored_run(data)
    result, out, page = scored(run, capsys)
    assert "uncertainty" not in result
    assert "confidence" not in out
    assert "<h2>Confidence" not in page
    assert not (run.workdir / FILE).exists()


def predicted(tmp_path, monkeypatch, capsys, *words, run=None, kept=OWN):
    """(what is in the .npz, meta.json, the picture's size, what was warned of)"""
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: run or fake_run(spread=0.2))
    where = tmp_path / "run"
    where.mkdir(exist_ok=True)
    if kept:
        kept.keep(where)
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    out = tmp_path / "out"
    predict.main([str(tmp_path / "x.png"), f"--checkpoint={where}", "-o", str(out), *words])
    meta = json.loads((out / "meta.json").read_text())
    saved = dict(np.load(out / "x.npz")) if (out / "x.npz").exists() else {}
    shape = cv2.imread(str(out / "x_vis.png")).shape if (out / "x_vis.png").exists() else None
    return saved, meta, shape, capsys.readouterr().err


def test_predict_writes_a_calibrated_confidence(tmp_path, monkeypatch, capsys):
    saved, meta, shape, said = predicted(tmp_path, monkeypatch, capsys, "--save=npz,vis")
    np.testing.assert_allclose(saved["spread"], np.full((H, W), 0.4), rtol=1e-6)
    np.testing.assert_allclose(saved["confidence"], 1 - math.exp(-math.log(1.25) / 0.4), rtol=1e-5)
    assert saved["confidence"].dtype == saved["spread"].dtype == np.float32
    assert shape == (H, 3 * W, 3)
    assert said == ""
    assert meta["confidence"]["calibrated"] is True
    assert meta["confidence"]["temperature"] == 2.0
    assert meta["confidence"]["fitted_on"]["dataset"] == "world"
    assert "25 %" in meta["confidence"]["meaning"]


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (None, "run has no confidence.json"),
        (Calibration(**{**vars(OWN), "step": 5}), "is of step 5, not 7"),
    ],
)
def test_predict_says_that_a_confidence_is_not_calibrated(tmp_path, monkeypatch, capsys, kept, why):
    saved, meta, _, said = predicted(tmp_path, monkeypatch, capsys, "--save=npz", kept=kept)
    np.testing.assert_allclose(saved["spread"], 0.2, rtol=1e-6)
    (line,) = said.strip().splitlines()
    assert line.startswith("warning: the confidence is not calibrated: ")
    assert why in line
    assert "run evaluate on held-out frames" in line
    assert meta["warnings"] == [line.removeprefix("warning: ")]
    assert meta["confidence"] | {"meaning": ""} == {
        "meaning": "",
        "calibrated": False,
        "temperature": 1.0,
        "fitted_on": None,
    }
    with pytest.raises(errors.UserError, match="stopped by --strict"):
        predicted(tmp_path, monkeypatch, capsys, "--save=npz", "--strict", "--overwrite", kept=kept)
    _, _, _, said = predicted(
        tmp_path, monkeypatch, capsys, "--save=png16", "--strict", "--overwrite", kept=kept
    )
    assert said == ""  # nothing of the confidence is written


def test_a_damaged_calibration_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    for text in ("{", "[]", '{"temperature": 2}', json.dumps(vars(OWN) | {"temperature": 0})):
        (tmp_path / "run" / FILE).write_text(text)
        with pytest.raises(errors.UserError, match=r"confidence\.json is damaged"):
            predicted(tmp_path, monkeypatch, capsys, kept=None)
        assert not (tmp_path / "out").exists()


def test_where_the_model_says_nothing_of_its_error_it_is_not_trusted():
    def outputs(variables, batch):
        depth = batch["thermal/image"].astype(jnp.float32)
        spread = jnp.full(depth.shape, 0.1).at[:, :4].set(jnp.nan).at[:, 4:8].set(0.0)
        return {"depth": depth, "spread": spread}

    run = fake_run()
    run.system.predict = outputs
    found = Predictor(run).infer(frame())
    assert np.isinf(found.spread[:6]).all()
    assert (found.confidence[:6] == 0).all()
    np.testing.assert_allclose(found.confidence[-20:], 1 - 1.25**-10, rtol=1e-5)


def test_a_run_without_a_spread_writes_none(tmp_path, monkeypatch, capsys):
    saved, meta, shape, said = predicted(tmp_path, monkeypatch, capsys, "--save=npz,vis", run=fake_run())
    assert not {"confidence", "spread"} & saved.keys()
    assert "confidence" not in meta
    assert shape == (H, 2 * W, 3)
    assert said == ""
