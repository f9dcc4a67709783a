"""The table of XD-RCDepth: published numbers, and rows that differ in what they say they differ in."""

from __future__ import annotations

import pytest
from tiny import ROOT

from tdepth_jax.reproduction import plan, spec


def table(world):
    found = spec.load(str(ROOT / "configs" / "tables" / "xdrc_tables.py"))[0]
    return found.in_world() if world else found


@pytest.mark.parametrize("world", [False, True])
def test_rows_are_the_student_with_each_distillation(world, tmp_path):
    which = table(world)
    chains = {
        row.name: plan.runs(row, 0, folder=ROOT / "configs", root=tmp_path, overrides={})
        for row in which.trained
    }
    weights = {
        name: (runs[-1].config.system.saliency_weight > 0, runs[-1].config.system.distribution_weight > 0)
        for name, runs in chains.items()
    }
    assert weights["direct"] == (False, False)
    assert weights["saliency"] == (True, False)
    assert weights["distribution"] == (False, True)
    assert weights["both"] == (True, True)
    # Direct training differs from both together in the two weights and in what it starts from, and in nothing else.
    different = plan.difference(chains["direct"][-1], chains["both"][-1]).keys()
    assert different - {"train.init_from"} == {"system.saliency_weight", "system.distribution_weight"}
    # One teacher for all.
    teachers = {chains[name][0].workdir for name in ("teacher", "saliency", "distribution", "both")}
    assert len(teachers) == 1
    assert chains["both"][1].config.train.init_from == str(chains["both"][0].workdir)
    assert len(chains["direct"]) == 1
    # The student describes the teacher that its chain trains.
    for key in ("teacher_network", "teacher_width", "teacher_blocks", "max_depth"):
        assert chains["both"][0].config.model[key] == chains["both"][1].config.model[key]


def test_scores_are_with_radar_missing_and_wrong_too():
    for world in (False, True):
        scores = table(world).scores
        assert [score.radar for score in scores] == ["given", "missing", "wrong"]
        assert {score.protocol for score in scores} == {"xdrc80" if world else "radarcam80"}


def test_the_numbers_are_the_published_ones():
    """In metres and 1/km, of ZJU-4DRadarCam at 80 m."""
    (both,) = (row for row in table(False).rows if row.name == "both")
    assert both.published["test"] == {
        "mae": 1.275, "rmse": 3.341, "imae": 11.7, "irmse": 24.5, "abs_rel": 0.095, "d1": 0.889,
    }  # fmt: skip
    quoted = {row.name: row.published["test"]["mae"] for row in table(False).rows if not row.stages}
    assert quoted == {
        "radarcam_depth": 1.1835, "tacodepth": 1.201, "justdepth": 1.335, "semodepth": 1.137, "rbft": 1.024,
    }  # fmt: skip
