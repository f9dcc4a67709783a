"""A published table set beside its runs, for every kind of score."""

from __future__ import annotations

import dataclasses

import pytest

from tdepth_jax.reports import comparison
from tdepth_jax.reproduction.spec import Score

METRICS = {"depth": ("abs_rel",), "pose": ("snippet_ate",), "labels": ("miou", "miou/day")}


def result(kind: str, seeds: int) -> dict:
    score = Score(name="test", title="Test", metrics=METRICS[kind], protocol="rtfnet", kind=kind)
    figures = dict.fromkeys(score.metrics, 0.25)
    found = {"mean": figures, "std": dict.fromkeys(figures, 0.01) if seeds > 1 else {}, "interval": {}}
    runs = [{"seed": i, "run": f"runs/{i}", "pages": [f"runs/{i}/report.html"]} for i in range(seeds)]
    row = {
        "name": "ours", "title": "ours", "note": "", "source": "Table I", "neighbour": "", "change": {},
        "published": {"test": dict.fromkeys(figures, 0.75)}, "stages": ["some"], "seeds": seeds,
        "results": {"test": found | {"seeds": runs}},
    }  # fmt: skip
    return {
        "table": "t", "title": "A table", "paper": "A paper", "world": False, "notice": "", "overrides": {},
        "seeds": seeds, "scores": [dataclasses.asdict(score) | {"dataset": "data/x", "describe": "described"}],
        "rows": [row], "notes": [], "command": "c", "code": "c", "date": "2026-01-01",
    }  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("kind", METRICS)
def test_every_kind_of_score_becomes_text_and_a_page(kind, seeds, tmp_path):
    said = result(kind, seeds)
    page = comparison.write(tmp_path, said)
    assert "0.25" in comparison.text(said)
    table = (tmp_path / "table.md").read_text()
    assert table.count("|") > 10
    assert ("standard deviation over 3 seeds" in table) == (seeds > 1)
    assert "A table" in page.read_text()
