"""The tables of CEKD: published numbers, what rows train, and that all can be run on ThermalWorld."""

from __future__ import annotations

import itertools
import re

import pytest
from tiny import ROOT

from tdepth_jax.reproduction import plan, spec

TABLES = [f"cekd_table{i}" for i in range(1, 8)]
REFERENCE = ROOT.parent / "shared" / "reference" / "fusion_seg_radar.md"  # what the tables were written from
LOSSES = {
    "seg": "seg", "seg_kdce": r"\+kdce", "seg_sim": r"\+sim", "seg_e": r"\+e", "seg_kdce_sim": r"seg\+kdce\+sim",
    "seg_kdce_e": r"seg\+kdce\+e", "afd": "afd", "pad": "pad", "all": "all",
}  # fmt: skip


def table(name: str) -> spec.Table:
    return spec.load(str(ROOT / "configs" / "tables" / f"{name}.py"))[0]


def printed(name: str, row: str) -> list[float]:
    """Published numbers of a row in per cent, in the table's order."""
    found = next(r for r in table(name).rows if r.name == row)
    return [pytest.approx(100 * v) for v in found.published["test"].values()]


def sheet(line: str, pattern: str) -> list[float]:
    if not REFERENCE.is_file():
        pytest.skip("the sheet of facts is not part of this repository")
    (text,) = (one for one in REFERENCE.read_text().splitlines() if one.startswith(line))
    found = re.search(rf"(?:^|[ *:;]){pattern} ([\d./* |]+)", text)
    assert found, pattern
    return [float(number) for number in re.findall(r"\d+\.?\d*", found[1])]


def test_the_numbers_are_the_published_ones():
    for row in table("cekd_table1").rows:
        assert printed("cekd_table1", row.name) == sheet("ED ablation", row.name)
    for row, pattern in LOSSES.items():
        assert printed("cekd_table4", row) == sheet("Loss ablation", pattern)
    for row, pattern in (
        ("supervised", "supervised thermal"),
        ("t_teacher", "T-only teacher"),
        ("rgbt_teacher", "RGB-T teacher"),
    ):
        assert printed("cekd_table5", row) == sheet("Strategy", pattern)
    for row, title in (("cenet", "CENet"), ("eknet", "EKNet")):
        assert printed("cekd_table3", row) == sheet("Day | night", title)
    assert printed("cekd_table7", "kdnet") == sheet("EKNet:", "KDNet")
    for row, name in (("cenet", "CENet per class"), ("eknet", "EKNet:")):
        text = next(line for line in REFERENCE.read_text().splitlines() if line.startswith(name))
        numbers = [float(n) for n in re.findall(r"\d+\.\d+", text.split("KDNet")[0])]
        wanted = [n for n in numbers if n not in (98.9, 98.2)]  # implied for the background, not printed
        assert printed("cekd_table2", row) == wanted


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("world", [False, True])
def test_every_row_is_a_chain_of_sound_configs(name, world, tmp_path):
    which = table(name).in_world() if world else table(name)
    chains = {
        row.name: plan.runs(row, 0, folder=ROOT / "configs", root=tmp_path, overrides={})
        for row in which.trained
    }
    for row in which.trained:
        runs = chains[row.name]
        assert runs[0].config.train.init_from is None
        for before, after in itertools.pairwise(runs):
            assert after.config.train.init_from == str(before.workdir)
        # A student describes the teacher that its chain trains.
        last, teacher = runs[-1].config, runs[-2].config if len(runs) > 1 else None
        if last.system.name == "cekd_student" and teacher:
            for key in ("encoder", "width", "rgb", "last", "edges", "skips"):
                assert last.model[f"teacher_{key}"] == teacher.model[key], key
        if row.neighbour:
            other = chains[row.neighbour][len(runs) - 1]
            assert plan.difference(runs[-1], other).keys() == {
                key for key in row.change if runs[-1].config[key.split(".")[0]][key.split(".")[1]]
                != other.config[key.split(".")[0]][key.split(".")[1]]
            }  # fmt: skip
    assert len({runs[0].workdir for runs in chains.values()}) <= 3  # the first phase is shared
