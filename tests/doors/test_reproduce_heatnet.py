"""The table of HeatNet: published numbers, what rows train, and that all can be run on ThermalWorld."""

from __future__ import annotations

import itertools
import re

import pytest
from tiny import ROOT

from tdepth_jax.reproduction import plan, spec

REFERENCE = ROOT.parent / "shared" / "reference" / "fusion_seg_radar.md"  # what the table was written from


@pytest.fixture(scope="module")
def table():
    return spec.load(str(ROOT / "configs" / "tables" / "heatnet_table.py"))[0]


def test_the_numbers_are_the_published_ones(table):
    if not REFERENCE.is_file():
        pytest.skip("the sheet of facts is not part of this repository")
    (line,) = (one for one in REFERENCE.read_text().splitlines() if one.startswith("MD 69.4"))
    md, mn, rgbt = re.match(r"MD ([\d./ a-z]+); MN ([\d.]+); RGB-T HeatNet \*\*([\d.]+)", line).groups()
    day, night = re.findall(r"[\d.]+", md)
    printed = {row.name: {k: 100 * v for k, v in row.published.get("test", {}).items()} for row in table.rows}
    assert printed["md"] == pytest.approx({"miou/day": float(day), "miou/night": float(night)})
    assert printed["mn"] == pytest.approx({"miou/night": float(mn)})
    assert printed["rgbt"] == pytest.approx({"miou/combined": float(rgbt)})
    assert not printed["rgb"]


@pytest.mark.parametrize("world", [False, True])
def test_every_row_is_a_chain_of_sound_configs(table, world, tmp_path):
    which = table.in_world() if world else table
    chains = {
        row.name: plan.runs(row, 0, folder=ROOT / "configs", root=tmp_path, overrides={})
        for row in which.trained
    }
    trained = {name: [run.config.system.trains for run in runs] for name, runs in chains.items()}
    first = ["md", "mn"] if world else ["mn"]  # Freiburg's labels by day are some MD's already
    assert trained == {
        "md": ["md"], "mn": first, "rgb": [*first, "rgbt", "rgb"],
        **{name: [*first, "rgbt"] for name in ("day", "day_confused", "noconf", "rgbt")},
    }  # fmt: skip
    for runs in chains.values():
        assert runs[0].config.train.init_from is None
        for before, after in itertools.pairwise(runs):
            assert after.config.train.init_from == str(before.workdir)
            assert after.config.model == before.config.model
            assert after.config.data.image_size == before.config.data.image_size
    for without, confused in (("noconf", "rgbt"), ("day", "day_confused")):
        assert plan.difference(chains[without][-1], chains[confused][-1]).keys() == {
            "system.confusion_weight"
        }
    assert plan.difference(chains["day"][-1], chains["noconf"][-1]).keys() == {"system.night"}
    assert chains["rgb"][-2].workdir == chains["rgbt"][-1].workdir
