"""The train door as a user runs it: killed, stopped, resumed, on many devices and in many processes."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from tiny import ROOT, TINY

from tdepth_jax import prepare


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> pathlib.Path:
    """A prepared ThermalWorld of a few small frames."""
    out = tmp_path_factory.mktemp("records")
    prepare.main(
        ["world", "--out", str(out), "--name", "tiny", "--sequences", "2", "--frames", "8", "--size", "32x40"]
    )
    return out / "tiny"


@pytest.fixture(scope="session")
def door(world):
    """door(workdir, …) -> a started `python -m tdepth_jax.train`, its output in a pipe."""

    def start(workdir, *flags, devices=1, env=None, **overrides):
        settings = (
            TINY | {"data.dataset": str(world)} | {k.replace("__", "."): v for k, v in overrides.items()}
        )
        command = [sys.executable, "-m", "tdepth_jax.train", "--config=configs/world_stage1.py"]
        command += [f"--workdir={workdir}", *flags, *(f"--config.{k}={v}" for k, v in settings.items())]
        surroundings = os.environ | {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        return subprocess.Popen(
            command, cwd=ROOT, env=surroundings | (env or {}), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=400)
    assert process.returncode == code, output
    return output


def rows(workdir: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl without what depends on the clock."""
    timed = {"images_per_sec", "mfu", "data_wait", "goodput"}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def losses(workdir: pathlib.Path) -> list[float]:
    return [row["loss"] for row in rows(workdir) if "loss" in row]


@pytest.fixture(scope="session")
def whole(door, tmp_path_factory) -> pathlib.Path:
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    output = finish(door(workdir))
    assert "report:" in output
    return workdir


def test_a_run_leaves_what_the_design_lists(whole):
    assert {p.name for p in whole.iterdir()} >= {
        "config.json",
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "eval",
    }
    assert sorted(int(p.name) for p in (whole / "checkpoints").iterdir()) == [4, 8, 12]
    assert (whole / "eval" / "tiny-test" / "report.html").is_file()
    assert json.loads((whole / "eval" / "tiny-test" / "metrics.json").read_text())["step"] == 12
    found = rows(whole)
    assert [row["step"] for row in found] == [*range(1, 13), 12]
    assert "eval/median/abs_rel" in found[-1]
    first = json.loads((whole / "metrics.jsonl").read_text().splitlines()[1])
    assert first["images_per_sec"] > 0
    assert 0 < first["mfu"] < 1


def wait_until(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def lines(workdir: pathlib.Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return (workdir / "metrics.jsonl").read_text().count("\n")
    return 0


def saving(workdir: pathlib.Path, step: int) -> bool:
    """Whether the checkpoint of `step` is being written: Orbax's temporary folder is there."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(
        p.name.startswith(f"{step}.orbax-checkpoint-tmp") for p in folder.iterdir()
    )


def test_kill_9_at_three_moments_one_of_them_in_a_save(door, whole, tmp_path):
    workdir = tmp_path / "killed"
    moments = [
        lambda: lines(workdir) >= 2,  # before the first save
        lambda: saving(workdir, 8),  # during one
        lambda: lines(workdir) >= 9 and (workdir / "checkpoints" / "8").is_dir(),  # after one
    ]
    for moment in moments:
        process = door(workdir)
        wait_until(moment, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(door(workdir))
    assert rows(workdir) == rows(whole)  # to the last bit


def test_sigterm_saves_exits_143_and_resumes(door, whole, tmp_path):
    workdir = tmp_path / "told"
    process = door(workdir)
    wait_until(lambda: lines(workdir) >= 1, process)
    process.send_signal(signal.SIGTERM)
    assert "the same command resumes" in finish(process, code=143)
    assert "resuming" in finish(door(workdir))
    assert losses(workdir) == losses(whole)


def test_eight_devices_equal_one_and_their_checkpoint_restores_on_one(door, whole, tmp_path):
    workdir = tmp_path / "eight"
    sharded = {"mesh__data": "4", "mesh__fsdp": "2", "mesh__fsdp_min_bytes": "256"}
    finish(door(workdir, devices=8, train__steps="8", **sharded))
    assert losses(workdir) == pytest.approx(losses(whole)[:8], rel=1e-4)
    layout = (workdir / "checkpoints" / "8" / "state").rglob("*sharding*")
    assert "fsdp" in "".join(p.read_text() for p in layout)
    finish(door(workdir, "--accept_config_change", devices=1))
    assert losses(workdir) == pytest.approx(losses(whole), rel=2e-4)


def two_processes(door, workdir, **overrides) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pair = [
        door(
            workdir,
            "--accept_config_change",
            f"--coordinator=127.0.0.1:{port}",
            f"--process_id={i}",
            env={"TDEPTH_PROCESSES": "2"},
            **overrides,
        )
        for i in range(2)
    ]
    for process in pair:
        finish(process)


def test_two_processes_equal_one_and_share_one_checkpoint(door, whole, tmp_path):
    workdir = tmp_path / "pair"
    two_processes(door, workdir, train__steps="6")
    assert losses(workdir) == pytest.approx(losses(whole)[:6], rel=1e-4)
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()) == ["4", "6"]
    two_processes(door, workdir, train__steps="8")  # restored by both
    finish(door(workdir, "--accept_config_change"))  # and by one alone
    assert losses(workdir) == pytest.approx(losses(whole), rel=2e-4)
