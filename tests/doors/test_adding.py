"""The worked example of docs/adding_a_system.md is a method: cut out of the page, it trains, is scored and predicts."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from tiny import ROOT

from tdepth_jax import predict, systems, train

PAGE = ROOT / "docs" / "adding_a_system.md"
BLOCK = re.compile(r"```python\n# (\S+/(\w+)\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The config's path; the method's file stands where the package looks for methods."""
    blocks = {path: (name, text) for path, name, text in BLOCK.findall(PAGE.read_text())}
    assert list(blocks) == ["tdepth_jax/systems/laplace.py", "configs/world_laplace.py"]
    for name, text in blocks.values():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    return tmp_path / "world_laplace.py"


def test_the_example_is_short():
    assert sum(text.count("\n") for _, _, text in BLOCK.findall(PAGE.read_text())) < 100


@pytest.mark.usefixtures("quick")
def test_the_example_is_a_method(example, data, tmp_path, capsys):
    small = {"data.image_size": "32,40", "model.widths": "4,8", "data.dataset": str(data), "train.batch_size": "4"}
    small |= {"train.steps": "30", "train.log_every": "1", "optimizer.learning_rate": "1e-2"}
    small |= {"optimizer.warmup_steps": "2", "eval.stride": "2"}
    run = tmp_path / "run"
    train.main([f"--config={example}", f"--workdir={run}", *(f"--config.{k}={v}" for k, v in small.items())])
    logs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["nll"] for row in logs if "nll" in row]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert "coverage" in (run / "eval" / "tiny-test" / "report.html").read_text().lower()

    predict.main([f"{data}:test", f"--checkpoint={run}", "-o", str(tmp_path / "depth"), "--save=npz"])
    (found, *_) = (tmp_path / "depth").rglob("*.npz")
    assert {"depth", "confidence"} <= set(np.load(found))
