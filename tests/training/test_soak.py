"""A handful of what benchmarks/soak_restarts.py does two hundred times."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_job_hit_at_random_moments_ends_as_if_it_had_not_been(tmp_path):
    command = [sys.executable, "benchmarks/soak_restarts.py", "--restarts=4", "--steps=12", "--save_every=3"]
    done = subprocess.run(
        [*command, f"--scratch={tmp_path}"], cwd=ROOT, text=True, capture_output=True, timeout=1100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 restarts survived" in done.stdout
    assert "losses, weights and examples are those of the undisturbed job" in done.stdout
