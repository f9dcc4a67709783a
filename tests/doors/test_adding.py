"""The worked examples of the documentation, cut out of their pages: a method trains, a data set is prepared."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from tiny import ROOT

from tdepth_jax import predict, prepare, systems, train
from tdepth_jax.data import datasets
from tdepth_jax.data.sources import open_split

DOCS = ROOT / "docs"
BLOCK = re.compile(r"```python\n# (\S+/(\w+)\.py)\n(.*?)```", re.DOTALL)


def cut(page, folder):
    """Writes the files that a page shows; their paths as the page has them."""
    blocks = BLOCK.findall((DOCS / page).read_text())
    for _, name, text in blocks:
        (folder / f"{name}.py").write_text(text)
    assert sum(text.count("\n") for _, _, text in blocks) < 100
    return [path for path, _, _ in blocks]


@pytest.mark.usefixtures("quick")
def test_the_method_trains_is_scored_and_predicts(data, tmp_path, monkeypatch):
    written = cut("adding_a_system.md", tmp_path)
    assert written == ["tdepth_jax/systems/laplace.py", "configs/world_laplace.py"]
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    small = {
        "data.image_size": "32,40",
        "model.widths": "4,8",
        "data.dataset": str(data),
        "train.batch_size": "4",
    }
    small |= {"train.steps": "30", "train.log_every": "1", "optimizer.learning_rate": "1e-2"}
    small |= {"optimizer.warmup_steps": "2", "eval.stride": "2"}
    run = tmp_path / "run"
    flags = [f"--config.{k}={v}" for k, v in small.items()]
    train.main([f"--config={tmp_path / 'world_laplace.py'}", f"--workdir={run}", *flags])
    logs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["nll"] for row in logs if "nll" in row]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert "coverage" in (run / "eval" / "tiny-test" / "report.html").read_text().lower()

    predict.main([f"{data}:test", f"--checkpoint={run}", "-o", str(tmp_path / "depth"), "--save=npz"])
    (found, *_) = (tmp_path / "depth").rglob("*.npz")
    assert {"depth", "confidence"} <= set(np.load(found))


def test_the_data_set_is_prepared(tmp_path, monkeypatch):
    assert cut("adding_a_data_set.md", tmp_path) == ["tdepth_jax/data/datasets/folders.py"]
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])
    rng = np.random.default_rng(0)
    images = rng.integers(20000, 30000, (2, 3, 12, 16), np.uint16)
    for split, stack in zip(("train", "test"), images, strict=True):
        for kind, scale in (("thermal", 1), ("depth", 0.1)):
            folder = tmp_path / "raw" / split / "walk" / kind
            folder.mkdir(parents=True)
            for i, image in enumerate(stack):
                cv2.imwrite(str(folder / f"{i}.png"), (scale * image).astype(np.uint16))
    out = tmp_path / "records"
    prepare.main(["folders", f"--raw={tmp_path / 'raw'}", "--fov-x=45", f"--out={out}", "--jobs=1"])
    source = open_split(out / "folders", "test")
    assert len(source) == 3
    np.testing.assert_array_equal(source[1]["thermal/image"], images[1, 1])
    np.testing.assert_allclose(source[1]["thermal/depth"], (0.1 * images[1, 1]).astype(np.uint16) / 256)
