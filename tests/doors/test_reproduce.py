"""The reproduce door: what its tables say, what it trains and does not train again, and what it refuses."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest
from tiny import ROOT, TINY

from tdepth_jax import errors, prepare, reproduce
from tdepth_jax.reproduction import plan, running, spec
from tdepth_jax.training.stop import StopRequest

pytestmark = pytest.mark.usefixtures("quick")

TABLES = [f"fan2024_table{i}" for i in (1, 2, 3, 4)]
REFERENCE = (
    ROOT.parent / "shared" / "reference" / "thermal_depth.md"
)  # the facts that the tables were written from


def table(name: str) -> spec.Table:
    return spec.load(str(ROOT / "configs" / "tables" / f"{name}.py"))[0]


def numbers(row: spec.Row, score: str, *metrics: str) -> list[float]:
    return [row.published[score][m] for m in metrics]


def row_of(name: str, row: str) -> spec.Row:
    return next(r for r in table(name).rows if r.name == row)


# What the tables say.


def reference(pattern: str) -> list[float]:
    if not REFERENCE.is_file():
        pytest.skip("the sheet of facts is not part of this repository")
    found = re.search(pattern, REFERENCE.read_text())
    assert found, pattern
    return [float(text) for text in re.findall(r"\d*\.\d+", found[1])]


FOUR = ("rmse", "rmse_log", "abs_rel", "sq_rel")
FIVE = ("abs_rel", "sq_rel", "rmse", "rmse_log", "d1")
NIGHT = {
    "bian": r"\| Bian \(SC-SfM\)([^\n]*?)\| seed",
    "shin2021_t": r"\| Shin'21 \(T\)([^\n]*?)\| TSL",
    "shin2021_ms": r"\| Shin'21 \(MS\)([^\n]*?)\| TSL",
    "shin2022": r"\| Shin'22 \(TMD\)([^\n]*?)\| TMD",
    "stage1": r"\| Fan stage 1 \|([^\n]*?)\| seed",
    "ours": r"\| \*\*Fan stage 1\+2\*\*([^\n]*?)\| seed",
}
ABLATIONS = {
    "no_pretraining": r"w/o pre-training ([\d./]+?);",
    "no_stage_two": r"w/o stage 2 ([\d./]+?);",
    "no_adapters": r"w/o adapters ([\d./]+?);",
    "full_fine_tuning": r"full fine-tune ([\d./]+?)\.\n",
}
ZERO_SHOT = {
    "midas": r"MiDaS-v21 ([\d./| ]+);",
    "dpt_hybrid": r"DPT-Hybrid ([\d./| ]+);",
    "dpt_large": r"DPT-Large ([\d./| ]+);",
    "shin2021": r"Shin'21 ([\d./| ]+);",
    "shin2022": r"Shin'22 ([\d./| ]+);",
    "stage1": r"Fan st\.1 ([\d./| ]+);",
    "ours": r"; Fan ([\d./| ]+)\.\n",
}
POSES = {
    "orb_slam2": r"ORB-SLAM2 ([\d.+/ -]+);",
    "shin2022": r"Seed over both nights:.*Shin'22 ([\d.+/ -]+);",
    "ours": r"Seed over both nights:.*Fan ([\d.+/ -]+)\.\n",
}


def test_the_numbers_are_the_published_ones():
    for name, pattern in NIGHT.items():
        assert numbers(row_of("fan2024_table1", name), "night", *FIVE) == reference(pattern)
    for name, pattern in ABLATIONS.items():
        assert numbers(row_of("fan2024_table4", name), "night", *FOUR) == reference(pattern)
    for name, pattern in ZERO_SHOT.items():
        row = row_of("fan2024_table2", name)
        assert numbers(row, "vividpp", *FOUR) + numbers(row, "ms2", *FOUR) == reference(pattern)
    for name, pattern in POSES.items():
        row = row_of("fan2024_table3", name)
        names = ("snippet_ate", "snippet_ate_std", "snippet_re", "snippet_re_std")
        assert numbers(row, "night", *names) == reference(pattern)
    compared = len(NIGHT) + len(ABLATIONS) + len(ZERO_SHOT) + len(POSES) + 1  # and Table IV's "ours", below
    assert compared == sum(bool(row.published) for name in TABLES for row in table(name).rows)


def test_tables_that_share_a_row_share_its_numbers():
    for one, four in (("ours", "ours"), ("stage1", "no_stage_two")):
        a, b = row_of("fan2024_table1", one), row_of("fan2024_table4", four)
        assert numbers(a, "night", *FOUR) == numbers(b, "night", *FOUR)


def stages(which: spec.Table, row: spec.Row, root: pathlib.Path) -> tuple[plan.Run, ...]:
    return plan.runs(row, 0, folder=ROOT / "configs", root=root, overrides={})


@pytest.mark.parametrize(
    ("name", "world"), [(n, w) for n in TABLES for w in (False, True)], ids=lambda v: str(v)
)
def test_a_row_differs_from_its_neighbour_by_what_it_says(name, world, tmp_path):
    which = table(name).in_world() if world else table(name)
    rows = {row.name: row for row in which.rows}
    for row in which.trained:
        if not row.neighbour:
            continue
        own, other = (stages(which, r, tmp_path) for r in (row, rows[row.neighbour]))
        apart = [plan.difference(a, b) for a, b in zip(own, other, strict=False)]
        for found, a, b in zip(apart, own, other, strict=False):
            assert found.keys() in (set(), set(row.change)), row.name
            if not any(apart):
                assert a.workdir == b.workdir
        assert any(apart) == bool(row.change)
        assert bool(row.change) != (len(own) < len(other)), f"{row.name}: one change, or one stage less"
    assert {len(row.change) for row in which.rows} <= {0, 1, 2}
    assert all(
        set(r.change) <= {"model.lora_rank", "model.conv_adapter_width"}
        for r in which.rows
        if len(r.change) > 1
    )


def test_rows_that_share_a_stage_share_its_run(tmp_path):
    which = table("fan2024_table4")
    first = {row.name: stages(which, row, tmp_path)[0].workdir for row in which.trained}
    assert len({first[n] for n in ("ours", "no_adapters", "full_fine_tuning", "no_stage_two")}) == 1
    assert len(set(first.values())) == 3  # and the two without pre-training
    last = [stages(which, row, tmp_path)[-1] for row in which.trained]
    assert len({run.workdir for run in last}) == len(last)
    for run in last:
        if run.parent:
            assert run.config.train.init_from == str(run.parent.workdir)
    same = table("fan2024_table1").rows[-1]
    assert stages(which, same, tmp_path)[-1].workdir == last[-1].workdir  # tables share them too


def test_seeds_have_a_mean_and_a_spread():
    seeds = [
        {"metrics": {"abs_rel": v}, "interval": {"abs_rel": (v - 0.1, v + 0.2)}} for v in (0.2, 0.3, 0.7)
    ]
    found = running.summary(seeds)
    assert found["mean"]["abs_rel"] == pytest.approx(0.4)
    assert found["std"]["abs_rel"] == pytest.approx((0.14 / 2) ** 0.5)  # (0.04 + 0.01 + 0.09) / (3 - 1)
    assert found["interval"]["abs_rel"] == pytest.approx([0.3, 0.6])
    assert running.summary(seeds[:1])["std"] == {}


def test_splits_are_merged_by_their_images():
    parts = [
        {"metrics": {"abs_rel": 0.1}, "interval": {"abs_rel": (0.0, 1.0)}, "images": 30},
        {"metrics": {"abs_rel": 0.4}, "interval": {}, "images": 10},
    ]
    found = running.merge(parts)
    assert found["metrics"]["abs_rel"] == pytest.approx(0.175)
    assert found["images"] == 40
    assert found["interval"] == {}


# What it runs.


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("records")
    prepare.main(
        ["world", "--out", str(out), "--name", "tiny", "--sequences", "1", "--frames", "6", "--size", "32x40"]
    )
    return out / "tiny"


def command(world, root, *flags, table="fan2024_table4", **overrides) -> list[str]:
    said = TINY | {
        "data.dataset": str(world), "model.backbone": "custom", "model.vit_depth": "4", "model.backbone_weights": "",
        "train.steps": "4", "train.batch_size": "2", "train.save_every": "2", "train.panels_every": "0",
        "eval.stride": "2", "eval.batch_size": "4", "optimizer.warmup_steps": "1",
    }  # fmt: skip
    said |= {k.replace("__", "."): v for k, v in overrides.items()}
    return [table, "--world", f"--root={root}", *flags, *(f"--config.{k}={v}" for k, v in said.items())]


def runs(root: pathlib.Path) -> list[str]:
    return sorted(p.name.rpartition("-")[0].rpartition("-")[0] for p in (root / "runs").iterdir())


def result(root: pathlib.Path, name: str) -> dict:
    (found,) = root.glob(f"{name}-world-*/table.json")
    return json.loads(found.read_text())


def test_a_table_is_trained_row_by_row_stopped_resumed_and_not_trained_again(
    world, tmp_path, capsys, monkeypatch
):
    # The first row alone.
    reproduce.main(command(world, tmp_path, "--only=no_stage_two"))
    out = capsys.readouterr().out
    assert runs(tmp_path) == ["world_vits_stage1"]
    assert "NOT the published data" in out
    assert "Not the published setting: every row has --config." in out
    assert "Not finished: no_pretraining, no_adapters, full_fine_tuning, ours" in out

    # Another row starts from the same stage 1, and is stopped in stage 2.
    before = json.dumps(result(tmp_path, "fan2024_table4")["rows"])
    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "at", lambda self, step: step >= 3)
        with pytest.raises(SystemExit) as stop:
            reproduce.main(command(world, tmp_path, "--only=ours"))
    assert stop.value.code == 143
    out = capsys.readouterr().out
    assert out.count("\ntraining ") + out.startswith("training ") == 1  # stage 2 alone
    assert "the same command resumes" in out
    assert json.dumps(result(tmp_path, "fan2024_table4")["rows"]) == before

    reproduce.main(command(world, tmp_path, "--only=ours"))
    out = capsys.readouterr().out
    assert re.search(r"resuming .*world_vits_stage2-\w+-seed0 at step 3", out)
    assert runs(tmp_path) == ["world_vits_stage1", "world_vits_stage2"]

    # Nothing is done twice, and the rows found before stay in the table.
    found = result(tmp_path, "fan2024_table4")
    with monkeypatch.context() as patched:
        patched.setattr(running.training, "train", None)
        patched.setattr(running.evaluation, "evaluate_run", None)
        reproduce.main(command(world, tmp_path, "--only=ours"))
        assert result(tmp_path, "fan2024_table4")["rows"] == found["rows"]
        reproduce.main(command(world, tmp_path, "--dry-run"))
        out = capsys.readouterr().out
    assert "finished" in out
    assert "to train: step 0 of 4" in out

    # The numbers are the evaluation's own.
    rows = {row["name"]: row for row in found["rows"]}
    assert not rows["full_fine_tuning"]["results"]
    for name in ("no_stage_two", "ours"):
        (seed,) = rows[name]["results"]["new_scene"]["seeds"]
        scored = json.loads(pathlib.Path(seed["pages"][0]).with_name("metrics.json").read_text())
        (protocol,) = scored["protocols"]
        assert protocol["name"] == "fan2024"
        assert seed["metrics"]["rmse"] == protocol["groups"][0]["metrics"]["rmse"]
        assert rows[name]["results"]["new_scene"]["mean"]["rmse"] == seed["metrics"]["rmse"]
    folder = next(tmp_path.glob("fan2024_table4-world-*"))
    assert sorted(p.name for p in folder.iterdir()) == ["index.html", "table.json", "table.md"]
    text = (folder / "table.md").read_text()
    assert "| Fan 2024, stage 1 + 2 |" in text
    assert "3.944" in text
    assert "NOT the published data" in text.splitlines()[0]
    page = (folder / "index.html").read_text()
    assert "no evidence about the real world" in page
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    for link in re.findall(r'href="([^"]+)"', page):
        assert (folder / link).is_file()

    # Other figures of the same runs: another stride scores anew and trains nothing; another table, other scores.
    with monkeypatch.context() as patched:
        patched.setattr(running.training, "train", None)
        reproduce.main(command(world, tmp_path, "--only=ours", eval__stride="1"))
        reproduce.main(command(world, tmp_path, table="fan2024_table3"))
    out = capsys.readouterr().out
    assert out.count("scoring ") == 3  # two splits of one, poses of the other
    (row,) = (r for r in result(tmp_path, "fan2024_table3")["rows"] if r["stages"])
    assert row["results"]["night"]["mean"]["snippet_ate"] >= 0


def test_seeds_are_runs_of_their_own_and_their_spread_is_printed(world, tmp_path, capsys):
    flags = ("--only=no_stage_two", "--seeds=2")
    reproduce.main(command(world, tmp_path, *flags, train__steps="2"))
    out = capsys.readouterr().out
    assert runs(tmp_path) == ["world_vits_stage1"] * 2
    assert "standard deviation over 2 seeds" in out
    assert " ± " in next(line for line in out.splitlines() if line.startswith("w/o stage two"))
    (row,) = (r for r in result(tmp_path, "fan2024_table4")["rows"] if r["name"] == "no_stage_two")
    found = row["results"]["night"]
    values = [seed["metrics"]["rmse"] for seed in found["seeds"]]
    assert [seed["seed"] for seed in found["seeds"]] == [0, 1]
    assert values[0] != values[1]
    assert found["mean"]["rmse"] == pytest.approx(sum(values) / 2)


# What it says without running, and what it refuses.


def sentence(argv, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        errors.run_door(reproduce.main, argv)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["fan2024_tabel4"], r"no table 'fan2024_tabel4'; did you mean 'fan2024_table4'\?"),
        (["qqq"], r"no table 'qqq'; choose one of .*fan2024_table1, "),
        (["fan2024_table4", "--only=no_adaptors"], r"no row 'no_adaptors'.*did you mean 'no_adapters'"),
        (["fan2024_table1", "--only=shin2022"], r"no row 'shin2022' to run; choose one of ours, stage1"),
        (["fan2024_table4", "--seeds=0"], r"--seeds=0 leaves nothing"),
        (["fan2024_table4", "--wolrd"], r"unknown argument '--wolrd'; did you mean '--world'"),
        (["fan2024_table4", "--config.train.seed=3"], r"use --seeds"),
        (["fan2024_table4", "--config.train.stpes=3"], r"did you mean 'steps'"),
        (["fan2024_table4", "sixty"], r"unknown argument 'sixty'"),
    ],
)
def test_a_mistake_is_one_sentence(flags, words, capsys):
    assert re.search(words, sentence(flags, capsys))


def test_data_that_is_not_there_is_named_with_the_command_that_makes_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "configs" / "tables" / "fan2024_table2.py")
    said = sentence([path], capsys)
    for command in (
        "tdepth_jax.prepare vivid --raw", "tdepth_jax.prepare vividpp --raw", "tdepth_jax.prepare ms2 --raw",
        "tdepth_jax.import_weights dinov2_vitb14_pretrain.pth", "--world runs the same rows on ThermalWorld",
    ):  # fmt: skip
        assert command in said
    said = sentence([path, "--world"], capsys)
    assert "prepare world)" in said
    assert "prepare world --seed=1 --name=world_1" in said
    assert "--world runs" not in said
    reproduce.main([path, "--list"])
    reproduce.main([path, "--dry-run"])
    out = capsys.readouterr().out
    assert "data/vivid_outdoor: absent; python -m tdepth_jax.prepare vivid --raw=KAIST_VIVID" in out
    assert "Not stated in our sources" in out
    assert "absent: data/ms2 (" in out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", TABLES)
def test_a_list_shows_rows_configs_and_numbers(name, capsys):
    reproduce.main([name, "--list"])
    out = capsys.readouterr().out
    which = table(name)
    for row in which.rows:
        assert f"{row.name}: {row.title}" in out
        for score in which.scores:
            for metric in score.metrics:
                assert f"{row.published.get(score.name, {}).get(metric, 0):g}" in out
    assert "configs/vivid_stage2.py" in out
    reproduce.main([])
    assert which.title in capsys.readouterr().out
