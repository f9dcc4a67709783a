"""The plan door: what it says without a TPU compiler, of mistakes, and, where one is installed, a real plan."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = importlib.util.find_spec("libtpu") is not None
needs_compiler = pytest.mark.skipif(
    not COMPILER,
    reason="no TPU compiler here: pip install libtpu, in an environment of its own, runs this test",
)
TINY = {
    "data.image_size": "32,40", "model.vit_dim": "16", "model.vit_heads": "2", "model.vit_patch": "8",
    "model.vit_pos_grid": "4", "model.dpt_channels": "4,8,8,8", "model.dpt_features": "8",
}  # fmt: skip


def plan(*flags: str, **overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tdepth_jax.plan", "--config=configs/world_supervised.py", *flags]
    command += [f"--config.{k}={v}" for k, v in (TINY | overrides).items()]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), text=True, capture_output=True, timeout=1000
    )


@pytest.mark.skipif(COMPILER, reason="a TPU compiler is installed")
def test_without_a_compiler_one_sentence_says_how_to_get_it():
    done = plan()
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: compiling for a TPU needs the TPU compiler")
    assert "pip install libtpu" in line


def test_an_unknown_flag_is_refused_before_anything_is_imported():
    done = plan("--topologie=v5e:2x2")
    assert done.returncode == 2
    assert "unknown argument '--topologie=v5e:2x2'" in done.stderr


@needs_compiler
def test_a_plan_says_everything(tmp_path):
    done = plan("--topology=v5e:2x2", "--no_search", f"--json={tmp_path / 'plan.json'}")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "plan.json").read_text())
    reduced = sum(c["elements"] * c["times"] for c in found["collectives"] if c["kind"] == "all-reduce")
    assert found["trained"] <= reduced <= found["trained"] + 300
    assert found["memory"]["total"] < found["hbm"]
    assert [row["chips"] for row in found["scaling"]] == [1, 4, 8, 16, 32, 64, 128, 256]
    for words in (
        "memory of a chip",
        "work of a chip",
        "collectives",
        "shortest time",
        "weak scaling",
        "libtpu",
    ):
        assert words in done.stdout


@needs_compiler
def test_a_batch_that_is_too_large_is_said_to_be():
    done = plan("--topology=v5e:2x2", "--no_search", "--per_chip=400000")
    assert done.returncode == 0, done.stderr
    assert "does not fit in a chip's memory" in done.stdout
