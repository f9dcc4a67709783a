"""The evaluate door on a small data set and a predictor whose depth is known: what it prints and refuses."""

import json
import re
import types

import jax.numpy as jnp
import pytest
from scored import HEADER, POSE, WITH_DEPTH, fake_run, write_dataset

from tdepth_jax import config as configs
from tdepth_jax import errors, evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_dataset(root / "world", {"train": 12, "test": 13})
    write_dataset(root / "video", {"train": 8, "test": 8}, HEADER)
    write_dataset(root / "drive", {"test": 13}, HEADER | {POSE})
    write_dataset(
        root / "indoor", {"train": 6, "test": 7}, WITH_DEPTH | {POSE}, protocols=["shin2022"], max_depth=10.0
    )
    return root


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run directory whose checkpoint is `fake_run`; set `.run` to change it."""
    from tdepth_jax.reports import evaluation

    holder = types.SimpleNamespace(run=fake_run(data), workdir=tmp_path / "runs" / "x")
    holder.workdir.mkdir(parents=True)
    lines = [json.dumps({"step": s, "loss": 1 / s, "images_per_sec": 9.0 + s}) for s in range(1, 8)]
    (holder.workdir / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 8, "lo']))
    monkeypatch.setattr(evaluation, "load_run", lambda workdir, step=None: holder.run)
    return holder


def test_it_prints_and_writes_what_it_found(run, capsys):
    evaluate.main([f"--workdir={run.workdir}", "--protocol=none,median"])
    out = capsys.readouterr().out
    folder = run.workdir / "eval" / "world-test"
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.json", "report.html"]
    result = json.loads((folder / "metrics.json").read_text())
    assert result["images"] == 13
    names = [p["name"] for p in result["protocols"]]
    assert names == ["none/per_image", "none/pooled", "median/per_image", "median/pooled"]
    none, _, median, _ = (p["groups"][0]["metrics"]["abs_rel"] for p in result["protocols"])
    assert none == pytest.approx(0.8, abs=2e-3)  # the predictor is five times too near …
    assert median < 2e-3  # … and otherwise right, but for the rounding of the counts
    assert {g["name"] for g in result["protocols"][0]["groups"]} >= {"all", "day", "night", "0-10 m"}
    assert [b["name"] for b in result["protocols"][0]["baselines"]] == ["constant", "row-wise"]
    for name in names:
        assert f"protocol {name}:" in out
    assert "x at step 7 (fake) on world, split test: 13 frames" in out
    assert "no evidence about the real world" in out
    assert "scale is unknown" in out
    assert str(folder / "report.html") in out
    page = (folder / "report.html").read_text()
    assert page.count('<div class="panels">') >= 3
    assert "loss (last 0.1429)" in page  # half a line at the log's end is left out
    assert len(page.encode()) < 10e6


def test_fewer_frames_on_request_and_no_baselines(run, capsys):
    evaluate.main(
        [
            f"--workdir={run.workdir}",
            "--max-images=5",
            "--no-baselines",
            "--averaging=pooled",
            "--split=train",
        ]
    )
    result = json.loads((run.workdir / "eval" / "world-train" / "metrics.json").read_text())
    assert result["images"] == 4  # every third of twelve
    assert [p["name"] for p in result["protocols"]] == ["none/pooled", "median/pooled", "lstsq/pooled"]
    assert all(p["baselines"] == [] for p in result["protocols"])
    assert "(every 3rd)" in capsys.readouterr().out


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        errors.run_door(evaluate.main, list(argv))
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--protocol=meidan"], r"no protocol 'meidan'.*did you mean 'median'"),
        (["--averaging=per_pixel"], r"no averaging 'per_pixel'.*per_image, pooled"),
        (["--lstsq_domain=disparity"], r"no least-squares domain 'disparity'"),
        (["--protocol="], r"--protocol is empty"),
        (["--max_images=0"], r"--max_images=0 leaves nothing"),
        (["--max_depth=0"], r"0 < min_depth < max_depth"),
        (["--max_depth=0.5"], r"no ground-truth depth between 0.001 and 0.5 m"),
        (["--max_depth=0.5", "--no-baselines"], r"none of the 13 frames has ground truth"),
        (["--protocl=none"], r"unknown argument '--protocl=none'.*did you mean '--protocol'"),
        (["--split=tset"], r"no split 'tset'.*train, test"),
        (["--dataset=nowhere/world"], r"no prepared data set at nowhere/world"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(run, capsys, flags, sentence):
    before = sorted(run.workdir.rglob("*"))
    error = refused(capsys, f"--workdir={run.workdir}", *flags)
    assert re.search(sentence, error)
    assert sorted(run.workdir.rglob("*")) == before


def test_data_without_depth_says_what_the_method_itself_can(run, data, capsys):
    run.run = fake_run(data, dataset="video")
    error = refused(capsys, f"--workdir={run.workdir}")
    assert "video (test) has no ground-truth depth" in error
    assert "fake's own losses on it at step 7 are photometric 0.2500" in error
    run.run = fake_run(data, dataset="video", needs={"rgb/image"})
    assert "fake's own losses need rgb/image" in refused(capsys, f"--workdir={run.workdir}")
    assert not (run.workdir / "eval").exists()


def test_a_run_trained_without_depth_is_scored_without_baselines(run, data, capsys):
    run.run = fake_run(data, dataset="video", scale="metric")
    evaluate.main([f"--workdir={run.workdir}", f"--dataset={data / 'world'}"])
    out = capsys.readouterr().out
    assert "No baselines: the run's training split has no ground-truth depth" in out
    assert "scale is unknown" not in out


def ahead(variables, batch):
    """Half a metre straight ahead, whatever the pair shows."""
    b = batch["thermal/image"].shape[0]
    return jnp.tile(jnp.eye(4).at[2, 3].set(-0.5), (b, 1, 1))


def test_the_data_sets_own_protocol_leads_and_poses_are_scored(run, data, capsys):
    run.run = fake_run(data, dataset="indoor", motion=ahead)
    evaluate.main([f"--workdir={run.workdir}"])
    out = capsys.readouterr().out
    folder = run.workdir / "eval" / "indoor-test"
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.json", "report.html", "trajectory-s0-0.png"]
    result = json.loads((folder / "metrics.json").read_text())
    assert [p["name"] for p in result["protocols"]][:2] == ["shin2022", "none/per_image"]
    assert {p["max_depth"] for p in result["protocols"]} == {10.0}
    assert "protocol shin2022: per-image median scaling" in out
    assert "coldest tenth" in out
    poses = result["poses"]
    (one,) = poses["trajectories"]  # the second sequence has one frame
    # five frames a snippet, 0.1 m up and down: off by 0.1 in two of them, or in three
    assert one["snippet_ate"] == pytest.approx(2**0.5 * 0.1 / 5, rel=0.05)
    assert one["scale"] == pytest.approx(2, rel=0.01)
    assert "standing still" in out
    page = (folder / "report.html").read_text()
    assert '<div class="big">' in page
    assert 'class="path true"' in page
    assert "Abs Rel, shin2022" in page


def test_a_split_with_poses_and_no_depth(run, data, capsys):
    run.run = fake_run(data, dataset="drive", motion=ahead)
    evaluate.main([f"--workdir={run.workdir}"])
    out = capsys.readouterr().out
    folder = run.workdir / "eval" / "drive-test"
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["metrics.json", "report.html", "trajectory-s0-0.png", "trajectory-s1-0.png"]
    assert "only the camera's motion is scored" in out
    assert "straight ahead" in out
    page = (folder / "report.html").read_text()
    assert "Camera motion" in page
    assert "Abs Rel" not in page.partition("</style>")[2]
    assert "no ground-truth depth" in refused(capsys, f"--workdir={run.workdir}", "--no-poses")


def test_a_published_range_is_not_changed(run, capsys):
    error = refused(capsys, f"--workdir={run.workdir}", "--protocol=median,sup4thermal", "--max_depth=50")
    assert "sup4thermal is scored in its published range" in error


def test_no_run_there(tmp_path, capsys):
    assert f"no run at {tmp_path / 'gone'}" in refused(capsys, f"--workdir={tmp_path / 'gone'}")
    assert not (tmp_path / "gone").exists()
    assert "is not a run: it has no config.json" in refused(capsys, f"--workdir={tmp_path}")


def test_a_run_without_a_checkpoint(tmp_path, capsys):
    from tdepth_jax import systems

    (tmp_path / "config.json").write_text(configs.to_json(configs.defaults("selfsup", systems.schema)))
    assert "no finished checkpoint" in refused(capsys, f"--workdir={tmp_path}")


def test_help_is_quick_and_says_how(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--help"])
    assert stop.value.code == 0
    assert "--protocol" in capsys.readouterr().out
