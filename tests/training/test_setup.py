"""Who holds a run directory."""

import subprocess
import sys

import pytest

from tdepth_jax.errors import UserError
from tdepth_jax.training import setup

HOLDER = """
import sys, time
from tdepth_jax.training import setup
with setup.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_directory_has_one_job_and_a_killed_one_lets_go(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"{tmp_path} is being trained by process {other.pid}: wait"):
            setup.held(tmp_path).__enter__()
        other.kill()
    with setup.held(tmp_path), setup.held("gs://bucket/run"):
        pass
